# SPDX-License-Identifier: GPL-2.0
"""What went wrong for others, the cases of the first stage, each as small as it gets."""

import os

import judge
import snapshot
from context import program, state_of
from harness import check, read, test, wait_for


def begin(t, mode, name="cases"):
    """Starts a program in one mode; its directory is its own, in which it waits for the file go."""
    process = t.start([program(name), "--out", "{dir}/result", mode, "{dir}"])
    process.wait_ready()
    return process


def make(process, name):
    """A file that the program waits for."""
    with open(process.path(name), "w"):
        pass


def away_and_back(t, process, *flags):
    """Checkpoints and kills it, restarts it, has the judge look at it, lets it go on."""
    version = t.checkpoint(process, "--kill", *flags)
    again = t.restart(process, "--version", version, "--stopped")
    judge.equal(t, again, version)
    again.go_on()
    return again


@test("rseq: the CPU number is right after a restart", timeout=60)
def rseq(t):
    """A program that goes from CPU to CPU for a second reads its number in the rseq area, as glibc
    registered it; the kernel keeps it up to date after a restart, and a restart of that."""
    process = begin(t, "rseq")
    for _ in range(2):
        process = away_and_back(t, process)
    text = process.result()
    check(text == "ok cases rseq\n", text)


@test("rseq: an open critical section is aborted", timeout=90)
def section(t):
    """Checkpointed in the midst of a restartable sequence. What it waits for comes while it is away:
    run on, it would end the sequence as if nothing had been; it must be aborted."""
    for _ in range(10):
        process = begin(t, "section")
        start, end = map(int, read(process.path("result.section")).split())
        version = t.checkpoint(process, "--kill")
        shown = t.geist_ok("show", f"{process.pid}@{version}", "--json").json()
        registers = shown["processes"][0]["threads"][0]["registers"]
        place = next(row["value"] for row in registers if row["register"] == "rip")
        with open(process.path("flag"), "r+b") as flag:
            flag.write(b"\1")
        text = t.restart(process).result()
        if start <= place < end:
            check(text == "ok cases section aborted\n", text)
            return
        check(text.startswith("ok "), text)
    check(False, "no checkpoint met the critical section")


@test("brk: the heap goes on where it ended", timeout=90)
def brk(t):
    """Dynamically linked and static-PIE, whose heap lies below its data: sbrk(0) is what it was, the
    heap grows on, and malloc works."""
    for name in ("cases", "cases-static-pie"):
        process = begin(t, "brk", name)
        text = away_and_back(t, process).result()
        check(text == "ok cases brk\n", f"{name}: {text}")


@test("pages behind PROT_NONE keep their content", timeout=90)
def closed(t):
    """Of the heap, anonymous, of a private mapping: written and closed, checkpointed as a whole and
    as an increment that was taken while they were closed, opened again after the restart."""
    process = begin(t, "closed")
    t.checkpoint(process)
    make(process, "close")
    process.wait_file("result.closed")
    increment = t.checkpoint(process)
    whole = t.checkpoint(process, "--full", "--kill")
    make(process, "go")
    for version in (increment, whole):
        text = t.restart(process, "--version", version).result()
        check(text == "ok cases closed\n", f"version {version}: {text}")
        os.unlink(process.path("result"))


@test("mappings longer than their files", timeout=60)
def beyond(t):
    """Pages beyond the end of the file give SIGBUS and come when the file grows; a written page that
    the file was cut below is gone; what is mapped behind them is right."""
    process = begin(t, "beyond")
    text = away_and_back(t, process).result()
    check(text == "ok cases beyond\n", text)


@test("16 TB of address space", timeout=60)
def reserved(t):
    """Reservations of 16 TB with 200 pages in them: a version has about as many, not more are there
    after the restart, and accounting is as before."""
    process = begin(t, "reserved")
    process.stop()
    before = snapshot.system_view(process.pid), snapshot.vma_flags(process.pid)
    version = t.checkpoint(process)
    shown, = (one for one in t.geist_ok("list", "--json").json() if one["version"] == version)
    check(shown["bytes"] < 4 << 20, f"the version has {shown['bytes']} bytes")
    process.kill()
    again = t.restart(process, "--stopped")
    after = snapshot.system_view(again.pid), snapshot.vma_flags(again.pid)
    found = [text for pair in zip(before, after) for text in judge.differences(*pair)]
    check(not found, "\n".join(found[:10]))
    judge.equal(t, again, version)
    again.go_on()
    text = again.result()
    check(text == "ok cases reserved\n", text)


@test("five generations are the same", timeout=200)
def generations(t):
    """A restart of a restart, five times, of the same program, with randomised addresses and
    without: each is restarted from the image of the one before, equals it in everything that can be
    seen from outside, goes on, and the last one ends as an undisturbed run does."""
    for prefix in ([], ["setarch", "-R"]):
        argv = [*prefix, program("mappings"), "--out", "{dir}/result", "--hold", "{dir}/go", "--rounds",
                "100", "{dir}"]
        wanted, _ = t.undisturbed(argv)
        process = t.start(argv)
        process.wait_ready()
        for generation in range(5):
            process.wait_progress()
            before = snapshot.stop_and_look(process)
            version = t.checkpoint(process, "--kill")
            process = t.restart(process, "--version", version)
            wait_for(lambda pid=process.pid: state_of(pid) == "T", 10, "stop of the restarted process")
            snapshot.same(before, snapshot.snapshot(process.pid), f"generation {generation} differs")
            judge.equal(t, process, version)
            process.go_on()
        t.same_result(process, wanted)
