# SPDX-License-Identifier: GPL-2.0
"""Versions at an interval: what they cost the application, and what ends them."""

import os
import signal
import statistics
import time

from context import GEIST, program, state_of
from harness import check, read, test, wait_for
from watching import (APPS, committed, locked, nothing_superfluous, number, shown, unwatch,
                      versions_needed, wait_versions, watch)

# How much longer than unwatched a timeout may take. One that begins anew with every version never ends.
STRETCH = 20


def eintr(t, watched, rounds):
    """Runs the program that counts EINTR: what it counted, by call."""
    where = os.path.join(t.directory, "watched" if watched else "unwatched")
    os.makedirs(where)
    peer = t.start([program("eintr"), "--out", "{dir}/result", "--peer", "1", where])
    peer.wait_ready()
    process = t.start([program("eintr"), "--out", "{dir}/result", "--rounds", str(rounds),
                       "--hold", "{dir}/go", where])
    process.wait_ready()
    if watched:
        watch(t, process, "--interval", "10ms", "--keep", "3", "--ignore-unsupported-files")
    return process, peer


def counted(process, peer, seconds):
    """The counts of a run that is over: call to (calls, EINTR, short, early, microseconds)."""
    text = process.result(seconds)
    peer.kill()
    check(text.startswith("ok "), f"{text} {process.said()}")
    lines = [line.split() for line in read(process.path("result.calls")).splitlines()]
    return {line[0]: tuple(map(int, line[1:])) for line in lines}


@test("no EINTR at an interval of 10 ms", timeout=200)
def no_eintr(t):
    """Every system call that a signal can interrupt, with and without a timeout, made again and
    again while a version is taken every 10 ms, and without: no EINTR, no short write, no timeout
    that ends early or begins anew."""
    rounds = t.rounds(6, 3)
    runs = [eintr(t, watched, rounds) for watched in (False, True)]
    process = runs[1][0]
    wait_versions(process, 5)
    versions = number(process.pid, "versions")
    unwatched, watched = (counted(*run, 150) for run in runs)
    t.figure(f"{len(watched)} calls, {rounds} times each; at least {versions} versions")
    wrong = []
    for run, counts in (("unwatched", unwatched), ("watched", watched)):
        for call, (_, interrupted, cut_short, early, _) in counts.items():
            if interrupted or cut_short or early:
                wrong.append(f"{run}: {call}: {interrupted} EINTR, {cut_short} short writes, "
                             f"{early} ends before the timeout")
    for call, (*_, took) in watched.items():
        if took > STRETCH * unwatched[call][4]:
            wrong.append(f"{call} took {took} us, {unwatched[call][4]} us unwatched")
    check(len(unwatched) == len(watched) > 30, f"{watched}")
    check(not wrong, "\n".join(wrong))


def start_maw(t, *more, mb=8):
    """MAW, which never ends, set up."""
    process = t.start([program("maw"), "--out", "{dir}/result", "--mb", str(mb), *more])
    process.wait_ready()
    return process


def start_calm_maw(t):
    """MAW, which writes so little that keeping its versions takes less than a complete one would,
    however slow the machine."""
    return start_maw(t, "--tick-ms", "500", mb=4)


def digest(process):
    """Has MAW compare its memory with the digest that it keeps; the round it was in."""
    path = process.path("result.verified")
    if os.path.exists(path):
        os.unlink(path)
    process.signal(signal.SIGUSR1)
    return int(process.wait_file("result.verified", 60).split()[1])


def speed(process, seconds):
    """Rounds in a second, over some seconds."""
    process.wait_progress()
    rounds, start = process.progress(), time.monotonic()
    time.sleep(seconds)
    process.wait_progress()
    return (process.progress() - rounds) / (time.monotonic() - start)


