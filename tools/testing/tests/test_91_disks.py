# SPDX-License-Identifier: GPL-2.0
"""Trouble with the disk during an interval: the application runs on, and so do versions, later."""

import os
import signal
import time

from context import program, state_of
from harness import check, read, wait_for, test
from mapper import grow, split, store_on_disk
from watching import APPS, committed, number, shown, unwatch, wait_versions, watch


def watched_maw(t, store, *options, disk=None):
    """MAW, watched into that store, and the disk as it is split before that."""
    t.store = store
    process = t.start([program("maw"), "--out", "{dir}/result", "--mb", "2"])
    process.wait_ready()
    directory = os.path.join(store, str(process.pid))
    os.makedirs(directory, mode=0o700)
    grow(directory)
    ranges = split(disk) if disk else None
    watch(t, process, "--keep", "3", *options)
    wait_versions(process, 3)
    check(number(process.pid, "errors") == 0, shown(process.pid, "last_error"))
    return process, ranges


def wait_errors(process, count):
    """Waits until that many more versions failed."""
    before = number(process.pid, "errors")
    wait_for(lambda: number(process.pid, "errors") >= before + count, 60, "errors")


def fails(t, process, words):
    """Versions fail, which is counted and said; the application runs on with its memory right, and
    the newest version stays what it was."""
    wait_errors(process, 2)
    version = number(process.pid, "version")
    wait_errors(process, 2)
    said = shown(process.pid, "last_error")
    t.note(f"{said}; {number(process.pid, 'errors')} errors, {number(process.pid, 'skipped')} "
           f"skipped")
    check(words in said, said)
    check(number(process.pid, "version") == version, "a version was committed")
    runs_on(process)


def runs_on(process):
    """MAW gets further, and its memory is right."""
    process.wait_progress()
    if os.path.exists(process.path("result.verified")):
        os.unlink(process.path("result.verified"))
    process.signal(signal.SIGUSR1)
    process.wait_file("result.verified", 60)


def recovers(t, process):
    """The next versions commit; the newest restarts once the application is killed."""
    wait_versions(process, 3)
    done = unwatch(t, process)
    check(committed(t, process)[-1] == done["last_version"], f"{done}")
    check(len(committed(t, process)) == 3, f"{committed(t, process)}")
    t.geist_ok("verify", process.pid)
    process.kill()
    again = t.restart(process)
    runs_on(again)
    again.kill()


@test("a full disk during an interval", timeout=120)
def full(t):
    """Nothing fits on the disk for a while: versions fail, and leave nothing; with room again the
    next one commits."""
    with store_on_disk(t) as (store, _):
        process, _ = watched_maw(t, store, "--interval", "20ms")
        filler = os.path.join(store, "filler")
        for _ in range(4):
            fill(filler)
            wait_errors(process, 1)
        fails(t, process, "no space is left")
        t.geist_refuses("no space is left", "checkpoint", process.pid)
        os.unlink(filler)
        recovers(t, process)


def fill(path):
    """Takes all the room that there is. A version that is in the making then gives some back."""
    with open(path, "ab", buffering=0) as file:
        size = 1 << 20
        while size >= 1:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
        os.fsync(file.fileno())


@test("an I/O error during an interval", timeout=150)
def error(t):
    """Writing the content of files fails for a while (dm-flakey, then dm-error): with durability
    data each version of that time fails, and the next one commits when the disk works again."""
    with store_on_disk(t) as (store, disk):
        process, ranges = watched_maw(t, store, "--interval", "20ms", "--durability", "data",
                                      disk=disk)

        def table(*bad):
            """What happens to the content of files."""
            disk.table(*((bad[0] if free else "linear", first, sectors, *(bad[1:] if free else ()))
                         for free, first, sectors in ranges))

        for bad in (("flakey", 0, 1000, 1, "error_writes"), ("error",)):
            table(*bad)
            fails(t, process, "input/output error")
            table("linear")
            wait_versions(process, 2)
        recovers(t, process)


@test("a slow and a stalled disk during an interval", timeout=150)
def stalled(t):
    """A disk that takes its time (dm-delay), then one that does not answer at all: ticks pass
    without a version and are counted, memory held for it stays bounded, the application runs on;
    when it answers again, versions commit."""
    with store_on_disk(t) as (store, disk):
        process, _ = watched_maw(t, store, "--interval", "20ms", "--durability", "data")
        whole = (0, disk.sectors)
        skipped = number(process.pid, "skipped")
        disk.table(("delay", *whole, 100))
        wait_versions(process, 2, 60)
        check(number(process.pid, "skipped") >= skipped + 4, "ticks that passed are not counted")
        disk.table(("linear", *whole))

        skipped = number(process.pid, "skipped")
        disk.suspend()
        try:
            wait_for(lambda: stuck(process), 60, "a version that waits for the disk")
            version = number(process.pid, "version")
            held = set()
            for _ in range(3):
                runs_on(process)
                held.add(number(process.pid, "held_bytes"))
            t.note(f"held: {held}")
            resident = 4096 * int(read(f"/proc/{process.pid}/statm").split()[1])
            check(len(held) == 1 and max(held) <= resident, f"{held} of {resident} bytes are held")
            check(number(process.pid, "version") == version, "a version was committed")
        finally:
            disk.resume()
        wait_versions(process, 2, 60)
        check(number(process.pid, "skipped") > skipped, "ticks that passed are not counted")
        check(number(process.pid, "errors") == 0, shown(process.pid, "last_error"))
        recovers(t, process)


@test("a process that waits for its disk", timeout=60)
def waits(t):
    """What waits for a disk cannot be stilled. A checkpoint that may take long is patient, and gets
    its version once the disk answers; the wait is refused by name where it may not."""
    with store_on_disk(t) as (place, disk):
        path = os.path.join(place, "data")
        with open(path, "wb") as file:
            file.write(b"of a disk\n" * 4000)
            file.flush()
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        disk.suspend()
        try:
            process = t.start(["/bin/sh", "-c", "read line; echo $line; while :; do :; done"],
                              stdin=path)
            wait_for(lambda: state_of(process.pid) == "D", 20, "wait for the disk")
            t.geist_refuses("waits for a device", "checkpoint", process.pid, "--timeout", "1")
            begun = time.monotonic()
            geist = t.start_client("checkpoint", process.pid)
            wait_for(lambda: not geist.alive() or time.monotonic() > begun + 8, 20, "patience")
            check(geist.alive(), f"it gave up: {geist.said()}")
        finally:
            disk.resume()
        check(geist.wait_end(60) == 0, geist.said())
        process.kill()
        again = t.restart(process)
        wait_for(lambda: read(process.path("stdout")) == "of a disk\n", 20, "output")
        check(again.alive(), "it ended")
        again.kill()


def stuck(process):
    """Whether no version has come for a while, though they are taken all the time."""
    before = number(process.pid, "version")
    for _ in range(5):
        process.wait_progress()
    return os.path.exists(f"{APPS}/{process.pid}") and number(process.pid, "version") == before
