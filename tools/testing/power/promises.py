# SPDX-License-Identifier: GPL-2.0
"""What was reported as committed before the power went: the host keeps a line for each event."""

import json
import os


class Promises:
    """What must be there after a cut.

    An event of an application is one of: `committed`, a version was, durably; `keep`, from now on only that many of the
    newest versions are promised; `seen`, after a boot these were there; `removed`, the application goes. An event
    `doing` is of none: it says what the power interrupts from here on.
    """

    def __init__(self, before, port):
        self.versions, self.keep = {}, {}
        for line in filter(str.strip, before):
            self.note(json.loads(line))
        self.port = os.open(port, os.O_WRONLY)

    def note(self, event):
        """Brings up to date what is promised."""
        app = event.get("app")
        if "doing" in event:
            return
        if "removed" in event:
            self.versions.pop(app, None)
            self.keep.pop(app, None)
        elif "seen" in event:
            self.versions[app] = event["seen"]
            self.keep[app] = 0
        elif "keep" in event:
            self.keep[app] = event["keep"]
        else:
            self.versions.setdefault(app, []).append(event["committed"])

    def report(self, **event):
        """Notes an event; it is on the host when this returns."""
        line = json.dumps(event).encode() + b"\n"
        if os.write(self.port, line) != len(line):
            raise OSError("a report was cut off")
        self.note(event)

    def seen(self, app, versions):
        """After a boot these versions are there, and stay."""
        self.report(app=app, seen=versions)

    def apps(self):
        """Applications with a committed version."""
        return sorted(app for app, versions in self.versions.items() if versions)

    def missing(self, app, there):
        """Versions that should be there and are not. Where only some are kept, one may have gone if as many newer ones are
        there: they were on the disk before it went."""
        keep = self.keep.get(app, 0)
        return [version for version in sorted(self.versions.get(app, []))
                if version not in there and not 0 < keep <= sum(newer > version for newer in there)]

    def last(self, app, there):
        """The version that was reported last, if it is still kept, else the newest."""
        known = [version for version in self.versions.get(app, []) if version in there]
        return known[-1] if known else there[-1]