def sampled(t, process, seconds, keep):
    """Looks at a watch for some seconds: the pauses that were seen, microseconds."""
    pauses, end = {}, time.monotonic() + seconds
    while time.monotonic() < end:
        check(process.alive(), f"it ended: {process.said()}")
        pauses[number(process.pid, "version")] = number(process.pid, "pause_us")
        # One more exists for a moment: a version is dropped when the next is committed.
        kept = committed(t, process)
        check(len(kept) <= keep + 1, f"versions {kept} are kept, not {keep}")
        time.sleep(0.05)
    return sorted(pauses.values())


@test("MAW at an interval of 10 ms", timeout=300)
def minute(t):
    """A minute of random writes with the five newest versions kept: the store never has more than
    those need, each of them restarts with the digest of its moment."""
    seconds, keep = t.rounds(60, 10), 5
    process = start_maw(t, "--tick-ms", "1", mb=16)
    before = speed(process, seconds / 10)
    unwatched_rounds = process.progress()
    watch(t, process, "--interval", "10ms", "--keep", str(keep))
    rounds, start = process.progress(), time.monotonic()
    pauses = sampled(t, process, seconds, keep)
    process.wait_progress()
    during = (process.progress() - rounds) / (time.monotonic() - start)
    process.stop()
    done = unwatch(t, process)
    digits = statistics.quantiles(pauses * 2, n=100, method="inclusive")
    t.figure(f"{seconds} s: {done['versions']} versions, {done['skipped']} skipped, "
             f"{done['errors']} failed")
    t.figure(f"pause: median {digits[49]:.0f} us, 90 % {digits[89]:.0f} us, 99 % {digits[98]:.0f} us, "
             f"longest of {len(pauses)} seen {pauses[-1]} us")
    t.figure(f"rounds in a second: {before:.0f} unwatched, {during:.0f} watched: "
             f"{before / during:.2f} times slower")
    check(done["errors"] == 0, f"{done}: {shown(process.pid, 'last_error')}")
    ticks = done["versions"] + done["skipped"]
    check(100 * seconds * 0.8 <= ticks, f"{ticks} of {100 * seconds} ticks are accounted for: {done}")
    kept, last = committed(t, process), done["last_version"]
    check(kept == list(range(max(last - keep, 0) + 1, last + 1)), f"kept: {kept}, last: {last}")
    nothing_superfluous(t, process)
    t.geist_ok("verify", process.pid)
    process.kill()
    for version in kept:
        process = t.restart(process, "--version", version)
        process.go_on()
        check(digest(process) >= unwatched_rounds, f"version {version} is from before the watch")
        process.kill()


# A program that has, for as long as a file says so, what cannot be checkpointed.
CHANGEABLE = """
import os, socket, sys, time
have, made = sys.argv[1] + "/have", None
while True:
    if os.path.exists(have) and not made:
        made = socket.socket(socket.AF_INET)
    elif made and not os.path.exists(have):
        made = made.close()
    time.sleep(0.003)
"""


@test("a watch survives errors", timeout=120)
def survives(t):
    """Versions that fail, because the program has a socket for a while, are counted, and the module
    says why; when the socket is closed, the next version commits, an increment on the last good one."""
    process = t.start(["python3", "-c", CHANGEABLE, "{dir}"])
    wait_for(lambda: state_of(process.pid) == "S", 20, "start")
    for _ in range(20):     # while the interpreter starts, it may have files that cannot be saved
        if t.geist("watch", process.pid, "--interval", "10ms").code == 0:
            break
    wait_versions(process, 3)
    check(number(process.pid, "errors") == 0, shown(process.pid, "last_error"))
    open(process.path("have"), "w").close()
    wait_for(lambda: number(process.pid, "errors") >= 3, 20, "three errors")
    check("TCP socket" in shown(process.pid, "last_error"), shown(process.pid, "last_error"))
    last = number(process.pid, "version")
    t.geist_refuses("TCP socket", "checkpoint", process.pid)
    os.unlink(process.path("have"))
    wait_versions(process, 3)
    done = unwatch(t, process)
    check(done["errors"] >= 3, f"{done}")
    check(committed(t, process) == list(range(1, done["last_version"] + 1)),
          f"{committed(t, process)} of {done}")
    listed = {row["version"]: row for row in t.geist_ok("list", "--json").json()}
    check(listed[last + 1]["parent"] == last, f"{listed[last + 1]}")
    t.no_leftovers(process.pid)
    t.geist_ok("verify", f"{process.pid}@{done['last_version']}")
    process.kill()
    t.restart(process).kill()


