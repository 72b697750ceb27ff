# SPDX-License-Identifier: GPL-2.0
"""Every allocation of the module fails once, in turn: an error or complete success, nothing between."""

import os

from context import GEIST, state_of
from device import FULL, Device, Refused
from faults import Nth, client_with_nth, injection
from harness import check, test, wait_for
from image import Version
from test_50_refusals import mounted

# So many faults in a row that were survived, or never came: the end of what there is to fail.
ENOUGH = 30


def counted(faults, failures):
    """What is printed."""
    return f"{faults} allocations failed, {failures} times the call failed, else it had another way"


@test("every allocation of a checkpoint fails once", timeout=300, alone=True, long=True)
def checkpoints(t):
    """A complete version, then an increment, with each allocation failing in turn: a whole version, or an
    error and no trace of one; the program runs on, and what was committed restarts."""
    # Not on a disk's file system, which takes itself for damaged when it gets no memory.
    with mounted(t, "size=1g") as t.store:
        checkpoints_in(t)


def checkpoints_in(t):
    """The course, in a store of its own."""
    process = t.start_program("statics-static", "--rounds", "1000000", "--tick-ms", "2")
    t.checkpoint(process)
    version, faults, failures = 2, 0, 0
    with injection(), Device(t.store, process.pid) as device:
        for flags in (FULL, 0):
            for n in range(1, 4000):
                fault = Nth(n)
                try:
                    device.checkpoint(version, flags)
                    said = None
                except Refused as reason:
                    said = str(reason)
                hit = fault.end()
                faults += hit
                if said is None:
                    version += 1
                else:
                    check(hit, f"refused, though nothing failed: {said}")
                    check(said.strip(), f"n {n}: an error without a sentence")
                    failures += 1
                    if failures % 10 == 1:
                        t.no_leftovers(process.pid)
                check(process.alive(), f"n {n}: the program ended ({said})")
                if not hit:
                    break
            else:
                check(False, "the allocations do not end")
    t.no_leftovers(process.pid)
    t.figure(counted(faults, failures))
    check(failures > 3 and faults > failures, f"too little was hit: {counted(faults, failures)}")
    t.geist_ok("verify", process.pid)
    process.stop()
    last = t.checkpoint(process)
    process.kill()
    for chosen in [last, *t.rng.sample(range(1, last), 3)]:
        again = t.restart(process, "--version", chosen, "--stopped")
        check(state_of(again.pid) == "T", "not stopped")
        again.go_on()
        again.wait_progress()
        again.kill()


@test("a version that exists while there is no memory", timeout=120, alone=True, long=True)
def existing(t):
    """A call names a version that is there already, and each allocation on its way fails in turn: it is
    refused, and not one file of that version is touched."""
    with mounted(t, "size=1g") as t.store:
        process = t.start_program("statics-static", "--rounds", "1000000", "--tick-ms", "2")
        t.checkpoint(process)
        kept = Version(t.store, process.pid, 1)
        hits = 0
        with injection(), Device(t.store, process.pid) as device:
            for n in range(1, 4000):
                fault = Nth(n)
                try:
                    device.checkpoint(1, FULL)
                    refused = False
                except Refused:
                    refused = True
                hit = fault.end()
                hits += hit
                check(refused, f"n {n}: version 1 was written once more")
                now = Version(t.store, process.pid, 1)
                check(now.original == kept.original, f"n {n}: files of the version were touched: "
                      f"{sorted(kept.original)} became {sorted(now.original)}")
                if not hit:
                    break
        check(hits > 20, f"only {hits} allocations failed")
        t.figure(f"{hits} allocations failed")
        process.kill()


@test("every allocation of a restart fails once", timeout=300, alone=True, long=True)
def restarts(t):
    """In the client and in the process that it makes: while the n-th allocation fails the process is
    there and whole, or there is none, and the next restart works."""
    process = t.start_program("statics-static", "--rounds", "1000000", "--tick-ms", "2")
    t.checkpoint(process, "--kill")
    command = [GEIST, "--store", t.store, "restart", str(process.pid)]
    faults = failures = 0
    with injection():
        for of_skeleton in (False, True):
            survived = 0
            for n in range(1, 4000):
                code, said = client_with_nth(command, n, of_skeleton)
                if code == 0:
                    # It checks what it computes as it goes.
                    again = t.adopt(process.pid, process.directory)
                    left = of_skeleton and Nth.left(Peek(process.pid))
                    check(again.alive(), f"n {n}: it ended")
                    again.kill()
                    survived += 1
                    if left or survived == ENOUGH:
                        break
                else:
                    survived, failures = 0, failures + 1
                    check(0 < code < 99 and said.strip(), f"n {n}: status {code}: {said!r}")
                    wait_for(lambda: state_of(process.pid) is None, 20, f"end of the skeleton ({said})")
                faults += 1
            else:
                check(False, "the allocations do not end")
    t.figure(counted(faults, failures))
    check(failures > 10, f"too little was hit: {counted(faults, failures)}")
    t.geist_ok("verify", process.pid)


class Peek:
    """The counter of another process, as it is."""

    def __init__(self, pid):
        self.fd = os.open(f"/proc/{pid}/task/{pid}/fail-nth", os.O_RDONLY)
