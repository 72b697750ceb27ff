# SPDX-License-Identifier: GPL-2.0
"""What went wrong for others with increments: pages that change while they are written, and chains
that are moved elsewhere."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys

from context import state_of
from harness import check, read, test, wait_for
from mapper import store_on_disk
from watching import committed, number, unwatch, wait_versions

PAGES = 256
PAGE = 4096

# Fills all of its pages with one byte after the other, each time another way. The first page says
# with what it is at it; it is set before.
FILLER = """
import ctypes, mmap, os, sys
size = int(sys.argv[1]) * 4096
libc = ctypes.CDLL(None, use_errno=True)
class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
def area(bytes):
    memory = mmap.mmap(-1, bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))
head, head_at = area(4096)
memory, at = area(size)
source, source_at = area(size)
plain = os.open("content", os.O_RDWR | os.O_CREAT)
direct = os.open("content", os.O_RDWR | os.O_DIRECT)
pipe = os.pipe()

def by_store(value):
    # libc may write several pages at the same time.
    for page in range(at, at + size, 4096):
        ctypes.memset(page, value, 4096)
def by_read(value):
    os.pwrite(plain, bytes([value]) * size, 0)
    os.preadv(plain, [memory], 0)
def by_direct_read(value):
    os.pwrite(plain, bytes([value]) * size, 0)
    os.fsync(plain)
    os.preadv(direct, [memory], 0)
def by_vmsplice(value):
    ctypes.memset(source_at, value, size)
    view = memoryview(memory)
    for done in range(0, size, 65536):
        vector = Iovec(source_at + done, 65536)
        if libc.vmsplice(pipe[1], ctypes.byref(vector), ctypes.c_ulong(1), 0) != 65536:
            raise SystemExit("vmsplice")
        os.readv(pipe[0], [view[done:done + 65536]])
def by_process_vm_writev(value):
    ctypes.memset(source_at, value, size)
    ours, theirs = Iovec(source_at, size), Iovec(at, size)
    done = libc.process_vm_writev(os.getpid(), ctypes.byref(ours), ctypes.c_ulong(1),
                                  ctypes.byref(theirs), ctypes.c_ulong(1), ctypes.c_ulong(0))
    if done != size:
        raise SystemExit("process_vm_writev")

ways = [by_store, by_read, by_direct_read, by_vmsplice, by_process_vm_writev]
turn = 0
while True:
    value = turn % 251 + 1
    ctypes.memset(head_at, value, 1)
    ways[turn % len(ways)](value)
    if turn == len(ways):
        with open("result.ready", "w") as file:
            file.write(f"{head_at} {at}")
    if turn % 8 == 0:
        with open("result.progress", "w") as file:
            file.write(str(turn))
    turn += 1
"""


@test("pages of one age, however they are written", timeout=200)
def one_age(t):
    """A program fills its pages by stores, read(2), O_DIRECT, through vmsplice(2) and by
    process_vm_writev(2), while versions are taken every 10 ms onto a slow disk: in each that is kept
    every page is of one age, none is newer than the moment of the freeze, and none older than it can be."""
    with store_on_disk(t, 128) as (store, disk):
        t.store = store
        script = t.script("filler.py", FILLER)
        process = t.start([sys.executable, script, str(PAGES)])
        head, at = map(int, process.wait_file("result.ready").split())
        disk.table(("delay", 0, disk.sectors, 10))
        options = ("--interval", "10ms", "--keep", t.rounds(12, 6), "--durability", "data")
        wait_for(lambda: watched(t, process, options), 60, "a watch that finds the pipe empty")
        wait_versions(process, t.rounds(40, 14), 120)
        check(number(process.pid, "skipped") > 0, "the disk was not slow")
        unwatch(t, process)
        process.kill()
        disk.table(("linear", 0, disk.sectors))
        ages = [age_of(t, process, version, head, at) for version in committed(t, process)]
        t.figure(f"ages of the versions: {ages}")
        check(len(set(ages)) > 1, "nothing happened between the versions")


def watched(t, process, options):
    """Begins a watch; False where the pipe had data in it just then, with which it is refused."""
    answer = t.geist("watch", process.pid, "--timeout", 60000, *options)
    check(answer.code == 0 or "pipe with data in it" in answer.err, answer.err)
    return answer.code == 0


def age_of(t, process, version, head, at):
    """The age of the pages of a version."""
    again = t.restart(process, "--version", version, "--stopped")
    with open(f"/proc/{again.pid}/mem", "rb") as memory:
        memory.seek(head)
        age = memory.read(1)[0]
        memory.seek(at)
        found = [memory.read(PAGE) for _ in range(PAGES)]
    again.kill()
    mixed = [number for number, page in enumerate(found) if page != page[:1] * PAGE]
    check(len(mixed) <= 1, f"version {version}: pages of mixed age: {mixed}")
    before = (age - 2) % 251 + 1
    ages = {page[0] for page in found} | {page[-1] for page in found}
    check(ages <= {age, before}, f"version {version} is of age {age}, and has pages of {sorted(ages)}")
    return age


def five_versions(t):
    """A program that was killed, with a chain of five versions, of which the last needs the first."""
    process = t.start_program("maw", "--mb", "2", "--rounds", "1000000")
    for _ in range(5):
        process.wait_progress()
        t.checkpoint(process)
    process.kill()
    return process


@contextlib.contextmanager
def read_only(t, store):
    """A store that nobody can write to."""
    place = os.path.join(t.directory, "read-only")
    os.mkdir(place)
    subprocess.run(["mount", "--bind", store, place], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@test("a store that is moved, renamed, copied", timeout=100)
def moved(t):
    """Five versions, then the store is elsewhere, or a copy, or read-only: every version restarts from
    there. A copy without the oldest version is said to lack it, by restart before anything is begun,
    and by verify."""
    process = five_versions(t)
    app = str(process.pid)
    copy = os.path.join(t.directory, "deep", "down", "copy")
    shutil.copytree(t.store, copy)
    renamed = t.store + " renamed"
    os.rename(t.store, renamed)
    for store, version in ((copy, 5), (renamed, 5), (renamed, 3)):
        t.store = store
        works(t, process, version)
    with read_only(t, renamed) as t.store:
        works(t, process, 4)
    t.store = copy
    for name in os.listdir(os.path.join(copy, app)):
        if re.search(r"_v1\.", name):
            os.unlink(os.path.join(copy, app, name))
    missing = rf"_{app}_v1\.bin: it is missing"
    t.geist_refuses(missing, "restart", app, "--version", "5")
    check(state_of(process.pid) is None, "a process was made")
    t.geist_refuses(missing, "verify", f"{app}@5")


def works(t, process, version):
    """Restarts a version, and has the program check itself."""
    again = t.restart(process, "--version", version)
    verified = again.path("result.verified")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(verified)
    again.signal(signal.SIGUSR1)
    wait_for(lambda: read(verified) or not again.alive(), 30, "the program's own verdict")
    check("digest" in (read(verified) or ""), f"version {version}: {again.said()}")
    again.kill()
