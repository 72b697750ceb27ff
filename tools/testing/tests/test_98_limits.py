# SPDX-License-Identifier: GPL-2.0
"""Where memory is limited: a program is not killed for what its checkpoints take, and none is
restarted where it has no room."""

import sys

from context import GEIST, state_of
from groups import group
from harness import check, read, test, wait_for
from mapper import store_on_disk
from watching import committed, knob, number, wait_versions, watch

MEGABYTES = 24

# Writes all of its pages again and again, each time another byte. Whoever looks at its memory at one
# moment finds one byte up to a place, and the one before it behind that.
WRITER = """
import ctypes, mmap, os, sys
size = int(sys.argv[1]) << 20
memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
turn = 0
while True:
    ctypes.memset(address, turn % 251 + 1, size)
    with open("result.progress", "w") as file:
        file.write(str(turn))
    if turn == 1:
        with open("result.ready", "w") as file:
            file.write(hex(address))
    turn += 1
"""


def bytes_of(process, address):
    """The first byte of each page of a stopped writer."""
    with open(f"/proc/{process.pid}/mem", "rb") as memory:
        memory.seek(address)
        return memory.read(MEGABYTES << 20)[::4096]


def of_one_moment(process, address):
    """Demands that its memory is as at one moment."""
    found = bytes_of(process, address)
    new, old = found[0], found[-1]
    place = found.find(bytes([old])) if old != new else len(found)
    check(found == bytes([new]) * place + bytes([old]) * (len(found) - place)
          and (new == old or new == old % 251 + 1), f"of several moments: {sorted(set(found))}")


@test("a control group with little memory left", timeout=200, alone=True)
def little_left(t):
    """A program that writes all of its memory has a fifth of that left in its control group, and is
    checkpointed every 10 ms onto a slow disk. It is never killed for that, no more is held than it
    has room for, whoever pays for it; ticks that pass are counted; each version is of one moment.
    None is restarted in a group that is too small for it: that is said before anything is begun."""
    with store_on_disk(t, 512) as (store, disk), group("limited", "memory") as limited:
        t.store = store
        script = t.script("writer.py", WRITER)
        process = t.start([sys.executable, script, str(MEGABYTES)], preexec_fn=lambda: limited.take("0"))
        address = int(process.wait_file("result.ready"), 16)
        limit = limited.number("memory.current") * 6 // 5
        limited.put("memory.max", limit)
        disk.table(("delay", 0, disk.sectors, 20))
        watch(t, process, "--interval", "10ms", "--keep", "2", "--full-every", "4",
              "--durability", "data")
        for charge in ("application", "system"):
            with knob("memory_charge", charge):
                under_pressure(t, process, limited, charge)
        check(number(process.pid, "skipped") > 0, "ticks that passed are not counted")
        check(number(process.pid, "errors") == 0, read(f"/sys/kernel/geist/apps/{process.pid}/last_error"))
        t.geist_ok("unwatch", process.pid)
        process.kill()
        versions = committed(t, process)
        check(len(versions) == 2, f"{versions} are kept")
        for version in versions:
            again = t.restart(process, "--version", version, "--stopped")
            of_one_moment(again, address)
            again.kill()
        too_small(t, process, versions[-1], limit)


def under_pressure(t, process, limited, charge):
    """Some versions, with a look at what is held."""
    held = set()

    def looked():
        held.add(number(process.pid, "held_bytes"))
        return number(process.pid, "version") >= last + 4

    last = number(process.pid, "version")
    wait_versions(process, 1, 60)
    wait_for(looked, 60, "versions")
    process.wait_progress()
    check(limited.events("oom_kill") == 0 and process.alive(), "it was killed for its checkpoints")
    t.figure(f"charged to the {charge}: held at most {max(held) >> 10} kB of {MEGABYTES << 10} kB")


def too_small(t, process, version, limit):
    """A restart in a group with room for half of it, and in one with room for all."""
    with group("small", "memory") as small:
        command = f"echo $$ > {small.path}/cgroup.procs && exec {GEIST} --store {t.store} restart {process.pid}"
        small.put("memory.max", limit // 2)
        refused = t.start(["/bin/sh", "-c", command])
        check(refused.wait_end(60) == 1, f"it was restarted where it has no room: {refused.said()}")
        for word in (f"version {version} holds", "the control group /geist-test-small", "memory.max"):
            check(word in refused.said(), f"{refused.said()!r} does not say {word!r}")
        check(state_of(process.pid) is None, "a process was left")
        small.put("memory.max", limit * 2)
        taken = t.start(["/bin/sh", "-c", command])
        check(taken.wait_end(60) == 0, f"it was not restarted: {taken.said()}")
        again = t.adopt(process.pid, process.directory)
        check("/geist-test-small" in read(f"/proc/{again.pid}/cgroup"), "it is in another group")
        again.wait_progress()
        check(small.events("oom_kill") == 0, "it was killed")
        again.kill()
