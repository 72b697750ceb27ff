# SPDX-License-Identifier: GPL-2.0
"""Programs that know themselves what they should be, disturbed at random moments."""

import signal
import time

from context import program, release
from course import disturbed, killed_and_restarted
from harness import check, read, test, wait_for


def run(name):
    """A program that waits at four fifths until it is released."""
    return [program(name), "--out", "{dir}/result", "--hold", "{dir}/go"]


@test("maw goes on bit-exactly", timeout=150)
def maw(t):
    """MallocAndWrite, checkpointed at random moments, killed and restarted, ends with the digest of
    an undisturbed run, and stopped, its memory, registers and files are the same byte for byte."""
    argv = [*run("maw"), "--mb", "16", "--rounds", "80", "--tick-ms", "15"]
    disturbed(t, argv, 3)


@test("the same process goes through many versions", timeout=120)
def many_versions(t):
    """A process that was restarted is checkpointed again, killed, restarted, several times; the
    versions count on, and the digest at the end is that of an undisturbed run."""
    argv = [*run("maw"), "--mb", "4", "--rounds", "100", "--tick-ms", "15"]
    wanted, _ = t.undisturbed(argv)
    process = t.start(argv)
    process.wait_ready()
    for version in range(1, t.rounds(6, 3)):
        t.random_moment(0.1)
        made = t.checkpoint(process, "--kill", "-d", f"number {version}")
        check(made == version, f"version {made} instead of {version}")
        process = t.restart(process)
    t.same_result(process, wanted)


@test("an older version restarts", timeout=120)
def older(t):
    """Of three versions the first one restarts as well as the last one, and both end as an
    undisturbed run does."""
    argv = [*run("maw"), "--mb", "8", "--rounds", "80", "--tick-ms", "15"]
    wanted, _ = t.undisturbed(argv)
    process = t.start(argv)
    process.wait_ready()
    for version in range(1, 4):
        time.sleep(t.rng.uniform(0, 0.3))
        check(t.checkpoint(process) == version, "versions do not count up")
    process.kill()
    for version in (1, 3, 2):
        again = t.restart(process, "--version", version)
        t.same_result(again, wanted)


@test("one image restarts three times", timeout=120)
def three_times(t):
    """A restart uses nothing up: the same version restarts again and again, also while it is killed
    half way, and the image verifies afterwards."""
    argv = [*run("maw"), "--mb", "8", "--rounds", "80", "--tick-ms", "15"]
    wanted, _ = t.undisturbed(argv)
    process = t.start(argv)
    process.wait_ready()
    t.checkpoint(process, "--kill")
    for _ in range(2):
        again = t.restart(process)
        again.signal(signal.SIGUSR1)
        again.wait_file("result.verified")
        again.kill()
    t.same_result(t.restart(process), wanted)
    t.geist_ok("verify", process.pid)


@test("registers keep their values", timeout=150)
def registers(t):
    """General, flags, segment bases, x87, SSE, AVX, what the CPU has: the program is checkpointed
    in a loop that holds known values in all of them."""
    argv = [*run("registers"), "--loops", "120", "--spin", "4000000"]
    disturbed(t, argv, 3)


@test("mappings of every kind", timeout=200)
def mappings(t):
    """Content, addresses, permissions, names and flags of every kind of mapping survive, and what
    is shared between two of them stays shared."""
    argv = [*run("mappings"), "--rounds", "40", "--tick-ms", "10", "{dir}"]
    disturbed(t, argv, 3)


@test("open files, locks, limits", timeout=120)
def files(t):
    """Offsets, shared offsets, flags, devices, locks of three kinds, working directory, umask,
    limits, nice, scheduling, affinity, name: all there, and the files go on where they were."""
    argv = [*run("files"), "--rounds", "80", "--tick-ms", "15", "{dir}"]
    disturbed(t, argv, 3)


@test("statically linked programs", timeout=150)
def statics(t):
    """Linked dynamically, statically, statically and position-independently: each goes on."""
    for name in ("statics", "statics-static", "statics-static-pie"):
        argv = [*run(name), "--rounds", "60", "--tick-ms", "15"]
        disturbed(t, argv, 1)


@test("credentials of another user", timeout=120)
def credentials(t):
    """A process of another user with further groups comes back as that user, without
    capabilities; root restarts it."""
    argv = [*run("statics"), "--rounds", "60", "--tick-ms", "15",
            "--uid", "1234", "--gid", "2345"]
    wanted, seconds = t.undisturbed(argv)
    check(b"uid 1234, gid 2345, 2 groups" in wanted, f"not another user: {wanted}")
    check(killed_and_restarted(t, argv, wanted, seconds * 0.4), "it had ended")
    process = t.start(argv)
    process.wait_ready()
    wait_for(lambda: process.progress() >= 0, 20, "first round")
    before = identity(process.pid)
    check(before["Uid"] == ["1234"] * 4 and before["CapEff"] == ["0" * 16], f"{before}")
    t.checkpoint(process, "--kill")
    again = t.restart(process)
    check(identity(again.pid) == before, f"was {before}, is {identity(again.pid)}")
    t.same_result(again, wanted)


def identity(pid):
    """Who a process is, as the kernel says."""
    fields = {}
    for line in read(f"/proc/{pid}/status").splitlines():
        name, _, value = line.partition(":")
        if name in ("Uid", "Gid", "Groups") or name.startswith("Cap"):
            fields[name] = value.split()
    return fields


@test("exit status with --foreground", timeout=60)
def foreground(t):
    """geist restart --foreground waits for the program and ends with its status: 0 of one that
    succeeds, 128 + N of one that is killed by signal N."""
    argv = [*run("maw"), "--mb", "1", "--rounds", "80", "--tick-ms", "15"]
    process = t.start(argv)
    process.wait_ready()
    t.checkpoint(process, "--kill")
    release(process.directory)
    t.geist_ok("restart", process.pid, "--foreground")
    check((read(process.path("result")) or "").startswith("ok "), "no result")
    argv = [program("sleeper"), "--out", "{dir}/result", "pause"]
    process = t.start(argv)
    process.wait_ready()
    t.checkpoint(process, "--kill=TERM")
    client = t.start_client("restart", process.pid, "--foreground")
    # Number 34 is pause(2): it runs, and the restart is over.
    wait_for(lambda: (read(f"/proc/{process.pid}/syscall") or "").startswith("34 "), 30, "pause")
    again = t.adopt(process.pid, process.directory)
    again.signal(signal.SIGKILL)
    status = client.wait_end(20)
    check(status == 128 + signal.SIGKILL, f"status {status}, should be {128 + signal.SIGKILL}")
