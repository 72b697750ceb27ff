# SPDX-License-Identifier: GPL-2.0
"""Signals: handlers, masks, what is waiting, timers that go on ticking."""

import os

import snapshot
from context import program, state_of
from harness import check, test, wait_for

SIGNALS = [program("signals"), "--out", "{dir}/result", "--hold", "{dir}/go", "{dir}/unblock"]


def touch(path):
    """Makes an empty file."""
    with open(path, "w"):
        pass


def start(t):
    """The program, with all its signals blocked and waiting."""
    process = t.start(SIGNALS)
    process.wait_ready()
    return process


def wanted(t):
    """The result of an undisturbed run."""
    process = start(t)
    touch(process.path("unblock"))
    return process.result()


@test("waiting signals survive", timeout=90)
def waiting(t):
    """Queued signals with their values, of the process and of the thread, blocked at the
    checkpoint, arrive once each and in order after the restart, on the alternate stack."""
    expected = wanted(t)
    for _ in range(3):
        process = start(t)
        t.random_moment(0.2)
        t.checkpoint(process, "--kill")
        again = t.restart(process)
        touch(again.path("unblock"))
        check(again.result() == expected, again.said())


@test("one image's signals arrive in each restart", timeout=90)
def waiting_again(t):
    """The same waiting signals arrive in every process that is restarted from the image."""
    expected = wanted(t)
    process = start(t)
    t.checkpoint(process, "--kill")
    for _ in range(3):
        again = t.restart(process)
        touch(again.path("unblock"))
        check(again.result() == expected, again.said())
        os.unlink(process.path("unblock"))
        os.unlink(process.path("result"))


@test("waiting signals are the same seen from outside", timeout=90)
def waiting_compared(t):
    """Stopped with signals waiting: siginfo of each, in both queues, in order, and everything else
    is the same before and after."""
    expected = wanted(t)
    process = start(t)
    before = snapshot.stop_and_look(process)
    check(len(before["pending, process"]) == 9 and len(before["pending, thread"]) == 9,
          f"waiting: {len(before['pending, process'])}, {len(before['pending, thread'])}")
    t.checkpoint(process, "--kill")
    again = t.restart(process)
    wait_for(lambda: state_of(again.pid) == "T", 10, "stop of the restarted process")
    snapshot.same(before, snapshot.snapshot(again.pid), "the restarted process differs")
    touch(again.path("unblock"))
    again.go_on()
    check(again.result() == expected, again.said())


@test("an expired timer ticks on", timeout=90)
def expired(t):
    """The real timer has expired and its signal waits, blocked, at the checkpoint: the kernel starts
    such a timer anew when the signal is taken. After the restart it does."""
    process = t.start([SIGNALS[0], "--expired", "1", *SIGNALS[1:]])
    process.wait_ready()
    version = t.checkpoint(process, "--kill")
    for _ in range(2):
        again = t.restart(process, "--version", version)
        touch(again.path("unblock"))
        check(again.result(20) == "ok the expired timer ticked on\n", again.said())
        os.unlink(again.path("unblock"))
        os.unlink(again.path("result"))


@test("interval timers go on", timeout=120)
def ticking(t):
    """Checkpointed while three interval timers tick and handlers nest on the alternate stack: each
    timer goes on with its interval, none ticks more often than time allows."""
    expected = wanted(t)
    for _ in range(3):
        process = start(t)
        touch(process.path("unblock"))
        process.wait_file("result.ticking")
        t.random_moment(0.8)
        if not process.alive():
            continue
        t.checkpoint(process, "--kill")
        again = t.restart(process)
        check(again.result() == expected, again.said())
