# SPDX-License-Identifier: GPL-2.0
"""Increments: what changed, nothing less, and not much more."""

import ctypes
import itertools
import os
import re
import struct
import subprocess

import snapshot
from context import state_of
from harness import Failed, PROGRAMS, check, read, settings, slowness, test, wait_for, write
from test_16_swap import swap
from watching import knob

WRITTEN = 200
PTRACE_POKEDATA = 5


def look(pid):
    """The memory of a stopped process, page by page: the hash of each, 0 where it is all zeros. Where
    the kernel joins mappings of the same kind, and where it does not, is no difference."""
    done = subprocess.run([os.path.join(PROGRAMS, "pages"), str(pid)], capture_output=True, check=False,
                          timeout=120 * slowness())
    check(done.returncode == 0, f"pages {pid}: {done.stderr.decode()}")
    return dict(struct.iter_unpack("<QQ", done.stdout))


def take(t, process, *args):
    """Takes a version of a stopped process, as JSON; None while it has a child for a moment."""
    answer = t.geist("checkpoint", process.pid, "--durability", "none", *args, "--json")
    if answer.code and re.search("child", answer.err):
        return None
    check(answer.code == 0, answer.err)
    return answer.json()


class Differs(Failed):
    """A restarted version does not hold what was seen when it was taken."""


def some(pages):
    """The first few addresses."""
    return " ".join(map(hex, pages[:4]))


def explain(t, process, version, page, history):
    """What can be said of a page that differs: where it lies, which version stores it, where else
    its content was seen."""
    content = look(process.pid).get(page)
    where = next((m.text for m in snapshot.mappings(process.pid) if m.start <= page < m.end), "")
    shown = t.geist_ok("show", f"{process.pid}@{version}", "--json").json()
    stored = next((number for start, end, number in extents(shown) if start <= page < end), None)
    same = [number for number, pages in history.items() if pages.get(page) == content]
    moved = [f"{other:#x}@{number}" for number, pages in history.items()
             for other, digest in pages.items() if digest == content and other != page]
    t.note(f"{page:#x} of version {version} ({where}): stored in version {stored}, restarted with "
           f"{'zeros' if content == 0 else f'what was there at versions {same}, elsewhere {moved[:8]}'}")


def restart_and_compare(t, process, version, wanted, history=()):
    """Restarts a version, whose memory must be what was seen when it was taken. The history, what
    was seen at other versions, helps to explain a difference."""
    again = t.restart(process, "--version", version)
    wait_for(lambda: state_of(again.pid) == "T", 20, f"stop of version {version}")
    found = look(again.pid)
    if found == wanted:
        return again
    lost = sorted(wanted.keys() - found.keys())
    more = sorted(found.keys() - wanted.keys())
    other = sorted(page for page in wanted.keys() & found.keys() if wanted[page] != found[page])
    for page in other[:4] if history else ():
        explain(t, again, version, page, history)
    raise Differs(f"version {version}: {len(other)} of {len(wanted)} pages differ ({some(other)}), "
                  f"{len(lost)} are missing ({some(lost)}), {len(more)} are new ({some(more)})")


# Several pages at once where nobody touched any yet, each with an entry of its own.
GROUPS = {"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled": "always"}

# What makes the kernel move, merge and replace pages often, without taking all of a slow machine.
RESTLESS = {
    **GROUPS,
    "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs": "20",
    "/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan": "4096",
    "/sys/kernel/mm/ksm/sleep_millisecs": "10",
    "/sys/kernel/mm/ksm/pages_to_scan": "500",
    "/sys/kernel/mm/ksm/run": "1",
}


@test("every version holds the memory of its freeze", timeout=500)
def oracle(t):
    """A program that writes, maps, unmaps, moves, protects, discards, pages out, collapses, merges,
    forks and has the kernel write into its memory is stopped at random moments. Each time its
    memory is looked at and an increment taken. Versions picked at random, the last among them, are
    restarted and must hold the same; from one in the middle the program goes on as a branch."""
    follow(t, t.rounds(40, 12))


@test("every version holds its memory while the kernel moves it", timeout=700, alone=True)
def oracle_restless(t):
    """The same while the kernel swaps, compacts, merges equal pages, allocates several pages at once
    and collapses what it can to huge pages."""
    with swap(t), settings(RESTLESS):
        follow(t, t.rounds(40, 6), lambda: write("/proc/sys/vm/compact_memory", 1))


