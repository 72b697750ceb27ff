# SPDX-License-Identifier: GPL-2.0
"""Control groups (version 2): what a process may have of the machine."""

import contextlib
import os

from harness import read, wait_for, write

ROOT = "/sys/fs/cgroup"


class Group:
    """A control group."""

    def __init__(self, name):
        self.path = f"{ROOT}/{name}"

    def put(self, name, value):
        """Sets one of its files."""
        write(f"{self.path}/{name}", value)

    def number(self, name):
        """What one of its files says."""
        return int(read(f"{self.path}/{name}"))

    def events(self, name):
        """A counter of its memory."""
        lines = read(f"{self.path}/memory.events").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def take(self, pid):
        """Puts a process into it, unless that has ended."""
        move(pid, self.path)

    def gone(self):
        """Whether it could be removed: it lives on for a moment after its last process."""
        for pid in read(f"{self.path}/cgroup.procs").split():
            move(pid, ROOT)
        try:
            os.rmdir(self.path)
        except OSError:
            return False
        return True


def move(pid, path):
    """Puts a process into the group at a path, unless it has ended."""
    with contextlib.suppress(ProcessLookupError):
        write(f"{path}/cgroup.procs", pid)


@contextlib.contextmanager
def group(name, controller):
    """A group of its own with a controller; what is in it at the end goes back to the others."""
    write(f"{ROOT}/cgroup.subtree_control", f"+{controller}")
    one = Group(f"geist-test-{name}")
    os.mkdir(one.path)
    try:
        yield one
    finally:
        wait_for(one.gone, 20, f"end of {one.path}")
