# SPDX-License-Identifier: GPL-2.0
"""The common course of a test: an undisturbed run, then runs that are checkpointed at random
moments, killed and restarted, and must end with the same result."""

import os
import re
import time

import judge
import snapshot
from harness import check, read, wait_for
from context import Missed, state_of


def killed_and_restarted(t, argv, wanted, span, *flags, result="result", begun=None):
    """Checkpoints with --kill at a random moment within span seconds, restarts, compares, before
    the first instruction and at the end; False when the program had ended before."""
    process = t.start(argv)
    (begun or default_begun)(process)
    t.random_moment(span)
    try:
        version = t.checkpoint(process, "--kill", *flags)
    except Missed:
        return False
    again = t.restart(process, "--version", version, "--stopped")
    judge.equal(t, again, version, *flags)
    again.go_on()
    t.same_result(again, wanted, result)
    t.no_leftovers(process.pid)
    return True


def compared(t, argv, wanted, span, *flags, result="result", begun=None):
    """Stops the process, compares all of it before the checkpoint, after it, and restarted.
    Descriptors that the flags leave out are not compared afterwards. False when the program had
    ended before."""
    process = t.start(argv)
    (begun or default_begun)(process)
    t.random_moment(span)
    try:
        before = snapshot.stop_and_look(process)
    except Missed:
        return False
    version = t.checkpoint(process, *flags)
    check(state_of(process.pid) == "T", f"the checkpoint let it out of its stop: "
                                        f"{state_of(process.pid)}")
    snapshot.same(before, snapshot.snapshot(process.pid), "a checkpoint changed the process")
    process.kill()
    again = t.restart(process, "--version", version)
    wait_for(lambda: state_of(again.pid) == "T", 10, "stop of the restarted process")
    left_out = re.findall(r"\bfd \d+", read(f"{t.store}/{process.pid}/description_v{version}.txt"))
    for fd in left_out if flags else ():
        del before[fd]
    snapshot.same(before, snapshot.snapshot(again.pid), "the restarted process differs")
    judge.equal(t, again, version, *flags)
    again.go_on()
    t.same_result(again, wanted, result)
    return True


def default_begun(process):
    """Waits for the sign that test programs give."""
    process.wait_ready()


def disturbed(t, argv, times, *flags, span_of=0.4, result="result", begun=None):
    """The whole course for a command; {dir} in it stands for the directory of the run. The flags
    are for the client's checkpoint."""
    wanted, seconds = t.undisturbed(argv, result)
    span = seconds * span_of
    done = 0
    for number in range(times + 4):
        if done < times:
            some = killed_and_restarted(t, argv, wanted, span, *flags, result=result, begun=begun)
            done += some
            # The client may be slow: be earlier the next time.
            span = span if some else span / 3
            t.note(f"run {number}: {'done' if some else 'missed'}")
    check(done == times, f"only {done} of {times} moments fell into the run")
    done = False
    for number in range(4):
        done = done or compared(t, argv, wanted, span / 3 ** number, *flags, result=result,
                                begun=begun)
    check(done, "no moment to compare fell into the run")


def written(name, size):
    """A sign that a program has begun: a file of at least this size."""
    def begun(process):
        def there():
            check(process.alive(), f"it ended: {process.said()}")
            path = process.path(name)
            return os.path.exists(path) and os.path.getsize(path) >= size
        wait_for(there, 60, f"{size} bytes of {name}")
    return begun


def asleep(process):
    """Waits until a set-up program sleeps in its system call."""
    process.wait_ready()
    quiet = 0
    end = time.monotonic() + 20
    while quiet < 3:
        check(time.monotonic() < end, f"{process.pid} does not fall asleep")
        quiet = quiet + 1 if state_of(process.pid) == "S" else 0
        time.sleep(0.01)


def elapsed_seconds(process):
    """What a sleeper measured."""
    return int(read(process.path("result.elapsed"))) / 1e9