def follow(t, versions, meanwhile=lambda: None):
    """The course of the test above: so many versions, something done before each."""
    program = t.start_program("oracle", "--seed", str(t.seed))
    seen, wanted, history = [], {}, {}
    picked = t.rounds(8, 3)
    while len(seen) < versions:
        program.go_on()
        t.random_moment(0.1)
        meanwhile()
        program.stop()
        version = take(t, program)
        if version:
            seen.append(version)
            number = version["version"]
            check(version["parent"] == number - 1, f"version {number} builds on {version}")
            history[number] = wanted[number] = look(program.pid)
            for other in sorted(wanted)[1:-1]:
                if len(wanted) > picked and t.rng.random() < 0.5:
                    del wanted[other]
    check([one["kind"] for one in seen] == ["full"] + ["increment"] * (len(seen) - 1), f"{seen}")
    program.kill()
    t.geist_ok("verify", program.pid)
    for number in t.rng.sample(sorted(wanted), len(wanted)):
        restart_and_compare(t, program, number, wanted[number], history).kill()

    # A branch: what follows a restart from the middle is an increment on that version.
    number = t.rng.choice(sorted(wanted))
    again = restart_and_compare(t, program, number, wanted[number], history)
    again.go_on()
    t.random_moment(0.1)
    again.stop()
    branch = take(t, again)
    if branch:
        check((branch["kind"], branch["parent"]) == ("increment", number), f"{branch}")
        content = look(again.pid)
        again.kill()
        restart_and_compare(t, program, branch["version"], content, history).kill()
    else:
        again.kill()
    last = max(wanted)
    restart_and_compare(t, program, last, wanted[last], history).kill()


def stopped_after(program, step):
    """Waits until a program that goes step by step has done one and stopped. The number of the last."""
    def there():
        check(program.alive(), f"it ended before step {step}: {program.said()}")
        done = (read(program.path("result.step")) or "").split()
        return done[:1] == [str(step)] and state_of(program.pid) == "T" and int(done[1])
    try:
        return wait_for(there, 20, f"stop after step {step}")
    except Failed as reason:
        raise Failed(f"{reason}: {program.pid} is in state {state_of(program.pid)}, in the kernel at "
                     f"{read(f'/proc/{program.pid}/stack')}, and has done "
                     f"{read(program.path('result.step'))}") from None


def go_through(t, restarting):
    """Takes a version at every stop of a program that changes its memory step by step. Restarting:
    each is killed, and what is restarted does the next step. Returns the program, stopped for the
    last time, what was seen, by version, and what was wrong."""
    program = t.start_program("moves")
    wanted, wrong = {}, []
    step, last = 0, None
    while step != last:
        step = len(wanted)
        last = stopped_after(program, step)
        version = take(t, program)
        check(version["kind"] == ("increment" if wanted else "full"), f"{version}")
        number = version["version"]
        t.note(f"step {step}: version {number}")
        wanted[number] = look(program.pid)
        if restarting:
            program.kill()
            program = compared(t, program, number, wanted, wrong)
        if step != last:
            program.go_on()
    return program, wanted, wrong


def compared(t, program, number, wanted, wrong):
    """Restarts a version and compares; what differs is added to what is wrong."""
    try:
        return restart_and_compare(t, program, number, wanted[number], wanted)
    except Differs as reason:
        wrong.append(str(reason))
        return t.adopt(program.pid, program.directory)


@test("pages that move without a write fault", timeout=200)
def moves(t):
    """A program moves mappings to where others were, maps anew what it unmapped, gives shared
    memory back, and writes where no fault tells of it. Each version holds what was there, whether
    the program ran all the time, or was restarted before each step."""
    for restarting in (False, True):
        program, wanted, wrong = go_through(t, restarting)
        program.kill()
        picked = t.rng.sample(sorted(wanted), t.rounds(len(wanted), 3))
        for number in picked if not restarting else ():
            compared(t, program, number, wanted, wrong).kill()
        check(not wrong, "\n".join(wrong))


