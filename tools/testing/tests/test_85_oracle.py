# SPDX-License-Identifier: GPL-2.0
"""The oracle at scale: thousands of versions, of which none may miss a page."""

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import time

import snapshot
from context import program
from device import Device, Refused
from groups import group
from harness import Failed, check, read, test, wait_for
from test_16_swap import swap
from test_50_refusals import mounted
from test_80_increments import look, restart_and_compare
from watching import KNOBS, knob

# Of so many versions one is looked at from outside, and restarted.
ONE_OF = 15

# Less than the program wants: the rest goes to swap.
MEMORY = 6 << 20


@contextlib.contextmanager
def little_memory(t):
    """A control group with little memory; the function that it yields puts a process into it."""
    with group("little", "memory") as little:
        little.put("memory.max", MEMORY)

        def put(pid):
            little.take(pid)
            t.note(f"{pid} has {MEMORY >> 20} MB")
        yield put


def begin(t, process):
    """Takes the first version; again while the process has a child for a moment."""
    refused = True
    while refused:
        answer = t.geist("checkpoint", process.pid, "--durability", "none")
        refused = answer.code != 0
        check(not refused or "child" in answer.err, answer.err)


def take(device, version, process, stopped, refused=False):
    """Takes a version, of the running process, or of the stopped one; again while it has a child
    for a moment. A version that was refused late (or was before: refused) has none to build on; any
    other is an increment."""
    while True:
        if stopped:
            process.stop()
        try:
            taken = device.checkpoint(version)
        except Refused as reason:
            if not re.search("child", str(reason)):
                raise
            refused = True
        else:
            check(taken.parent == version - 1 or refused and taken.parent == 0,
                  f"version {version} builds on {taken.parent}")
            return taken
        if stopped:
            process.go_on()


class Course:
    """What was seen of the versions of some programs."""

    def __init__(self):
        self.taken = []         # what the module says of each
        self.restarted = 0
        self.swapped = 0        # kilobytes, the most that a program had
        self.huge = 0           # the same in huge pages
        self.children = 0       # programs that had some

    def note_memory(self, pid):
        """What the memory of a process is made of just now."""
        text = read(f"/proc/{pid}/smaps_rollup")
        swap_kb, huge_kb = (int(re.search(rf"^{name}: *(\d+)", text, re.M).group(1))
                            for name in ("Swap", "AnonHugePages"))
        self.swapped, self.huge = max(self.swapped, swap_kb), max(self.huge, huge_kb)

    def note_children(self, pid):
        """Whether it had children: they had page faults, which count when they were waited for."""
        self.children += int(read(f"/proc/{pid}/stat").rpartition(")")[2].split()[8]) > 0

    def summary(self):
        """All that, and medians of what the module says."""
        figures = {name: statistics.median(getattr(version, name) for version in self.taken)
                   for name in ("pages", "pause_us", "capture_us", "write_us", "total_us")}
        complete = sum(version.parent == 0 for version in self.taken)
        return (f"{len(self.taken)} versions, {complete} of them complete, {self.restarted} "
                f"restarted; at most {self.swapped} kB in swap, {self.huge} kB in huge pages; "
                f"{self.children} programs had children; medians: "
                + ", ".join(f"{name} {value:.0f}" for name, value in figures.items()))


def versions_of_one(t):
    """How many versions follow the first, complete one of a program; the next program has another
    seed, and a store of its own."""
    return t.rounds(100, 20)


