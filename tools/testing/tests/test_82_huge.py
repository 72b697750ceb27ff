# SPDX-License-Identifier: GPL-2.0
"""Huge pages: an increment has what changed in pages of 4 KiB, whatever khugepaged does."""

import os
import sys

from harness import check, read, settings, test, wait_for, write
from image import replaced_by
from snapshot import mappings
from test_80_increments import look, restart_and_compare, take

HUGE = "/sys/kernel/mm/transparent_hugepage"
KHUGEPAGED = f"{HUGE}/khugepaged"
# It looks at everything all the time.
EAGER = {
    f"{HUGE}/enabled": "always",
    f"{KHUGEPAGED}/scan_sleep_millisecs": 10,
    f"{KHUGEPAGED}/alloc_sleep_millisecs": 10,
    f"{KHUGEPAGED}/pages_to_scan": 100000,
}
MEGABYTES = 16
# In a turn so many bytes are written, each to another page; and what the interpreter itself writes.
WRITES = 8
OWN = 400

# Two areas of huge pages; single bytes of the first are written.
WRITER = """
import ctypes, mmap, os, random, sys, time
size, writes = int(sys.argv[1]) << 20, int(sys.argv[2])
def area():
    memory = mmap.mmap(-1, size + (4 << 20), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    aligned = -(-start // (2 << 20)) * (2 << 20)
    memory.madvise(14)
    ctypes.memset(aligned, 1, size)
    for at in range(aligned, aligned + size, 4096):
        ctypes.c_uint64.from_address(at).value = at
    return memory, aligned
written, left = area(), area()
numbers = random.Random(1)
progress = os.open("result.progress", os.O_CREAT | os.O_WRONLY)
turn = 0
while True:
    if os.path.exists("fork"):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        os.unlink("fork")
    for _ in range(writes):
        ctypes.memset(written[1] + numbers.randrange(size // 4096) * 4096, turn % 251, 1)
    if turn == 2:
        with open("result.ready", "w") as file:
            file.write(f"{written[1]} {left[1]}")
    os.pwrite(progress, b"%-20d" % turn, 0)
    turn += 1
    time.sleep(0.005)
"""


def collapsed():
    """Waits until khugepaged has looked at everything twice; the blocks that it collapsed since the
    beginning."""
    before = int(read(f"{KHUGEPAGED}/full_scans"))
    wait_for(lambda: int(read(f"{KHUGEPAGED}/full_scans")) >= before + 2, 60, "scans of khugepaged")
    return int(read(f"{KHUGEPAGED}/pages_collapsed"))


def huge_kb(process, address):
    """How much of a mapping is in huge pages."""
    found = next(one for one in mappings(process.pid) if one.start <= address < one.end)
    text = read(f"/proc/{process.pid}/smaps")
    part = text[text.index(f"{found.start:08x}-{found.end:08x}"):]
    return int(part[part.index("AnonHugePages:"):].split()[1])


def fork(process):
    """Has a stopped process fork, and stops it behind that."""
    write(process.path("fork"), "")
    process.go_on()
    wait_for(lambda: not os.path.exists(process.path("fork")), 20, "a fork")
    process.stop()


class Writer:
    """The program above, with a version."""

    def __init__(self, t):
        self.t = t
        script = t.script("writer.py", WRITER)
        self.process = t.start([sys.executable, script, str(MEGABYTES), str(WRITES)])
        self.written, self.left = map(int, self.process.wait_file("result.ready").split())
        self.process.stop()
        self.turn = self.process.progress()
        take(t, self.process)

    def go_through_turns(self):
        """Lets it do a few turns."""
        self.process.go_on()
        self.process.wait_progress()
        self.process.stop()

    def increment(self, meanwhile):
        """An increment of what happens in a few turns, and then `meanwhile` with the program stopped: its
        number, what the memory is seen to hold, and how many pages it has more than were written."""
        self.go_through_turns()
        meanwhile()
        taken = take(self.t, self.process)
        check(taken["kind"] == "increment", f"{taken}")
        before, self.turn = self.turn, self.process.progress()
        # It may have been stopped in the middle of a turn, now and before.
        most = (self.turn - before + 2) * WRITES + OWN
        return taken["version"], look(self.process.pid), max(0, taken["pages"] - most)


@test("khugepaged collapses what is tracked", timeout=300, alone=True)
def collapses(t):
    """While khugepaged collapses what writes split, increments have what was written; huge pages that
    nobody writes stay; each version restarts with what was there. So it is where the program forks
    afterwards, so that no entry tells what was written."""
    with settings(EAGER):
        writer = Writer(t)
        process = writer.process
        check(huge_kb(process, writer.left) >= MEGABYTES << 10, "no huge pages to begin with")
        first = collapsed()
        taken = [writer.increment(collapsed) for _ in range(t.rounds(8, 3))]
        blocks = collapsed() - first
        taken += [writer.increment(lambda: (collapsed(), fork(process))) for _ in range(t.rounds(4, 2))]
        more = [surplus for _, _, surplus in taken]
        t.figure(f"{blocks} blocks were collapsed; pages more than were written: {more}")
        check(blocks >= len(taken), f"khugepaged collapsed only {blocks} blocks: this shows nothing")
        check(not any(more), f"increments have {more} pages more than were written")
        check(huge_kb(process, writer.left) >= MEGABYTES << 10, "huge pages that nobody wrote were split")
        check(huge_kb(process, writer.written) > 0, "khugepaged left them alone")
        process.kill()
        t.geist_ok("verify", process.pid)
        for version, seen, _ in t.rng.sample(taken, min(len(taken), 4)):
            restart_and_compare(t, process, version, seen).kill()


@test("stored pages that cannot be read", timeout=100, alone=True)
def unreadable(t):
    """While a directory is in the place of the file that stores the pages, those that were collapsed
    cannot be compared: the increment stores them all."""
    with settings(EAGER):
        writer = Writer(t)
        process = writer.process
        writer.go_through_turns()
        collapsed()
        path = os.path.join(t.store, str(process.pid), f"task_mm_{process.pid}_v1.bin")
        with replaced_by(path, os.mkdir):
            taken = take(t, process)
        check(taken["kind"] == "increment" and taken["pages"] >= 512, f"{taken}")
        seen = look(process.pid)
        process.kill()
        restart_and_compare(t, process, taken["version"], seen).kill()
