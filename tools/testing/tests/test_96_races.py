# SPDX-License-Identifier: GPL-2.0
"""Everything at once: what happens to a process and to the system while versions are taken of it."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

from context import GEIST
from device import Device, Refused
from harness import check, read, slowness, test
from snapshot import LIBC, PTRACE_DETACH
from test_16_swap import swap
from test_70_module import loaded

SYS_DELETE_MODULE = 176
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
CPU = "/sys/devices/system/cpu/cpu1/online"


def again_and_again(seed, once):
    """A process of its own that does something until it is killed, at random moments."""
    child = os.fork()
    if child:
        return child
    numbers = random.Random(seed)
    try:
        while True:
            once(numbers)
            # No event is waited for: the moments are to be random.
            time.sleep(numbers.uniform(0, 0.05))
    except BaseException as reason:     # the process may have gone
        sys.stderr.write(f"{once.__name__}: {reason}\n")
    finally:
        os._exit(0)


def disturbances(process):
    """What is done beside checkpoints, each by a process of its own."""
    pid = process.pid

    def stop(numbers):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(numbers.uniform(0, 0.02))
        os.kill(pid, signal.SIGCONT)

    def trace(numbers):
        if LIBC.ptrace(PTRACE_SEIZE, pid, None, None) == 0:
            LIBC.ptrace(PTRACE_INTERRUPT, pid, None, None)
            os.waitpid(pid, 0x40000000)     # __WALL
            time.sleep(numbers.uniform(0, 0.01))
            LIBC.ptrace(PTRACE_DETACH, pid, None, None)

    def look(_):
        for name in ("maps", "smaps", "status", "stack", "environ", "fdinfo/1"):
            with contextlib.suppress(OSError):
                read(f"/proc/{pid}/{name}", "rb")

    def compact(_):
        with open("/proc/sys/vm/compact_memory", "w") as file:
            file.write("1")
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3")

    def processors(numbers):
        for value in "01":
            with contextlib.suppress(OSError), open(CPU, "w") as file:
                file.write(value)
            time.sleep(numbers.uniform(0, 0.3))

    def unload(_):
        LIBC.syscall(SYS_DELETE_MODULE, b"geist", os.O_NONBLOCK)
    chosen = [stop, trace, look, compact, unload]
    return [*chosen, processors] if os.path.exists(CPU) else chosen


def versions(t, process, device, seconds):
    """Takes versions as fast as it goes: how many, and how many were refused, each with a sentence."""
    taken, refused, version = 0, 0, 1
    other = os.path.join(t.directory, f"other-{process.pid}")
    os.mkdir(other, 0o700)
    while os.path.exists(os.path.join(t.store, str(process.pid), f"global_v{version}.bin")):
        version += 1
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.alive():
        try:
            device.checkpoint(version)
            taken, version = taken + 1, version + 1
        except Refused as reason:
            check(str(reason).strip(), "refused without a sentence")
            refused += 1
        if refused % 7 == 3:
            # A second one, into another store, by the client.
            t.geist("checkpoint", process.pid, "--durability", "none", store=other)
    return taken, refused


def one_life(t, seed, seconds):
    """A program among all that, then killed, then restarted twice at once from what was saved."""
    process = t.start_program("oracle", "--seed", str(seed), "--rest", "2")
    for _ in range(200):
        # Refused while it has a child.
        if t.geist("checkpoint", process.pid, "--durability", "none").code == 0:
            break
    # Open as long as somebody tries to unload the module: that must be refused.
    device = Device(t.store, process.pid)
    helpers = [again_and_again(seed * 100 + number, once)
               for number, once in enumerate(disturbances(process))]
    killer = again_and_again(seed, lambda _: (time.sleep(seconds * 0.7), os.kill(process.pid, signal.SIGKILL)))
    try:
        taken, refused = versions(t, process, device, seconds)
    finally:
        for helper in [*helpers, killer]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(helper, signal.SIGKILL)
            os.waitpid(helper, 0)
        if os.path.exists(CPU):
            with open(CPU, "w") as file:
                file.write("1")
    check(loaded(), "the module went while it was needed")
    device.close()
    process.kill()
    t.no_leftovers(process.pid)
    t.geist_ok("verify", process.pid)
    command = [GEIST, "--store", t.store, "restart", str(process.pid)]
    calls = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [call.communicate(timeout=60 * slowness())[1] for call in calls]
    check(sum(call.returncode == 0 for call in calls) == 1, f"of two restarts at once: {said}")
    again = t.adopt(process.pid, process.directory)
    check(again.alive(), "the restarted program ended")
    again.kill()
    return taken, refused


@test("versions among all that can happen", timeout=240, alone=True, long=True)
def races(t):
    """A program that does everything to its memory is checkpointed as fast as it goes, into two
    stores, while it is stopped, traced, looked at and killed, memory is compacted and paged out,
    processors come and go, and somebody wants to unload the module. Each refusal has its sentence,
    all that was committed is whole, and of two restarts at once one succeeds."""
    end = time.monotonic() + (3600 if t.soak else 180)
    lives = taken = refused = 0
    with swap(t):
        while time.monotonic() < end:
            one, other = one_life(t, t.seed * 1000 + lives, 6 * slowness())
            lives, taken, refused = lives + 1, taken + one, refused + other
    t.figure(f"{lives} programs, {taken} versions, {refused} refusals")
    check(taken > lives, "hardly a version was taken")
