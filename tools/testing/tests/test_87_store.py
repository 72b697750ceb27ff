# SPDX-License-Identifier: GPL-2.0
"""What is kept stays: dropping versions, freeing files, making versions complete, comparing them."""

import os
import pty
import re
import select
import subprocess

import snapshot
from context import GEIST
from harness import check, slowness, test
from test_80_increments import look, restart_and_compare, take


def chain(t, versions):
    """A program that changes its memory in every way, stopped and saved again and again. Returns it,
    stopped, and what was seen, by version."""
    process = t.start_program("oracle", "--seed", str(t.seed))
    wanted = {}
    while len(wanted) < versions:
        process.go_on()
        t.random_moment(0.05)
        process.stop()
        version = take(t, process)
        if version:
            wanted[version["version"]] = look(process.pid)
    return process, wanted


def collect(t, app, *args):
    """Runs gc; what it did."""
    return t.geist_ok("gc", app, *args, "--yes", "--json").json()


def listed(t, *args):
    """Versions and their states."""
    return {row["version"]: row for row in t.geist_ok("list", "--json", *args).json()}


def bytes_of(t, app):
    """Bytes of all files of an application."""
    where = os.path.join(t.store, str(app))
    return sum(os.path.getsize(os.path.join(where, name)) for name in os.listdir(where))