def one_program(t, seed, squeeze, course):
    """Takes versions of one program, then restarts those that were looked at."""
    last = 1 + versions_of_one(t)
    process = t.start_program("oracle", "--seed", str(seed), "--rest", "2")
    if squeeze:
        squeeze(process.pid)
    begin(t, process)
    device = Device(t.store, process.pid)
    picked = set(t.rng.sample(range(2, last), last // ONE_OF)) | {last}
    wanted = {}
    for version in range(2, last + 1):
        # A moment of the program's course, not a wait for anything.
        time.sleep(t.rng.uniform(0, 0.01))
        try:
            course.taken.append(take(device, version, process, version in picked))
        except Failed as reason:
            raise Failed(f"seed {seed}, version {version}: {reason}") from None
        if version in picked:
            course.note_memory(process.pid)
            wanted[version] = look(process.pid)
            process.go_on()
    course.note_children(process.pid)
    process.kill()
    device.close()
    for version in t.rng.sample(sorted(wanted), len(wanted)):
        t.note(f"seed {seed}, version {version}")
        restart_and_compare(t, process, version, wanted[version]).kill()
        course.restarted += 1
    shutil.rmtree(os.path.join(t.store, str(process.pid)))


@test("thousands of versions, no page missed", timeout=900, alone=True)
def many(t):
    """Programs that do, driven by a seed, everything that changes memory, half of them with so
    little memory that a part is in swap, are checkpointed while they run, as fast as it goes. With
    the knob `paranoid` every version compares the whole memory with what it stores; versions picked
    at random are also looked at from outside, restarted, and compared page by page."""
    programs = t.versions // versions_of_one(t) if t.versions else t.rounds(20, 10)
    check(programs > 0, f"--versions: at least {versions_of_one(t)}, which one program has")
    seeds = range(t.seed * 1000, t.seed * 1000 + programs)
    print(f"# oracle: seeds {seeds[0]} to {seeds[-1]}, {versions_of_one(t)} versions each",
          flush=True)
    course, begun = Course(), time.monotonic()
    with swap(t), knob("paranoid", 1), little_memory(t) as squeeze:
        for seed in seeds:
            one_program(t, seed, squeeze if seed % 2 else None, course)
            if seed % 10 == 9 and not t.quick:
                print(f"# oracle: up to seed {seed}, {time.monotonic() - begun:.0f} s: "
                      f"{course.summary()}", flush=True)
    print(f"# oracle: {time.monotonic() - begun:.0f} s: {course.summary()}", flush=True)
    if t.quick:     # too few programs for everything to happen
        return
    check(course.swapped > 0, "no program had a page in swap")
    check(course.huge > 0, "no program had a huge page")
    check(course.children > 0, "no program had a child")


@test("versions that could not be written", timeout=200, alone=True)
def unwritten(t):
    """The disk is full at many versions of a program that does everything that changes memory. The
    next one that fits is an increment nevertheless, on the newest that was committed, and misses no
    page: `paranoid` compares, and what was looked at from outside is restarted."""
    last, failed, complete = 1 + t.rounds(24, 8), 0, 0
    with mounted(t, "size=256m") as t.store, knob("paranoid", 1):
        process = t.start_program("oracle", "--seed", str(t.seed), "--rest", "2")
        begin(t, process)
        device = Device(t.store, process.pid)
        picked = set(t.rng.sample(range(2, last), last // 4)) | {last}
        wanted = {}
        for version in range(2, last + 1):
            tries = []
            for _ in range(t.rng.choice((0, 1, 1, 2))):
                with little_room(t):
                    tries.append(is_full(device, version))
            failed += sum(tries)
            taken = take(device, version, process, version in picked, not all(tries))
            complete += taken.parent == 0
            if version in picked:
                wanted[version] = look(process.pid)
                process.go_on()
        process.kill()
        device.close()
        t.figure(f"{last} versions, {failed} tries failed, {complete} complete")
        check(failed >= last // 4, f"only {failed} tries failed")
        for version in wanted:
            restart_and_compare(t, process, version, wanted[version]).kill()


@contextlib.contextmanager
def little_room(t):
    """Hardly any room in the store: none at all, or for some of the six files of a version."""
    def resize(blocks):
        subprocess.run(["mount", "-o", f"remount,size={blocks * now.f_frsize}", t.store], check=True)

    now = os.statvfs(t.store)
    resize(now.f_blocks - now.f_bfree + t.rng.randrange(5))
    try:
        yield
    finally:
        resize(now.f_blocks)


def is_full(device, version):
    """Whether a version fails since there is no room, as it should; not where a child is the reason."""
    try:
        taken = device.checkpoint(version)
    except Refused as reason:
        check(re.search("no space|child", str(reason)), f"{reason}")
        return "no space" in str(reason)
    raise Failed(f"version {version} of {taken.pages} pages fitted where there was no room")


@test("the same seed does the same", timeout=100)
def replayed(t):
    """What a program of the oracle holds after so many steps depends on its seed alone: another run
    ends with the same, also when it was checkpointed, killed and restarted on its way."""
    def argv(seed):
        return [program("oracle"), "--out", "{dir}/result", "--hold", "{dir}/go", "--rest", "2",
                "--steps", "1000", "--seed", str(seed)]

    wanted, seconds = t.undisturbed(argv(t.seed))
    check(t.undisturbed(argv(t.seed))[0] == wanted, "the same seed did something else")
    check(t.undisturbed(argv(t.seed + 1))[0] != wanted, "another seed did the same")
    for _ in range(t.rounds(4, 2)):
        process = t.start(argv(t.seed))
        process.wait_ready()
        t.random_moment(seconds / 2)
        # While it has a child, it is refused.
        wait_for(lambda pid=process.pid: t.geist("checkpoint", pid, "--kill").code == 0, 20,
                 "checkpoint")
        process.wait_end(20)
        t.same_result(t.restart(process), wanted)


@test("the seed's rule: complete where counts differ", timeout=100, alone=True)
def layout_rule(t):
    """With the knob `seed_layout_rule` a version is complete exactly where the number of mappings or
    of mapped bytes is not that of the version before."""
    process = t.start_program("oracle", "--seed", str(t.seed))
    kinds = {"full": 0, "increment": 0}
    before = None
    with knob("seed_layout_rule", 1):
        for number in range(t.rounds(30, 10)):
            process.stop()
            answer = t.geist("checkpoint", process.pid, "--durability", "none", "--json")
            if answer.code and re.search("child", answer.err):
                process.go_on()
                continue
            check(answer.code == 0, answer.err)
            kind = answer.json()["kind"]
            mapped = snapshot.mappings(process.pid)
            now = (len(mapped), sum(m.end - m.start for m in mapped))
            wanted = "increment" if now == before else "full"
            check(kind == wanted, f"{kind} where the counts were {before} and are {now}")
            kinds[kind] += 1
            before = now
            # Now and then nothing happens in between.
            if number % 3:
                process.go_on()
                t.random_moment(0.02)
    check(all(kinds.values()), f"{kinds}")


@test("captured pages hold no more memory than allowed", timeout=100, alone=True)
def memory_limit(t):
    """With a small `memory_limit` a program stays frozen until its pages are written: the pause
    contains nearly all of the writing. Without it, the pause does not: not in each of several
    versions, since a busy machine may take its time to freeze a program."""
    pauses = {1 << 20: [], 0: []}
    for limit, ratios in pauses.items():
        maw = t.start_program("maw", "--mb", "32", "--rounds", "100000000")
        for _ in range(4):
            with knob("memory_limit", limit):
                taken = t.geist_ok("checkpoint", maw.pid, "--full", "--durability", "none",
                                   "--json").json()
            check(taken["pages"] >= 32 * 256, f"{taken}")
            held = int(read(f"{KNOBS}/apps/{maw.pid}/held_bytes"))
            check(held == 0, f"{held} bytes are held when the version is written")
            ratios.append(taken["pause_us"] / taken["write_us"])
        maw.kill()
    check(min(pauses[1 << 20]) > 0.7, f"pause to writing: {pauses}")
    check(min(pauses[0]) < 0.5, f"pause to writing: {pauses}")