@test("a watch ends with its application", timeout=100)
def ends(t):
    """When the application has ended, by a signal or by itself, the lock is free, its folder in
    sysfs is gone, and what was saved restarts; a watch of the restarted process continues with an
    increment on the version that it came from."""
    process = start_calm_maw(t)
    watch(t, process, "--interval", "10ms", "--keep", "4")
    wait_versions(process, 5)
    check(locked(t, process), "nobody has the directory")
    t.geist_refuses(f"pid {process.pid} is taken", "restart", process.pid)
    t.geist_refuses("is watched", "rm", process.pid, "--yes")
    t.geist_ok("verify", process.pid)
    process.kill()
    wait_for(lambda: not os.path.exists(f"{APPS}/{process.pid}"), 20, "end of the folder")
    wait_for(lambda: not locked(t, process), 20, "end of the lock")
    nothing_superfluous(t, process)
    last = committed(t, process)[-1]
    process = t.restart(process)
    check(watch(t, process, "--interval", "10ms", "--keep", "4")["version"] == last + 1, "first")
    wait_versions(process, 3)
    process.stop()
    unwatch(t, process)
    listed = t.geist_ok("list", "--json").json()
    check(all(row["kind"] == "increment" for row in listed), f"{listed}")
    needed, _ = versions_needed(t, process, listed[-1]["version"])
    # All of its pages may have been written since.
    check(min(needed) <= last, f"the newest version builds on none before the restart: {needed}")
    nothing_superfluous(t, process)
    process.kill()
    again = t.restart(process)
    again.go_on()
    digest(again)
    again.kill()


@test("stopped again and again", timeout=100)
def stopped(t):
    """SIGSTOP and SIGCONT at random moments while versions are taken all the time: a version that was
    captured while a stop was on its way is as good as any other, and comes back stopped."""
    process = start_maw(t, "--tick-ms", "1", mb=1)
    watch(t, process, "--interval", "1ms", "--keep", "1000")
    for _ in range(t.rounds(60, 20)):
        process.signal(signal.SIGSTOP)
        t.random_moment(0.03)
        process.signal(signal.SIGCONT)
        t.random_moment(0.03)
    process.stop()
    wait_versions(process, 1)
    done = unwatch(t, process)
    t.figure(f"{done['versions']} versions")
    check(done["errors"] == 0, f"{done}: {shown(process.pid, 'last_error')}")
    process.kill()
    t.geist_ok("verify", process.pid)
    again = t.restart(process)
    wait_for(lambda: state_of(again.pid) == "T", 20, "stop")
    again.go_on()
    digest(again)
    again.kill()