@test("pages that come through a userfaultfd", timeout=60)
def userfault(t):
    """Between two versions pages are copied and moved to where no page ever was, by UFFDIO_COPY and
    UFFDIO_MOVE, and zeros over a private file by UFFDIO_ZEROPAGE, and the userfaultfd is closed:
    nothing faults, and the increment has them."""
    for program, _ in userfault_stops(t):
        version = take(t, program)
    check(version["kind"] == "increment", "a complete version")
    program.kill()
    again = t.restart(program)
    again.go_on()
    text = again.result()
    check(text.startswith("ok userfault"), text)


SOURCES = ("writes", "absences", "clearings", "unmappings", "forks", "layouts", "userfaults")


@test("no source of changes can be done without", timeout=300, alone=True)
def sources(t):
    """Each source from which tracking learns of changes is switched off by itself, and programs change
    their memory step by step: `paranoid` finds that a page was missed. With all of them it finds none."""
    # Some of it takes huge pages, some of it smaller groups of pages.
    for name in ("drop_caches", "compact_memory"):
        write(f"/proc/sys/vm/{name}", 1)
    with settings(GROUPS), knob("paranoid", 1):
        found = {source: missed_without(t, source) for source in (*SOURCES, "none")}
    t.figure("; ".join(f"without {source}: {said or 'nothing'}" for source, said in found.items()))
    check(found.pop("none") is None, "a page is missed with all of them")
    check(all(found.values()), f"nothing is missed without {[one for one in found if not found[one]]}")


def missed_without(t, source):
    """At which step a page was missed while a source is off, and how; None when none was."""
    stops = userfault_stops if source == "userfaults" else moves_stops
    with knob("blind", source):
        for number, (program, when) in enumerate(stops(t)):
            said = missed(t, program, when)
            check(number or said is None, f"a page is missed by the first version: {said}")
            if said:
                break
        program.kill()
    return said


def moves_stops(t):
    """A program that changes its memory step by step, at each stop, and what it has done."""
    program = t.start_program("moves")
    for step in itertools.count():
        last = stopped_after(program, step)
        yield program, f"step {step}"
        if step == last:
            return
        program.go_on()


def userfault_stops(t):
    """The same of one into which pages come through a userfaultfd, between two stops."""
    program = t.start_program("userfault")
    wait_for(lambda: state_of(program.pid) == "T", 20, "stop")
    yield program, "the beginning"
    program.go_on()
    program.wait_file("result.moved")
    wait_for(lambda: state_of(program.pid) == "T", 20, "stop")
    yield program, "a userfaultfd"


def missed(t, program, when):
    """Takes a version: when a page was missed, and what `paranoid` says; None when none was."""
    answer = t.geist("checkpoint", program.pid, "--durability", "none")
    if answer.code == 0:
        return None
    check("paranoid" in answer.err, answer.err)
    return f"{when} ({answer.err.strip().rpartition(': ')[2].split(';')[0]})"


