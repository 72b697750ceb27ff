# SPDX-License-Identifier: GPL-2.0
"""The common course of a test: an undisturbed run, then runs that are checkpointed at random
moments, killed and restarted, and must end with the same result."""

import contextlib
import os
import re
import time

import judge
import snapshot
from harness import check, read, wait_for
from context import Missed, state_of
from groups import group


ATTEMPTS = 8
HURRIED = 3     # from this attempt on, a program is slowed from its start


@contextlib.contextmanager
def slowed(process):
    """Lets a process have a twentieth of a CPU: it runs as ever, but whoever wants a moment of it
    is not outrun, however slow the machine. What is restarted from it runs at full speed."""
    with group(process.pid, "cpu") as slow:
        slow.put("cpu.max", "1000 20000")
        slow.take(process.pid)
        yield


@contextlib.contextmanager
def at_a_moment(t, argv, span, begun=None, attempt=0):
    """A process that runs since a random moment within span seconds. Without begun the program is
    one that waits at its end until it is released; others are slowed down from that moment on, and
    earlier where one had already ended."""
    with contextlib.ExitStack() as stack:
        process = t.start(argv)
        if begun and attempt >= HURRIED:
            stack.enter_context(slowed(process))
        (begun or default_begun)(process)
        t.random_moment(span / 3 ** attempt)
        if begun and attempt < HURRIED:
            stack.enter_context(slowed(process))
        yield process


def killed_and_restarted(t, argv, wanted, span, *flags, result="result", begun=None, attempt=0):
    """Checkpoints with --kill at a random moment within span seconds, restarts, compares, before
    the first instruction and at the end; False when the program had ended before."""
    try:
        with at_a_moment(t, argv, span, begun, attempt) as process:
            version = t.checkpoint(process, "--kill", *flags)
    except Missed:
        return False
    again = t.restart(process, "--version", version, "--stopped")
    judge.equal(t, again, version, *flags)
    again.go_on()
    t.same_result(again, wanted, result)
    t.no_leftovers(process.pid)
    return True


def compared(t, argv, wanted, span, *flags, result="result", begun=None, attempt=0):
    """Stops the process, compares all of it before the checkpoint, after it, and restarted.
    Descriptors that the flags leave out are not compared afterwards. False when the program had
    ended before."""
    try:
        with at_a_moment(t, argv, span, begun, attempt) as process:
            process.stop()
    except Missed:
        return False
    before = snapshot.snapshot(process.pid)
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
    more = {"result": result, "begun": begun}
    for _ in range(times):
        repeated(lambda attempt: killed_and_restarted(t, argv, wanted, seconds * span_of, *flags,
                                                      attempt=attempt, **more))
    repeated(lambda attempt: compared(t, argv, wanted, seconds * span_of, *flags, attempt=attempt,
                                      **more))


def repeated(run):
    """Does run(attempt) until it gives True: until a moment fell into the program's run."""
    check(any(run(attempt) for attempt in range(ATTEMPTS)),
          f"it had ended before its checkpoint in {ATTEMPTS} attempts")


def written(name, size):
    """A sign that a program has begun: a file of at least this size."""
    def begun(process):
        def there():
            if not process.alive():
                raise Missed(f"it ended: {process.said()}")
            # It may come and go.
            with contextlib.suppress(FileNotFoundError):
                return os.path.getsize(process.path(name)) >= size
            return False
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
