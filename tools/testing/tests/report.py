# SPDX-License-Identifier: GPL-2.0
"""What is printed of a run of tests: KTAP, and the failed ones once more at the end."""

import os
import time

import harness

KNOWN_FAILURES = os.path.join(harness.HERE, "known-failures")
REASON_LINES = 6     # of a failure's reason, in the summary at the end


def known_failures():
    """Tests that are known to fail, by name, each with the reason: lines "name: reason"."""
    lines = (harness.read(KNOWN_FAILURES) or "").splitlines()
    entries = [line.split(": ", 1) for line in lines if line.strip() and not line.startswith("#")]
    for entry in entries:
        harness.check(len(entry) == 2 and entry[1].strip(), f"{KNOWN_FAILURES}: no reason: {entry}")
    return dict(entries)


class Report:
    """A run of tests, told as it goes."""

    def __init__(self, tests, words):
        self.known = known_failures()
        self.count = {"ok": 0, "failed": 0, "skipped": 0, "known": 0}
        self.failed = []
        self.start = time.monotonic()
        print(f"KTAP version 1\n1..{len(tests)}")
        print(f"# kernel {os.uname().release}, {words}", flush=True)

    def tell(self, number, one, outcome):
        """Prints what became of a test."""
        sign = "not ok" if outcome.status == "failed" else "ok"
        more = " # SKIP" if outcome.status == "skipped" else ""
        if one.name in self.known:
            more = f" # XFAIL {self.known[one.name]}"
            if outcome.status == "failed":
                outcome.status = "known"
        self.count[outcome.status] += 1
        print(f"{sign} {number} {one.name} ({outcome.seconds:.1f} s){more}", flush=True)
        for line in outcome.details.rstrip().split("\n"):
            if line.startswith("# "):
                print(line, flush=True)
            elif outcome.status != "ok" and line:
                print(f"#   {line}", flush=True)
        if outcome.status == "failed":
            self.failed.append((one.name, outcome.reason))

    def end(self):
        """Prints the rest; the exit status of the run."""
        for name, reason in self.failed:
            print(f"# failed: {name}")
            for line in reason.rstrip().split("\n")[:REASON_LINES]:
                print(f"#   {line[:300]}")
        print(f"# {time.monotonic() - self.start:.0f} s, {self.count['skipped']} skipped, "
              f"{self.count['known']} known failures")
        print(f"{self.count['ok']} passed, {self.count['failed']} failed", flush=True)
        return 1 if self.count["failed"] else 0
