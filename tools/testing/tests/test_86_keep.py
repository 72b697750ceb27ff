# SPDX-License-Identifier: GPL-2.0
"""Which versions a watch keeps, and that nothing else stays."""

import ctypes
import os
import shutil

import snapshot
from harness import KernelLog, check, test, wait_for
from watching import committed, nothing_superfluous, unwatch, watch


def start_maw(t, mb=4):
    """MAW, which never ends, set up."""
    return t.start_program("maw", "--mb", str(mb), "--tick-ms", "1", "--rounds", "1000000000")


def in_store(t, process, name):
    """Path of a file of the application."""
    return os.path.join(t.store, str(process.pid), name)


def exchange(one, other):
    """Gives each of two files the name of the other, in one step."""
    at_fdcwd, rename_exchange = -100, 2
    done = snapshot.LIBC.renameat2(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other),
                                   rename_exchange)
    check(done == 0, f"renameat2: {os.strerror(ctypes.get_errno())}")


def wait_versions(t, process, count):
    """Waits until that many versions more were committed."""
    before = committed(t, process)[-1]
    wait_for(lambda: committed(t, process)[-1] >= before + count, 20 + 4 * count,
             f"{count} versions beyond {before}")


def goes_on(t, process, version):
    """Restarts a version, whose MAW must go on; the restarted one."""
    again = t.restart(process, "--version", version)
    again.go_on()
    again.wait_progress()
    return again


@test("what a watch keeps", timeout=600)
def kept(t):
    """Watches with random intervals, numbers of versions to keep and single checkpoints in between,
    one after another, of a program and of branches of it: after each, the newest versions are
    there, each of them can be verified, and no file is there that none of them needs. Versions from
    before a watch are dropped as well. At the end each is restarted."""
    process = start_maw(t)
    for _ in range(t.rng.randrange(1, 4)):
        last = t.checkpoint(process, "--durability", "none")
    for turn in range(t.rounds(6, 2)):
        keep = t.rng.randrange(1, 7)
        options = ["--interval", t.rng.choice(["1ms", "5ms", "20ms"]), "--keep", str(keep)]
        if t.rng.random() < 0.3:
            options += ["--durability", "data"]
        if t.rng.random() < 0.3:
            options += ["--full-every", str(t.rng.randrange(1, 9))]
        watch(t, process, *options)
        wait_versions(t, process, t.rng.randrange(1, 15))
        if t.rng.random() < 0.5:
            t.checkpoint(process, *t.rng.choice([[], ["--full"]]))
        if t.rng.random() < 0.5:
            keep = t.rng.randrange(1, 7)
            watch(t, process, "--change", "--keep", str(keep))
        # What needs a file is known exactly once all versions from before the watch are dropped.
        wait_versions(t, process, keep + 1)
        done = unwatch(t, process)
        check(done["errors"] == 0, f"{done}")
        versions = committed(t, process)
        check(len(versions) == keep and versions[-1] == done["last_version"] > last,
              f"turn {turn}: {versions} of {done}, keep {keep}")
        nothing_superfluous(t, process)
        t.geist_ok("verify", process.pid)
        last = versions[-1]
        if t.rng.random() < 0.4:
            process.kill()
            process = goes_on(t, process, t.rng.choice(versions))
    process.kill()
    for version in committed(t, process):
        goes_on(t, process, version).kill()


@test("fewer are kept at once", timeout=60)
def fewer(t):
    """A lower number to keep does not wait for the next version; with durability data that holds
    once the last version is on the disk."""
    process = start_maw(t)
    watch(t, process, "--interval", "1h", "--keep", "0")
    for _ in range(5):
        t.checkpoint(process)
    versions = committed(t, process)
    check(len(versions) == 6, f"{versions}")
    watch(t, process, "--change", "--keep", "3")
    wait_for(lambda: committed(t, process) == versions[3:], 10, f"the newest of {versions}")
    t.geist_ok("verify", process.pid)
    watch(t, process, "--change", "--keep", "2", "--durability", "data")
    t.checkpoint(process)
    wait_for(lambda: len(committed(t, process)) == 2, 10, "two versions")
    watch(t, process, "--change", "--keep", "1")
    wait_for(lambda: len(committed(t, process)) == 1, 10, "one version")
    unwatch(t, process)
    nothing_superfluous(t, process)
    t.geist_ok("verify", process.pid)
    process.kill()
    goes_on(t, process, committed(t, process)[0]).kill()