@test("versions dropped and made complete in the middle of a chain", timeout=400)
def middle(t):
    """Of a chain of a real program versions are dropped and others made complete. What is listed is
    the truth, and every version that is kept restarts with the memory that was seen. From a
    complete one the program goes on; its next versions are increments on that."""
    process, wanted = chain(t, t.rounds(12, 8))
    app = process.pid
    process.kill()
    numbers = sorted(wanted)

    drop = sorted(t.rng.sample(numbers[:-1], len(numbers) // 3))
    named = ",".join(map(str, drop))
    foreseen = t.geist_ok("gc", app, "--versions", named, "--dry-run", "--json").json()
    check(sorted(listed(t)) == numbers, "a dry run dropped something")
    before = bytes_of(t, app)
    done = collect(t, app, "--versions", named)
    check(done["dropped"] == drop and done["dropped"] == foreseen["dropped"], f"{done}")
    check(done["freed_bytes"] == foreseen["freed_bytes"] == before - bytes_of(t, app), f"{done}")
    kept = [number for number in numbers if number not in drop]
    check(sorted(listed(t)) == kept == done["kept"], f"{listed(t)}")
    everything = listed(t, "--all")
    for number in drop:
        row = everything.get(number)
        check(row is None or row["state"] == "dropped" and row["needed_by"] in kept, f"{row}")
    t.geist_refuses(f"has no version {drop[0]}", "restart", app, "--version", drop[0])
    t.geist_ok("verify", app)

    complete = t.rng.choice(kept[1:-1])
    done = t.geist_ok("consolidate", f"{app}@{complete}", "--json").json()
    check(done["changed"] and done["number"] > numbers[-1], f"{done}")
    again = t.geist_ok("consolidate", f"{app}@{complete}", "--json").json()
    check(not again["changed"] and again["number"] == done["number"], f"{again}")
    check(sorted(listed(t)) == kept and listed(t)[complete]["kind"] == "full", f"{listed(t)}")
    t.geist_ok("verify", app)
    for number in kept:
        restart_and_compare(t, process, number, wanted[number]).kill()

    # It goes on from the complete version.
    again = restart_and_compare(t, process, complete, wanted[complete])
    parent = complete
    for _ in range(3):
        again.go_on()
        t.random_moment(0.05)
        again.stop()
        version = take(t, again)
        if version:
            number = version["version"]
            check(version["parent"] == parent and number > done["number"], f"{version}")
            wanted[number], parent = look(again.pid), number
    again.kill()
    check(parent != complete, "the program had a child at each of the moments")
    for number in sorted(wanted.keys() - set(drop)):
        restart_and_compare(t, process, number, wanted[number]).kill()

    # The newest alone, complete, is all that is left.
    t.geist_ok("consolidate", f"{app}@{parent}")
    done = collect(t, app, "--keep", "1")
    check(done["kept"] == [parent] and done["held_bytes"] == 0, f"{done}")
    check(len(t.app_files(app)) == 7, f"{t.app_files(app)}")
    restart_and_compare(t, process, parent, wanted[parent]).kill()


@test("a running program's version is made complete", timeout=200)
def running(t):
    """The version that the next increment would build on is replaced by a complete one, or dropped,
    while the program runs: its next version is complete, the one after that an increment."""
    process, wanted = chain(t, 3)
    app = process.pid
    newest = max(wanted)
    t.geist_ok("consolidate", f"{app}@{newest}")
    done = collect(t, app, "--keep", "1")
    check(done["held_bytes"] == 0, f"{done}")
    kinds = []
    while len(kinds) < 2:
        version = take(t, process)
        if version is None:
            process.go_on()
            t.random_moment(0.02)
            process.stop()
            continue
        kinds.append(version["kind"])
        wanted[version["version"]] = look(app)
    check(kinds == ["full", "increment"], f"{kinds}")
    process.kill()
    for number in [newest] + sorted(wanted)[-2:]:
        restart_and_compare(t, process, number, wanted[number]).kill()


@test("gc and consolidate cut off at any moment", timeout=400)
def cut_off(t):
    """The client is killed at random moments while it drops versions and makes others complete. All
    that is kept is whole each time, and in the end nothing is left over."""
    process, wanted = chain(t, 8)
    app = process.pid
    process.kill()
    kept = set(wanted)
    for _ in range(t.rounds(20, 8)):
        numbers = sorted(kept)
        args = ["consolidate", f"{app}@{t.rng.choice(numbers)}"]
        if len(numbers) > 4 and t.rng.random() < 0.3:
            dropped = t.rng.choice(numbers[:-1])
            args = ["gc", str(app), "--yes", "--versions", str(dropped)]
            kept.discard(dropped)
        client = t.start_client(*args)
        t.random_moment(0.15)
        client.kill()
        found = set(listed(t))
        check(kept <= found <= kept | {number for number in numbers}, f"{found} of {kept}")
        kept = found
        t.geist_ok("verify", app)
    collect(t, app)
    for number in t.rng.sample(sorted(kept), 3):
        restart_and_compare(t, process, number, wanted[number]).kill()
    t.geist_ok("consolidate", f"{app}@{max(kept)}")
    done = collect(t, app, "--versions", f"1-{max(kept) - 1}")
    check(done["held_bytes"] == 0 and len(t.app_files(app)) == 7, f"{t.app_files(app)}")


@test("diff names the pages that differ", timeout=200)
def difference(t):
    """What two versions differ in is what was seen to differ in memory, page by page, and little
    more: pages of files that were written, but not changed."""
    process, wanted = chain(t, 6)
    app = process.pid
    process.kill()
    t.geist_ok("consolidate", f"{app}@{t.rng.choice(sorted(wanted))}")
    for _ in range(4):
        first, second = sorted(t.rng.sample(sorted(wanted), 2))
        args = ("diff", f"{app}@{first}", f"{app}@{second}")
        found = t.geist_ok(*args, "--pages", "--json").json()
        old, new = wanted[first], wanted[second]
        seen = {page for page in old.keys() & new.keys() if old[page] != new[page]}
        told = {"changed": set(), "new": set(), "gone": set()}
        for row in found["mappings"]:
            for pages in row["pages"]:
                told[pages["what"]] |= set(range(pages["start"], pages["end"], snapshot.PAGE))
        for what, pages in told.items():
            check(len(pages) == found[what], f"{what}: {len(pages)} pages, it says {found[what]}")
        missed = seen - told["changed"] - told["new"] - told["gone"]
        # A mapping that is another one now is named; what lies in the file behind it is none of
        # the version's pages.
        named = [(row["start"], row["end"]) for row in found["mappings"]
                 if row["mapping"] in ("came", "went", "replaced")]
        missed = {page for page in missed
                  if not any(start <= page < end for start, end in named)}
        check(not missed, f"{len(missed)} of {len(seen)} pages are missed: {sorted(missed)[:4]}")
        # What the kernel keeps in rseq is not looked at.
        more = told["changed"] - seen
        check(len(more) <= 1, f"{len(more)} pages did not change: {sorted(more)[:4]}")
        check(t.geist(*args, "--exit-code").code == 5, "they differ")
        check(t.geist(*args).code == 0, "without --exit-code it is no matter")
        same = t.geist_ok("diff", f"{app}@{first}", f"{app}@{first}", "--exit-code")
        check("hold the same memory" in same.out, same.out)


def on_terminal(*command):
    """What a command writes to its standard error when that is a terminal; it must succeed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=theirs) as child:
        os.close(theirs)
        said = b""
        while select.select([ours], [], [], 120 * slowness())[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:     # the other side is closed
                break
            said += part
        child.wait()
    os.close(ours)
    said = said.decode("utf-8", "replace")
    check(child.returncode == 0, f"{command}: status {child.returncode}: {said}")
    return said


@test("progress is shown on a terminal", timeout=300)
def progress(t):
    """What takes more than a second is shown on a terminal: bytes that a checkpoint has written,
    how far a consolidation and a restart are. Elsewhere nothing of it is to be seen."""
    # How much a second's worth is depends on the machine.
    for megabytes in (256, 512, 1024):
        missing = progress_of(t, megabytes)
        if not missing:
            t.note(f"{megabytes} MB were enough")
            return
    check(False, "\n".join(missing))


def progress_of(t, megabytes):
    """What of the progress with so much memory is not shown."""
    maw = t.start_program("maw", "--mb", str(megabytes), "--rounds", "100000000", "--tick-ms", "1000")
    geist = [GEIST, "--store", t.store]
    said = {r"writing version 1 .*B/s": on_terminal(*geist, "checkpoint", str(maw.pid))}
    answer = t.geist_ok("checkpoint", maw.pid)
    check("/s" not in answer.err, answer.err)
    maw.kill()
    said[r"writing \d+ pages .*\[=*>? *\]"] = on_terminal(*geist, "consolidate", f"{maw.pid}@2")
    said[r"filling the memory .*\[=*>? *\]"] = on_terminal(*geist, "restart", str(maw.pid))
    again = t.adopt(maw.pid, maw.directory)
    again.wait_progress()
    again.kill()
    t.geist_ok("rm", maw.pid, "--yes")
    return [f"{wanted}: {text[-500:]!r}" for wanted, text in said.items() if not re.search(wanted, text)]
