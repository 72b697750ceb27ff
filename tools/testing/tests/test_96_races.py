# SPDX-License-Identifier: GPL-2.0
"""Everything at once: what happens to a process and to the system while versions are taken of it."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

from context import GEIST
from device import Device, Refused
from groups import group
from harness import check, read, slowness, splats, test, write
from snapshot import LIBC, PTRACE_DETACH
from test_16_swap import swap
from test_70_module import loaded
from watching import committed

SYS_DELETE_MODULE = 176
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
CPU = "/sys/devices/system/cpu/cpu1/online"
KSM = "/sys/kernel/mm/ksm"

# Becomes another program again and again.
EXECER = """#!/bin/sh
i=$1
echo $i > result.progress
[ $i -ne 3 ] || echo 1 > result.ready
exec $0 $((i + 1))
"""


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
        write("/proc/sys/vm/compact_memory", 1)
        write("/proc/sys/vm/drop_caches", 3)

    def processors(numbers):
        for value in "01":
            with contextlib.suppress(OSError):
                write(CPU, value)
            time.sleep(numbers.uniform(0, 0.3))

    def unload(_):
        LIBC.syscall(SYS_DELETE_MODULE, b"geist", os.O_NONBLOCK)
    chosen = [stop, trace, look, compact, unload]
    return [*chosen, processors] if os.path.exists(CPU) else chosen


def other_store(t, process):
    """Where another client saves the same process."""
    return os.path.join(t.directory, f"other-{process.pid}")


def versions(t, process, device, seconds):
    """Takes versions as fast as it goes: how many, and how many were refused, each with a sentence."""
    taken, refused, version = 0, 0, max(committed(t, process), default=0) + 1
    other = other_store(t, process)
    os.mkdir(other, 0o700)
    end = time.monotonic() + seconds
    others = []
    while time.monotonic() < end and process.alive():
        try:
            device.checkpoint(version)
            taken, version = taken + 1, version + 1
        except Refused as reason:
            check(str(reason).strip(), "refused without a sentence")
            refused += 1
            # Another one may have this number.
            version += version in committed(t, process)
        if refused % 7 == 3:
            # A second one, into another store, by the client.
            t.geist("checkpoint", process.pid, "--durability", "none", store=other)
        if (taken + refused) % 9 == 5 and not any(one.alive() for one in others):
            # And one into the same store, which is not waited for.
            others.append(t.start_client("checkpoint", process.pid, "--durability", "none"))
    for one in others:
        one.wait_end(60)
    return taken, refused


def merging(on):
    """Whether equal pages of programs that allow it are merged, with much zeal."""
    for name, value in (("sleep_millisecs", 20), ("pages_to_scan", 2000), ("run", int(on))):
        write(f"{KSM}/{name}", value)


def begin(t, seed, limited):
    """A program: every third one becomes another all the time; the others do all to their memory, every
    other one of them in a control group, where it will meet its end by the OOM killer."""
    if seed % 3 == 2:
        script = t.script("execer", EXECER)
        os.chmod(script, 0o755)
        process = t.start([script, "1"])
        process.wait_ready()
        return process
    if seed % 3 == 0:
        return t.start_program("oracle", "--seed", str(seed), "--rest", "2")
    limited.put("memory.swap.max", 0)
    return t.start_program("oracle", "--seed", str(seed), "--rest", "2",
                           preexec_fn=lambda: limited.take(0))


def end_of(process, seed, limited):
    """How it ends."""
    if seed % 3 == 1:
        limited.put("memory.max", 4096)
    else:
        os.kill(process.pid, signal.SIGKILL)


def one_life(t, seed, seconds, limited):
    """A program among all that, then killed, then restarted twice at once from what was saved."""
    process = begin(t, seed, limited)
    for _ in range(200):
        # Refused while it has a child.
        if t.geist("checkpoint", process.pid, "--durability", "none").code == 0:
            break
    # Open as long as somebody tries to unload the module: that must be refused.
    device = Device(t.store, process.pid)
    helpers = [again_and_again(seed * 100 + number, once)
               for number, once in enumerate(disturbances(process))]
    killer = again_and_again(seed, lambda _: (time.sleep(seconds * 0.7), end_of(process, seed, limited)))
    try:
        taken, refused = versions(t, process, device, seconds)
    finally:
        for helper in [*helpers, killer]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(helper, signal.SIGKILL)
            os.waitpid(helper, 0)
        if os.path.exists(CPU):
            write(CPU, 1)
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
    for place in (os.path.join(t.store, str(process.pid)), other_store(t, process)):
        shutil.rmtree(place)
    return taken, refused


# As the debug kernel says it.
OUT_OF_MEMORY = (
    "oracle invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0", "Call Trace:", " <TASK>",
    " shmem_alloc_and_add_folio+0x44d/0xa60", " ? __kasan_check_read+0x15/0x20", " </TASK>",
    "Memory cgroup out of memory: Killed process 2052 (oracle) total-vm:8396kB, anon-rss:3016kB",
)
REPORTS = ("BUG: KASAN: slab-use-after-free in geist_page_put+0x10/0x20", "Call Trace:",
           "WARNING: CPU: 0 PID: 1 at mm/memory.c:1 handle_mm_fault+0x1/0x2", "unreferenced object 0xffff8880 (size 64):")


@test("what the OOM killer says is no report", timeout=10)
def no_report(_):
    """The kernel's log is searched for reports after each test: a program that was killed for want of
    memory is none, whatever its call trace names; a fault of the kernel is one, also behind it."""
    check(splats(OUT_OF_MEMORY) == [], f"{splats(OUT_OF_MEMORY)}")
    for line in REPORTS:
        check(splats([*OUT_OF_MEMORY, line]) == [line], f"{line} is no report")


@test("versions among all that can happen", timeout=240, alone=True, long=True)
def races(t):
    """A program that does everything to its memory, or becomes another one all the time, is checkpointed
    as fast as it goes, into two stores, and into one at the same time, while it is stopped, traced,
    looked at and killed, by the OOM killer too, memory is compacted, merged and paged out, processors come
    and go, and somebody wants to unload the module. Each refusal has its sentence, all that was committed
    is whole, and of two restarts at once one succeeds."""
    end = time.monotonic() + t.races
    lives = taken = refused = out_of_memory = 0
    with swap(t):
        merging(True)
        try:
            while time.monotonic() < end:
                with group(f"life-{lives}", "memory") as limited:
                    one, other = one_life(t, t.seed * 1000 + lives, 6 * slowness(), limited)
                    out_of_memory += limited.events("oom_kill")
                lives, taken, refused = lives + 1, taken + one, refused + other
                del t.notes[:]
        finally:
            merging(False)
    t.figure(f"{lives} programs, {out_of_memory} of them out of memory, {taken} versions, {refused} refusals")
    check(taken > lives, "hardly a version was taken")
    check(out_of_memory > 0, "the OOM killer never came")