@test("changed, ended, begun again", timeout=100)
def changed(t):
    """A watch of a watched process changes what is given and nothing else; a single checkpoint of
    it is its next version; unwatch ends it at once, though a version may be under way; the client
    that began it is long gone."""
    process = start_calm_maw(t)
    check(t.geist("watch", process.pid, "--change", "--keep", "2").code == 1, "--change began it")
    t.geist_refuses("is not watched", "unwatch", process.pid)
    begun = watch(t, process, "--interval", "20ms", "--keep", "7", "-d", "every 20 ms")
    check((begun["version"], begun["changed"], begun["interval_us"]) == (1, False, 20000), f"{begun}")
    report = watch(t, process, "--keep", "3")
    check(report["changed"] and report["interval_us"] == 20000, f"{report}")
    check((number(process.pid, "interval_ms"), number(process.pid, "keep")) == (20, 3),
          f"{shown(process.pid, 'interval_ms')} ms, keep {shown(process.pid, 'keep')}")
    watch(t, process, "--change", "--interval", "10ms")
    check((number(process.pid, "interval_ms"), number(process.pid, "keep")) == (10, 3), "change")
    wait_versions(process, 3)
    # So slow that a single version is the next one, but for the one that is in the making.
    watch(t, process, "--interval", "1h")
    last = t.geist_ok("checkpoint", process.pid, "--json").json()["version"]
    one = t.geist_ok("checkpoint", process.pid, "--json", "-d", "by hand").json()
    check((one["version"], one["parent"]) == (last + 1, last), f"{one} after {last}")
    listed = t.geist_ok("list", "--json").json()
    check([row["description"] for row in listed] == ["every 20 ms"] * 2 + ["by hand"], f"{listed}")
    watch(t, process, "--interval", "1ms")
    for _ in range(t.rounds(10, 4)):
        wait_versions(process, 2)
        done = unwatch(t, process)
        check(done["last_version"] == committed(t, process)[-1], f"{done}")
        wait_for(lambda: not locked(t, process), 10, "end of the lock")
        nothing_superfluous(t, process)
        begun = watch(t, process, "--interval", "1ms", "--keep", "2")
        check(begun["version"] == done["last_version"] + 1, f"{begun} after {done}")
    # Its options are those of any checkpoint: the process ends.
    t.geist_ok("checkpoint", process.pid, "--kill")
    process.wait_end(20)
    again = t.restart(process)
    digest(again)
    again.kill()


@test("several applications", timeout=100)
def several(t):
    """Two are watched at once and each restarts from its own versions; a third, which is not, has
    no page faults because of them."""
    first, second, third = (start_maw(t, "--seed", str(seed), "--tick-ms", "3", "--report",
                                      "1000000000") for seed in (1, 2, 3))
    digest(third)
    for process, interval in ((first, "10ms"), (second, "15ms")):
        watch(t, process, "--interval", interval, "--keep", "3")
    before = [faults(process) for process in (first, second, third)]
    for process in (first, second):
        wait_versions(process, t.rounds(20, 5), 60)
    after = [faults(process) for process in (first, second, third)]
    t.figure(f"minor page faults: {[now - was for was, now in zip(before, after)]}")
    check(after[0] > before[0] + 5 and after[1] > before[1] + 5, f"{before} {after}")
    check(after[2] <= before[2] + 4, f"the third had {after[2] - before[2]} page faults")
    check(t.geist_ok("unwatch", first.pid, second.pid).out.count("watched no more") == 2, "unwatch")
    for process in (first, second):
        process.kill()
        again = t.restart(process)
        digest(again)
        again.kill()
    third.kill()


def faults(process):
    """Page faults of a process that needed no disk."""
    return int(read(f"/proc/{process.pid}/stat").rpartition(")")[2].split()[7])


