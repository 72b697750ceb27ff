# SPDX-License-Identifier: GPL-2.0
"""The program that is measured, MallocAndWrite, and what can be seen of it from outside."""

import contextlib
import os
import shutil
import signal
import subprocess
import time

from context import Process, program
from harness import Failed, check, read, settings, wait_for

PAGE = 4096
CHUNK = 1024 * PAGE
HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"


def huge_pages(setting):
    """Transparent huge pages as asked (always, never), and as they were afterwards."""
    return settings({HUGE_PAGES: setting})


class Maw(Process):
    """A running MallocAndWrite in a directory of its own."""

    def __init__(self, directory, megabytes, **options):
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        argv = [program("maw"), "--mb", str(megabytes), "--out", os.path.join(directory, "result")]
        for name, value in options.items():
            argv += ["--" + name.replace("_", "-"), str(value)]
        with open(os.path.join(directory, "stderr"), "w") as output:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                     cwd=directory, start_new_session=True)
        super().__init__(child.pid, directory, child)
        self.wait_ready(600)

    def do_rounds(self, rounds, since=None):
        """Waits until the program has done at least so many rounds more than now, or than `since`."""
        wanted = max(self.progress() if since is None else since, 0) + rounds
        wait_for(lambda: self.progress() >= wanted or not self.alive(), 120, f"rounds of maw up to {wanted}")
        check(self.alive(), f"maw ended: {self.said()} {read(self.path('result'))}")

    def speed(self, seconds):
        """Rounds per second."""
        begin = self.progress()
        wait_for(lambda: self.progress() != begin, 60, "a round of maw")
        begin, start = self.progress(), time.monotonic()
        wait_for(lambda: time.monotonic() >= start + seconds and self.progress() != begin, seconds + 60, "rounds of maw")
        return (self.progress() - begin) / (time.monotonic() - start)

    def ask(self, number, name):
        """Sends a signal; what the program writes into the file of this name when it has done its bidding."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path(name))
        self.signal(number)
        # It has a line when it is complete.
        wait_for(lambda: not self.alive() or (read(self.path(name)) or "").endswith("\n"), 120, f"{name} of maw")
        check(self.alive(), f"maw ended: {self.said()} {read(self.path('result'))}")
        return read(self.path(name))

    def verify(self):
        """The program must find its memory to be what it wrote."""
        self.ask(signal.SIGUSR1, "result.verified")

    def fork(self):
        """How long fork() takes, in microseconds."""
        return int(self.ask(signal.SIGUSR2, "result.forked"))

    def content(self):
        """All of its memory, by address, in pieces; the program must be stopped."""
        pieces = {}
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            for line in read(f"/proc/{self.pid}/maps").splitlines():
                fields = line.split()
                start, end = (int(number, 16) for number in fields[0].split("-"))
                if fields[1].startswith("rw"):
                    for at in range(start, end, CHUNK):
                        pieces[at] = os.pread(memory.fileno(), min(CHUNK, end - at), at)
        return pieces


def shown(maw, name):
    """A number that the module shows of an application."""
    return int(read(f"/sys/kernel/geist/apps/{maw.pid}/{name}") or 0)


def changed_pages(before, after):
    """In how many pages two contents differ."""
    if before.keys() != after.keys():
        raise Failed("maw has other mappings than before")
    return sum(one[at:at + PAGE] != two[at:at + PAGE]
               for one, two in ((before[start], after[start]) for start in before if before[start] != after[start])
               for at in range(0, len(two), PAGE))