def by_process_vm_writev(pid, address, content):
    """Writes as process_vm_writev(2) does."""
    ours = ctypes.create_string_buffer(content, len(content))
    local = snapshot.Iovec(ctypes.addressof(ours), len(content))
    remote = snapshot.Iovec(address, len(content))
    done = snapshot.LIBC.process_vm_writev(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    check(done == len(content), f"process_vm_writev: {os.strerror(ctypes.get_errno())}")


def by_ptrace(pid, address, content):
    """Writes word by word as a debugger does."""
    with snapshot.attached(pid):
        for at in range(0, len(content), 8):
            word = int.from_bytes(content[at:at + 8], "little")
            snapshot.ptrace(PTRACE_POKEDATA, pid, address + at, word, "POKEDATA")


def by_proc_mem(pid, address, content):
    """Writes to /proc/PID/mem."""
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as file:
        check(os.pwrite(file.fileno(), content, address) == len(content), "too little")


@test("others write its memory", timeout=100)
def written_by_others(t):
    """Between versions another process writes a few pages of a stopped one: by process_vm_writev,
    ptrace, /proc/PID/mem. Each increment stores what was written and little more, and each version
    restarts with it."""
    # No room for a huge page, which khugepaged could make meanwhile.
    maw = t.start_program("maw", "--mb", "1", "--rounds", "100000000", "--tick-ms", "100000")
    maw.stop()
    memory = [one for one in snapshot.mappings(maw.pid) if " rw-p " in one.text and not one.name]
    area = max(memory, key=lambda one: one.end - one.start)
    take(t, maw)
    wanted = {1: look(maw.pid)}
    for write in (by_process_vm_writev, by_ptrace, by_proc_mem):
        pages = t.rng.sample(range(area.start, area.end, snapshot.PAGE), 3)
        for page in pages:
            write(maw.pid, page + 8 * t.rng.randrange(448), t.rng.randbytes(512))
        version = take(t, maw)
        check(version["kind"] == "increment" and 3 <= version["pages"] <= 16,
              f"{write.__name__}: {version}")
        before, now = wanted[version["parent"]], look(maw.pid)
        check(all(before.get(page) != now[page] for page in pages), f"{write.__name__} wrote nothing")
        wanted[version["version"]] = now
    maw.kill()
    for number, seen in wanted.items():
        restart_and_compare(t, maw, number, seen).kill()


@test("an increment costs what changed", timeout=200)
def size(t):
    """maw, with huge pages as they are: an increment stores the pages that were written and the few
    that any program writes, not the huge pages they are part of; one without a write in between
    stores next to nothing; --full stores everything."""
    maw = t.start_program("maw", "--mb", "32", "--rounds", "100000000", "--writes-per-tick",
                          str(WRITTEN), "--tick-ms", "100000")
    maw.stop()
    first = take(t, maw)
    check(first["kind"] == "full" and first["pages"] >= 32 * 256, f"{first}")
    idle = take(t, maw)
    check(idle["kind"] == "increment" and idle["pages"] <= 4, f"nothing was written: {idle}")
    check(idle["control_bytes"] < 1024, f"{idle}")
    full = take(t, maw, "--full")
    check(full["kind"] == "full" and full["pages"] >= first["pages"] - 4, f"{full}")
    # One signal makes it check itself, which writes a few pages.
    maw.go_on()
    t.random_moment(0.5)
    maw.stop()
    small = take(t, maw)
    check(small["kind"] == "increment", f"{small}")
    check(small["pages"] <= WRITTEN + 64, f"{small['pages']} pages for at most {WRITTEN} writes")
    check(small["bytes"] <= 1.05 * 4096 * small["pages"] + 32768, f"{small}")


@test("pages given back are in no later version", timeout=100)
def given_back(t):
    """The control table of an increment has no row for memory that was unmapped before it."""
    program = t.start_program("oracle", "--seed", str(t.seed + 1))
    found = 0
    for _ in range(t.rounds(20, 8)):
        program.stop()
        version = take(t, program)
        if version:
            shown = t.geist_ok("show", f"{program.pid}@{version['version']}", "--json").json()
            mapped = [(m.start, m.end) for m in snapshot.mappings(program.pid)]
            for start, end, _ in extents(shown):
                found += 1
                check(any(low < end and start < high for low, high in mapped),
                      f"version {version['version']} has pages at {start:#x}, where nothing is mapped")
        program.go_on()
        t.random_moment(0.05)
    check(found > 0, "no version had a page")
    program.kill()


def extents(shown):
    """Ranges of addresses in the control table that the client shows, and the version that stores
    each."""
    rows = []

    def walk(value):
        if isinstance(value, dict):
            if "virtual_address" in value and "pages" in value and value.get("version"):
                start = value["virtual_address"]
                start = int(start, 16) if isinstance(start, str) else start
                rows.append((start, start + value["pages"] * snapshot.PAGE, value["version"]))
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(shown)
    return rows


@test("a tracked program that execs, then ends", timeout=100, alone=True)
def ends(t):
    """After execve(2) the next version is complete, and the one after it an increment again; when
    the program has ended, the module forgets it."""
    process = t.start(["/bin/sh", "-c", "while [ ! -e {dir}/go ]; do :; done; exec sleep 1000"])
    kinds = [take(t, process)["kind"], take(t, process)["kind"]]
    with open(process.path("go"), "w"):
        pass
    wait_for(lambda: read(f"/proc/{process.pid}/comm") == "sleep\n", 20, "execve")
    kinds += [take(t, process)["kind"], take(t, process)["kind"]]
    check(kinds == ["full", "increment", "full", "increment"], f"{kinds}")
    process.kill()
    wait_for(lambda: t.geist_ok("info", "--json").json()["applications"] == 0, 10,
             "the module to forget it")