@test("geist run", timeout=100)
def run(t):
    """A command that is watched from its beginning: its output, its status and its signals are as
    without geist; killed, it restarts. One that cannot be saved runs unprotected, or not at all."""
    def started(*command):
        return t.start([GEIST, "--store", t.store, "run", *command])

    geist = started("--interval", "10ms", "--keep", "3", "--", program("maw"), "--out",
                    "{dir}/result", "--mb", "4")
    pid = int(geist.wait_file("result.ready"))
    process = t.adopt(pid, geist.directory)
    wait_versions(process, 3)
    wait_for(lambda: f"is application {pid}, checkpointed every 10 ms" in geist.said(), 20,
             f"note ({geist.said()})")
    process.signal(signal.SIGKILL)
    check(geist.wait_end(30) == 128 + signal.SIGKILL, "the status of a killed command")
    wait_for(lambda: not os.path.exists(f"{APPS}/{pid}"), 20, "end of the watch")
    again = t.restart(process)
    digest(again)
    again.kill()

    geist = started("--", "/bin/sh", "-c", "trap 'exit 7' TERM; echo set; while :; do :; done")
    wait_for(lambda: read(geist.path("stdout")) == "set\n", 20, "output")
    wait_for(lambda: "is application" in geist.said(), 20, f"watch ({geist.said()})")
    geist.signal(signal.SIGTERM)
    check(geist.wait_end(30) == 7, f"a signal is not passed on: {geist.said()}")

    # What hinders it at first, a pipe, passes once a try was refused: that made a folder and took it
    # away again.
    for required in ([], ["--required"]):
        names, changed_ns = sorted(os.listdir(t.store)), os.stat(t.store).st_mtime_ns
        geist = t.start(["/bin/sh", "-c", "mkfifo fifo; exec 5<>fifo; exec \"$@\"", "sh", GEIST,
                         "--store", t.store, "run", *required, "--", "/bin/sh", "-c",
                         "while [ ! -e {dir}/go ]; do :; done; exec 5>&-; while :; do :; done"])
        wait_for(lambda then=changed_ns, names=names: os.stat(t.store).st_mtime_ns != then
                 and sorted(os.listdir(t.store)) == names, 20, "refusal")
        open(geist.path("go"), "w").close()
        wait_for(lambda geist=geist: "is application" in geist.said(), 30, f"watch ({geist.said()})")
        geist.signal(signal.SIGTERM)
        check(geist.wait_end(30) == 128 + signal.SIGTERM, f"the end: {geist.said()}")

    for required in ([], ["--required"]):
        geist = t.start(["/bin/sh", "-c", "mkfifo fifo; exec 5<>fifo; exec \"$@\"", "sh", GEIST,
                         "--store", t.store, "run", *required, "--", "sleep", "1000"])
        if required:
            check(geist.wait_end(30) == 125, geist.said())
            check("was ended" in geist.said() and "fd 5" in geist.said(), geist.said())
        else:
            wait_for(lambda geist=geist: "unprotected" in geist.said(), 30, "note")
            check(geist.alive() and "fd 5" in geist.said(), geist.said())
            geist.signal(signal.SIGTERM)
            check(geist.wait_end(30) == 128 + signal.SIGTERM, geist.said())


@test("the JSON of checkpoint and restart", timeout=60)
def json(t):
    """One object with everything that is promised, and the numbers are those of the files."""
    process = start_maw(t)
    names = ("app", "version", "pages", "bytes", "control_bytes", "pause_us", "capture_us",
             "write_us", "commit_us", "total_us")
    for version, kind in ((1, "full"), (2, "increment"), (3, "full")):
        one = t.geist_ok("checkpoint", process.pid, "--json",
                         *(["--full"] if version == 3 else [])).json()
        for name in names:
            check(type(one.get(name)) is int and one[name] >= 0, f"{name}: {one}")
        check((one["app"], one["version"], one["kind"]) == (process.pid, version, kind), f"{one}")
        sizes = {name: os.path.getsize(os.path.join(t.store, str(process.pid), name))
                 for name in t.app_files(process.pid) if f"_v{version}." in name}
        check(one["bytes"] == sum(sizes.values()), f"{one}: {sizes}")
        check(one["control_bytes"] == sizes[f"control_{process.pid}_v{version}.bin"], f"{one}")
        check(0 < one["capture_us"] <= one["pause_us"] <= one["total_us"], f"{one}")
    process.kill()
    one = t.geist_ok("restart", process.pid, "--json").json()
    check((one["app"], one["version"], one["pid"]) == (process.pid, 3, process.pid), f"{one}")
    check(one["pages"] >= 8 * 256 and one["total_us"] > 0, f"{one}")
    t.adopt(process.pid, process.directory).kill()