@test("what cannot be removed", timeout=100)
def not_removed(t):
    """A version that cannot be dropped is said to be once, and neither ends the watch nor costs a
    version that is kept anything it needs; when the cause is gone, it is dropped."""
    log = KernelLog()
    process = start_maw(t)
    # A program that waits for a busy disk cannot be stilled.
    process.stop()
    watch(t, process, "--interval", "1h", "--keep", "3")
    first = t.checkpoint(process)
    t.checkpoint(process)
    name, aside = in_store(t, process, f"global_v{first}.bin"), in_store(t, process, "aside")
    os.mkdir(aside)
    exchange(name, aside)
    # What is older goes; it and what is newer stays.
    watch(t, process, "--change", "--interval", "5ms")
    wait_versions(t, process, 8)
    said = [line for line in log.new_lines() if "cannot be removed" in line]
    check(len(said) == 1 and f"global_v{first}.bin" in said[0]
          and "it is a directory" in said[0], f"{said}")
    versions = committed(t, process)
    last = versions[-1]
    check(versions == list(range(first, last + 1)), f"{versions}")
    # At no moment is the name missing: the module would take the version for dropped.
    exchange(name, aside)
    os.rmdir(aside)
    wait_versions(t, process, 4)
    done = unwatch(t, process)
    check(done["errors"] == 0, f"{done}")
    said = [line for line in log.new_lines() if "cannot be removed" in line]
    check(not said, f"{said}")
    check(len(committed(t, process)) == 3 and committed(t, process)[0] > last, "versions")
    nothing_superfluous(t, process)
    t.geist_ok("verify", process.pid)
    process.kill()
    goes_on(t, process, committed(t, process)[0]).kill()


@test("another version of the same number", timeout=60)
def replaced(t):
    """What the next version would build on was replaced by an equal file, of which the module cannot
    know what it holds: the next version is complete, and the one after it an increment again."""
    process = start_maw(t)

    def kind():
        return t.geist_ok("checkpoint", process.pid, "--json").json()["kind"]

    check([kind(), kind()] == ["full", "increment"], "undisturbed")
    name = in_store(t, process, "global_v2.bin")
    shutil.copy(name, name + ".copy")
    os.rename(name + ".copy", name)
    check([kind(), kind()] == ["full", "increment"], "replaced")
    process.kill()
    again = goes_on(t, process, 4)
    name = in_store(t, process, "global_v4.bin")
    shutil.copy(name, name + ".copy")
    os.rename(name + ".copy", name)
    check([kind(), kind()] == ["full", "increment"], "replaced after a restart")
    again.kill()
    t.geist_ok("verify", process.pid)


@test("a version that was made complete, under a watch", timeout=100)
def consolidated(t):
    """Its files have another number than its own: a watch keeps them as long as it keeps the version,
    and removes them with it."""
    process = start_maw(t)
    process.stop()
    versions = [t.checkpoint(process, "--durability", "none") for _ in range(4)]
    t.geist_ok("consolidate", f"{process.pid}@{versions[2]}")
    before = set(t.app_files(process.pid))
    watch(t, process, "--interval", "1h", "--keep", "3")
    kept = committed(t, process)
    check(kept[:2] == versions[2:] and len(kept) == 3, f"{kept} of {versions}")
    t.geist_ok("verify", process.pid)
    goes = [f"global_v{versions[2]}.bin"] + sorted(
        name for name in before if f"_v{versions[3] + 1}." in name)
    check(len(goes) == 6, f"{goes} of {before}")
    t.checkpoint(process)
    t.checkpoint(process)
    left = set(t.app_files(process.pid))
    check(not left & set(goes), f"{left} of {goes}")
    unwatch(t, process)
    t.geist_ok("verify", process.pid)
    process.kill()
