# SPDX-License-Identifier: GPL-2.0
"""Memory that the kernel refuses to the module: fault injection by task, the N-th allocation in turn.

Only those with the module's code in their stack count, so that neither the test nor the
system around it is hit.
"""

import contextlib
import ctypes
import os
import signal
import threading

from harness import Skipped, check, read, write
from snapshot import LIBC, PTRACE_DETACH, ptrace

INJECTORS = "/sys/kernel/debug/failslab", "/sys/kernel/debug/fail_page_alloc"
# It counts with them: an answer that cannot be copied out is an error behind a committed version.
OTHER = "/sys/kernel/debug/fail_usercopy"
TEXT = "/sys/module/geist/sections/.text"

PTRACE_TRACEME = 0
PTRACE_CONT = 7
PTRACE_SETOPTIONS = 0x4200
PTRACE_GETEVENTMSG = 0x4201
OPTIONS = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4    # TRACEFORK, TRACEVFORK, TRACECLONE, TRACEEXEC
WALL = 0x40000000


@contextlib.contextmanager
def injection():
    """Only where the module allocates, and every kind of allocation."""
    if not os.path.exists(INJECTORS[0]):
        raise Skipped("this kernel cannot inject faults")
    start = int(read(TEXT), 16)
    size = next(int(line.split()[1]) for line in read("/proc/modules").splitlines()
                if line.startswith("geist "))
    for injector in INJECTORS:
        write(f"{injector}/verbose", 0)
        write(f"{injector}/ignore-gfp-wait", "N")
        write(f"{injector}/require-start", hex(start))
        write(f"{injector}/require-end", hex(start + size))
    write(f"{OTHER}/require-start", 1)
    write(f"{OTHER}/require-end", 2)
    write(f"{INJECTORS[1]}/ignore-gfp-highmem", "N")
    write(f"{INJECTORS[1]}/min-order", 0)
    try:
        yield
    finally:
        for injector in INJECTORS:
            write(f"{injector}/ignore-gfp-wait", "Y")
        for injector in (*INJECTORS, OTHER):
            write(f"{injector}/require-start", 0)
            write(f"{injector}/require-end", hex((1 << 64) - 1))


class Nth:
    """The N-th allocation of a task fails, once."""

    def __init__(self, n, pid=None, tid=None):
        pid = pid or os.getpid()
        self.fd = os.open(f"/proc/{pid}/task/{tid or threading.get_native_id()}/fail-nth", os.O_RDWR)
        os.pwrite(self.fd, str(n).encode(), 0)

    def left(self):
        """How many allocations are still to come before it: 0 when it has failed."""
        return int(os.pread(self.fd, 32, 0))

    def end(self):
        """Whether it came to it; none fails from here on."""
        left = self.left()
        os.pwrite(self.fd, b"0", 0)
        os.close(self.fd)
        return left == 0


def client_with_nth(command, n, of_skeleton):
    """Runs the client with a fault in the n-th allocation of itself, or of the first process that it
    makes, which is the skeleton of a restart: exit status, and what it said."""
    said, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(theirs, 1)
            os.dup2(theirs, 2)
            LIBC.ptrace(PTRACE_TRACEME, 0, None, None)
            os.execv(command[0], command)
        finally:
            os._exit(99)
    os.close(theirs)
    _, status = os.waitpid(child, 0)
    check(os.WIFSTOPPED(status), f"the client did not begin: {status:#x}")
    if of_skeleton:
        ptrace(PTRACE_SETOPTIONS, child, None, ctypes.c_void_p(OPTIONS), "SETOPTIONS")
        made = wait_for_child(child)
        if made:
            Nth(n, made, made)
            ptrace(PTRACE_DETACH, made, None, None, "DETACH")
            ptrace(PTRACE_DETACH, child, None, None, "DETACH")
    else:
        Nth(n, child, child)
        ptrace(PTRACE_DETACH, child, None, None, "DETACH")
    with os.fdopen(said, errors="replace") as file:
        text = file.read()
    try:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
    except ChildProcessError:       # it ended before it made a process
        code = 99
    return code, text


def wait_for_child(client):
    """Lets the client run until it makes a process, which then stands still; None when it ends."""
    ptrace(PTRACE_CONT, client, None, None, "CONT")
    while True:
        _, status = os.waitpid(client, WALL)
        if not os.WIFSTOPPED(status):
            return None
        if status >> 16 in (1, 2, 3):
            break
        number = os.WSTOPSIG(status)
        pass_on = 0 if number == signal.SIGTRAP else number
        ptrace(PTRACE_CONT, client, None, ctypes.c_void_p(pass_on), "CONT")
    message = ctypes.c_ulong()
    ptrace(PTRACE_GETEVENTMSG, client, None, ctypes.addressof(message), "GETEVENTMSG")
    os.waitpid(message.value, WALL)
    return message.value
