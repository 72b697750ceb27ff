# SPDX-License-Identifier: GPL-2.0
"""A process that ends while it is checkpointed, or waits for what may never come: what is committed
is a version that goes on, and nothing waits with it."""

import contextlib
import os
import signal
import sys

from context import program
from course import asleep
from harness import Skipped, check, read, test, wait_for
from hung import file_system
from watching import committed, locked, nothing_superfluous, wait_versions, watch

CORE_PATTERN = "/proc/sys/kernel/core_pattern"

# Whoever reads the core, as the kernel starts it: ends when somebody writes to the fifo.
HELPER = """#!/bin/sh
read line < "{fifo}"
"""


@contextlib.contextmanager
def slow_core_dumps(t):
    """Dumps of core go to a program that does not read them: it ends when the function is called."""
    fifo, helper = (os.path.join(t.directory, name) for name in ("fifo", "helper"))
    os.mkfifo(fifo)
    with open(helper, "w") as file:
        file.write(HELPER.format(fifo=fifo))
    os.chmod(helper, 0o755)
    before = read(CORE_PATTERN)
    end = os.open(fifo, os.O_RDWR)
    try:
        with open(CORE_PATTERN, "w") as file:
            file.write(f"|{helper}")
        yield lambda: os.write(end, b"end\n")
    finally:
        with open(CORE_PATTERN, "w") as file:
            file.write(before)
        os.close(end)


def dumps_core(process):
    """Whether a process is in the middle of that."""
    return "CoreDumping:\t1" in (read(f"/proc/{process.pid}/status") or "")


@test("a process that dumps core", timeout=60, alone=True)
def dumping(t):
    """It sleeps in the middle of a system call, as if it only waited, but was killed already: it is
    said to be ending, and leaves no version."""
    process = t.start([program("sleeper"), "--out", "{dir}/result", "pause"])
    asleep(process)
    with slow_core_dumps(t) as end_dump:
        process.signal(signal.SIGQUIT)
        wait_for(lambda: dumps_core(process) or not process.alive(), 20, "dump")
        if not process.alive():
            raise Skipped("this kernel dumps no core")
        asleep(process)
        t.geist_refuses(f"pid {process.pid} is ending", "checkpoint", process.pid)
        check(t.app_files(process.pid) == [], f"left: {t.app_files(process.pid)}")
        end_dump()
        process.wait_end(20)


@test("killed at an interval of 1 ms", timeout=300)
def killed_at_interval(t):
    """A process that computes, and one that mostly sleeps, killed at random moments while versions
    are taken all the time: the last version, at which it may have met its end, restarts and goes
    on, as every other one."""
    modes = (["--mb", "1", "--tick-ms", "1"], ["--mb", "2"])
    for turn in range(t.rounds(16, 6)):
        process = t.start_program("maw", *modes[turn % 2], "--rounds", "1000000000")
        watch(t, process, "--interval", "1ms", "--keep", "3", "--full-every", "3")
        wait_versions(process, 1)
        t.random_moment(0.05)
        process.kill()
        wait_for(lambda process=process: not locked(t, process), 20, "end of the watch")
        nothing_superfluous(t, process)
        t.geist_ok("verify", process.pid)
        for version in committed(t, process)[-2:]:
            again = t.restart(process, "--version", version)
            again.wait_progress()
            again.kill()


READER = """
import os, sys
with open("result.ready", "w") as file:
    file.write("1")
data = os.read(os.open(sys.argv[1], os.O_RDONLY), 100)
with open("result", "w") as file:
    file.write("ok " + data.decode())
"""


@test("a process that reads from a file system that hangs", timeout=90)
def hanging(t):
    """Its server (FUSE) answers neither the read nor anything that a checkpoint might ask: the
    checkpoint is taken nevertheless, or refused with a sentence, soon; a client that is killed
    meanwhile leaves nothing stilled, and once the server answers the program has its bytes."""
    with file_system(t) as (path, server):
        process = t.start([sys.executable, "-c", READER, path])
        process.wait_ready()
        check(server.reading.wait(60), "no read came")
        server.hangs = True
        asleep(process)
        answer = t.geist("checkpoint", process.pid, "--timeout", "3000", seconds=30)
        check(answer.code in (0, 1) and (answer.code == 0 or str(process.pid) in answer.err),
              f"status {answer.code}: {answer.err}")
        t.figure(f"while the server hangs: {answer.err.strip() or 'a version was taken'}")
        for _ in range(t.rounds(10, 4)):
            client = t.start_client("checkpoint", process.pid)
            t.random_moment(0.2)
            client.kill()
        t.geist("checkpoint", process.pid, "--timeout", "3000", seconds=30)
        check(process.alive(), "the program ended")
        server.give(b"at last")
        check(process.result(30) == "ok at last", f"{process.said()}")
    t.no_leftovers(process.pid)


@test("a process that waits for its vfork() child", timeout=60)
def vforked(t):
    """It cannot be stilled: refused, with what it waits for, soon; it runs on."""
    process = t.start([program("unsupported"), "--out", "{dir}/result", "--hold", "{dir}/go", "--rounds",
                       "5", "vfork", "{dir}"])
    process.wait_ready()
    wait_for(lambda: "vfork" in (read(f"/proc/{process.pid}/stack") or ""), 20, "the wait in vfork()")
    t.geist_refuses(f"thread {process.pid} waits for its vfork.. child .in kernel_clone", "checkpoint",
                    process.pid, "--timeout", "2000", seconds=30)
    check(t.app_files(process.pid) == [], "something was left")
    check(process.result().startswith("ok unsupported vfork"), process.said())
