# SPDX-License-Identifier: GPL-2.0
"""The store on the disk whose power is cut, and the program that is checkpointed into it."""

import contextlib
import json
import os
import subprocess

import needs
from context import GEIST, Process, program
from harness import Failed, check, read

# Not on the disk: nothing of the program but its versions outlives a cut.
RUN = "/run/geist-power"
RESULT = os.path.join(RUN, "result")


def good(listed):
    """The versions that are, of what is listed."""
    return [row["version"] for row in listed if row["state"] == "good"]


class Store:
    """The store, by way of the client."""

    def __init__(self, path, promises, say):
        self.store, self.promises, self.say = path, promises, say
        # What goes on whether the client is called or not.
        self.background = "nothing"

    def geist(self, *args):
        """Calls the client, which must succeed; what it printed, as JSON."""
        command = [GEIST, "--store", self.store, *map(str, args)]
        self.promises.report(doing=args[0] if self.background == "nothing" else self.background)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        self.promises.report(doing=self.background)
        if done.returncode:
            raise Failed(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()} {done.stdout.strip()}")
        for line in done.stderr.splitlines():
            self.say(line)
        return json.loads(done.stdout) if "--json" in args else None

    def apps(self):
        """Applications that have a directory."""
        return sorted(int(name) for name in os.listdir(self.store) if name.isdigit())

    def listed(self):
        """What `geist list` says."""
        return self.geist("list", "--all", "--json")

    def verify(self, app):
        """Every version must be good."""
        bad = [one for one in self.geist("verify", app, "--json") if one["result"] != "good"]
        check(not bad, f"verify: {bad}")

    def clean(self, app, keep):
        """Has the client remove what a cut left, and old versions; then only what some version needs may be there.
        Returns the versions."""
        self.geist("gc", app, "--keep", keep, "--yes", "--json")
        listed = [row for row in self.listed() if row["app"] == app]
        # Files of versions that exist no longer may still be needed.
        leftovers = [row for row in listed if row["state"] in ("damaged", "unneeded", "unknown")]
        leftovers += needs.superfluous(os.path.join(self.store, str(app)), app)
        check(not leftovers, f"left behind by garbage collection: {leftovers}")
        return good(listed)


class Subject(Process):
    """A running MallocAndWrite, started or restarted."""

    @classmethod
    def started(cls):
        """A new one."""
        os.makedirs(RUN, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.remove(RESULT + ".ready")
        child = subprocess.Popen([program("maw"), "--mb", "8", "--report", "1000000000", "--out", RESULT],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 cwd="/", start_new_session=True)
        subject = cls(child.pid, RUN, child)
        subject.wait_ready()
        return subject

    @classmethod
    def restarted(cls, store, app, version):
        """One that goes on from a version."""
        os.makedirs(RUN, exist_ok=True)
        store.geist("restart", app, "--version", version, "--json")
        return cls(app, RUN)

    def verify(self):
        """It must find its memory to be what it wrote."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(RESULT + ".verified")
        self.signal(10)
        self.wait_file("result.verified")
        check(self.alive(), f"maw ended: {read(RESULT)}")
