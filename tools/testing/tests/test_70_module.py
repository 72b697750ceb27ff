# SPDX-License-Identifier: GPL-2.0
"""The module itself: loading, unloading, what is left behind; malformed ioctls."""

import ctypes
import errno
import fcntl
import mmap
import os
import re
import signal
import subprocess
import time

from context import DEVICE, program
from device import CALLS, Checkpoint, Device, Refused, Watch
from harness import Skipped, check, read, splats, test, wait_for, KernelLog
from snapshot import LIBC
from watching import (committed, locked, nothing_superfluous, number, unwatch, wait_versions,
                      watch)

MODULE = os.environ.get("GEIST_MODULE", "/usr/lib/geist/geist.ko")
KMEMLEAK = "/sys/kernel/debug/kmemleak"


def loaded():
    """The module's line in /proc/modules, as a list."""
    for line in read("/proc/modules").splitlines():
        if line.startswith("geist "):
            return line.split()
    return None


def load():
    """insmod"""
    subprocess.run(["insmod", MODULE], check=True)
    wait_for(lambda: os.path.exists(DEVICE), 10, DEVICE)


def unload():
    """rmmod: whether it did, and what it said."""
    done = subprocess.run(["rmmod", "geist"], capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stderr


def available():
    """MemAvailable without what the page cache holds, in KiB."""
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")
    return int(re.search(r"MemAvailable:\s*(\d+)", read("/proc/meminfo")).group(1))


def leaks():
    """What kmemleak finds of the module's."""
    if not os.path.exists(KMEMLEAK):
        return ""
    for _ in range(2):
        with open(KMEMLEAK, "w") as file:
            file.write("scan")
        time.sleep(1)   # an object must be some seconds old to count
    return read(KMEMLEAK)


@test("loaded and unloaded 50 times", timeout=300, alone=True)
def fifty(t):
    """Fifty times load, checkpoint, restart now and then, unload: no memory, no file, no device and
    no warning is left behind, and every version is whole."""
    process = t.start([program("statics-static"), "--out", "{dir}/result", "--rounds", "1000000"])
    process.wait_ready()
    log = KernelLog()
    rounds = t.rounds(50, 10)
    check(loaded(), "the module is not loaded")
    memory = []
    for number in range(1, rounds + 1):
        done, said = unload()
        check(done, f"rmmod {number}: {said}")
        check(not loaded() and not os.path.exists(DEVICE), "something of it is still there")
        if number in (5, rounds):
            memory.append(available())
        load()
        check(t.checkpoint(process) == number, "versions do not count up")
        if number % 10 == 0:
            process.kill()
            process = t.restart(process)
    listed = t.app_files(process.pid)
    check(len(listed) == 6 * rounds + 1, f"{len(listed)} files of {rounds} versions: {listed[:8]}")
    t.no_leftovers(process.pid)
    for version in (1, rounds // 2, rounds):
        t.geist_ok("verify", f"{process.pid}@{version}")
    check(process.alive(), "the application ended")
    process.kill()
    t.note(f"MemAvailable: {memory} KiB")
    check(memory[1] > memory[0] - 40 * 1024, f"memory went from {memory[0]} to {memory[1]} KiB")
    found = leaks()
    check("geist" not in found, f"kmemleak: {found[:2000]}")
    bad = splats(log.new_lines())
    check(not bad, f"kernel log: {bad}")


@test("KUnit: the parts that stand alone", timeout=60, alone=True)
def kunit(t):
    """Where the kernel has KUnit, the module's own tests run when it is loaded: ghosts, control tree,
    dirty set, format. All of them pass."""
    if not os.path.exists("/sys/kernel/debug/kunit"):
        raise Skipped("this kernel has no KUnit")
    check(unload()[0], "the module cannot be unloaded")
    log = KernelLog()
    load()
    lines = [line.strip() for line in log.new_lines()]
    t.note("\n".join("  " + line for line in lines))
    failed = [line for line in lines if line.startswith("not ok")]
    check(not failed, f"{failed}")
    passed = {match.group(1) for line in lines if (match := re.match(r"ok \d+ (\w+)$", line))}
    for suite in ("geist_ghost", "geist_tree", "geist_dirty", "geist_format"):
        check(suite in passed, f"{suite} did not run")
    t.figure(f"{len(passed)} KUnit tests and suites")


@test("unloaded during a checkpoint", timeout=120, alone=True)
def unload_during(t):
    """rmmod while a checkpoint runs is refused as busy; checkpoint and application are unharmed."""
    size = str(t.rounds(64, 16))
    process = t.start([program("maw"), "--out", "{dir}/result", "--mb", size, "--rounds", "100000"])
    process.wait_ready()
    busy = 0
    for _ in range(t.rounds(4, 2)):
        client = t.start_client("checkpoint", process.pid)
        while client.alive():
            state = loaded()
            if state and int(state[2]) > 0:
                done, said = unload()
                if done:
                    break   # it had ended just before
                busy += 1
                check("in use" in said.lower() or "busy" in said.lower(), f"rmmod: {said}")
        status = client.wait_end(60)
        check(status == 0 or not loaded(), f"checkpoint: {status}: {client.said()}")
        if not loaded():
            load()
    check(busy > 0, "no rmmod met a running checkpoint")
    t.no_leftovers(process.pid)
    t.geist_ok("verify", process.pid)
    check(process.alive(), "the application ended")
    process.kill()
    again = t.restart(process)
    again.kill()
    check(unload()[0], "the module cannot be unloaded any more")
    load()


@test("unloaded during a watch", timeout=60, alone=True)
def unload_watched(t):
    """rmmod during a watch is refused as in use, though no client runs, and the watch goes on; after
    its end the module goes."""
    process = t.start_program("maw", "--mb", "4", "--rounds", "100000")
    watch(t, process, "--interval", "10ms", "--keep", "2")
    for _ in range(3):
        done, said = unload()
        check(not done and "in use" in said.lower(), f"rmmod: {said}")
        wait_versions(process, 2)
    unwatch(t, process)
    check(unload()[0], "the module cannot be unloaded any more")
    load()
    process.kill()


@test("client killed while it begins a watch", timeout=150, alone=True)
def killed_watching(t):
    """SIGKILL at a random moment of geist watch: the process is watched, versions come, and unwatch
    ends it; or it is not, nothing comes and another watch begins. What sysfs says is true."""
    size = str(t.rounds(32, 8))
    process = t.start_program("maw", "--mb", size, "--rounds", "1000000", "--tick-ms", "5")
    options = ("--interval", "20ms", "--keep", "2")
    for _ in range(2):
        start = time.monotonic()
        watch(t, process, *options, "--full")
        seconds = time.monotonic() - start
        unwatch(t, process)
    outcomes = {True: 0, False: 0}
    for turn in range(t.rounds(12, 5)):
        client = t.start_client("watch", process.pid, *options, "--full")
        t.random_moment(1.5 * seconds)
        client.kill()
        watched = number(process.pid, "interval_ms") == 20
        outcomes[watched] += 1
        if watched:
            wait_versions(process, 2)
            check(unwatch(t, process)["last_version"] == committed(t, process)[-1], "last version")
        else:
            t.geist_refuses("is not watched", "unwatch", process.pid)
        check(number(process.pid, "interval_ms") == 0, f"turn {turn}: watched without a watch")
        check(not locked(t, process), f"turn {turn}: somebody has the directory")
    t.figure(f"watched after {outcomes[True]} kills, not after {outcomes[False]}")
    watch(t, process, *options)
    wait_versions(process, 4)
    unwatch(t, process)
    nothing_superfluous(t, process)
    t.geist_ok("verify", process.pid)
    process.kill()
    t.restart(process).kill()
    check(unload()[0], "the module cannot be unloaded any more")
    load()


@test("killed client, killed application", timeout=120, alone=True)
def killed(t):
    """The client killed in the middle of a checkpoint leaves no version behind and the application
    unharmed; the application killed in the middle leaves a whole version or none."""
    argv = [program("maw"), "--out", "{dir}/result", "--mb", "32", "--rounds", "100000"]
    process = t.start(argv)
    process.wait_ready()
    for number in range(t.rounds(8, 3)):
        client = t.start_client("checkpoint", process.pid)
        time.sleep(t.rng.uniform(0, 0.4))
        client.kill()
        check(process.alive(), "the application ended")
        process.wait_progress()
        t.note(f"{number}: {t.app_files(process.pid)}")
    t.checkpoint(process)
    t.no_leftovers(process.pid)
    t.geist_ok("verify", process.pid)
    process.kill()
    for _ in range(t.rounds(5, 2)):
        process = t.start(argv)
        process.wait_ready()
        client = t.start_client("checkpoint", process.pid)
        time.sleep(t.rng.uniform(0, 0.3))
        process.kill()
        status = client.wait_end(60)
        t.no_leftovers(process.pid)
        if status == 0:
            t.geist_ok("verify", process.pid)
    check(unload()[0], "the module cannot be unloaded any more")
    load()


@test("malformed ioctls", timeout=150, alone=True)
def ioctls(t):
    """Every command with wrong sizes, bad pointers, undefined flags and random structures: the
    right error, no kernel report; also as a user without rights where the device is open to all."""
    process = t.start([program("statics-static"), "--out", "{dir}/result", "--rounds", "100000"])
    process.wait_ready()
    rounds = str(t.rounds(20000, 5000))
    store = os.path.join(t.directory, "fuzzed")
    os.makedirs(store)
    for user in (None, 65534):
        options = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        os.chmod(DEVICE, 0o600 if user is None else 0o666)
        try:
            fuzz = t.start([program("ioctl-fuzz"), "--out", "{dir}/result", "--rounds", rounds,
                            "--seed", str(t.rng.getrandbits(32)), store, str(process.pid)],
                           **options)
            text = fuzz.result(100)
        finally:
            os.chmod(DEVICE, 0o600)
        check(text.startswith("ok "), text)
        check(os.listdir(store) == [], f"left in the directory: {os.listdir(store)}")
    check(process.alive(), "the application ended")
    t.checkpoint(process, "--kill")


@test("an answer that cannot be written", timeout=60)
def no_answer(t):
    """A call whose structure lies in memory that cannot be written to: EFAULT, and nothing was done."""
    process = t.start_program("statics-static", "--rounds", "1000000")
    os.makedirs(os.path.join(t.store, str(process.pid)), mode=0o700)
    size = ctypes.sizeof(Checkpoint)
    with Device(t.store, process.pid) as device, device.locked(), \
            mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as page:
        page[:size] = bytes(Checkpoint(size=size, pid=process.pid, dir_fd=device.directory,
                                       app=process.pid, version=1))
        view = ctypes.c_char.from_buffer(page)
        address = ctypes.c_void_p(ctypes.addressof(view))
        for protection, works in ((mmap.PROT_READ, False), (mmap.PROT_READ | mmap.PROT_WRITE, True)):
            check(LIBC.mprotect(address, mmap.PAGESIZE, protection) == 0, "mprotect")
            done = LIBC.ioctl(device.fd, 0xb7 << 8 | CALLS[Checkpoint], address)
            check((done == 0) == works, f"with protection {protection} the call gave {done}")
            check(works or ctypes.get_errno() == errno.EFAULT, f"errno {ctypes.get_errno()}")
            names = os.listdir(device.directory)
            check(("global_v1.bin" in names) == works and (works or not names), f"there is {names}")
        del view
    process.kill()


@test("a store that is not locked", timeout=60)
def not_locked(t):
    """Who asks for a version or a watch must have the directory locked for itself: the next client
    would take what is being written for what somebody left behind, and remove it."""
    process = t.start_program("statics-static", "--rounds", "1000000")
    os.makedirs(os.path.join(t.store, str(process.pid)), mode=0o700)
    wanted = {"pid": process.pid, "app": process.pid, "version": 1}
    with Device(t.store, process.pid) as device:
        for operation in (None, fcntl.LOCK_SH):
            if operation is not None:
                fcntl.flock(device.directory, operation)
            for call in (Checkpoint, Watch):
                try:
                    device.call(call, **wanted)
                except Refused as reason:
                    check("must be locked, by flock(LOCK_EX)" in str(reason), f"{reason}")
                else:
                    check(False, f"{call.__name__} was taken with lock {operation}")
        check(os.listdir(device.directory) == [], "something was left")
        device.checkpoint(1)
    t.geist_ok("verify", process.pid)
    process.kill()


@test("malformed ioctls, several at once", timeout=120, alone=True)
def ioctls_at_once(t):
    """Four programs make random calls at the same time, while they are stopped and let go, one after
    the other is killed in the midst of it, and versions of the process that they ask for are taken."""
    process = t.start_program("maw", "--mb", "4", "--rounds", "1000000")
    stores = [os.path.join(t.directory, f"fuzzed-{number}") for number in range(4)]
    for store in stores:
        os.makedirs(store)
    fuzzers = [t.start([program("ioctl-fuzz"), "--out", "{dir}/result", "--rounds", "1000000", "--seed",
                        str(t.rng.getrandbits(32)), store, str(process.pid)]) for store in stores]
    for fuzz in fuzzers:
        fuzz.wait_ready()
    versions = 0
    for round_number in range(t.rounds(60, 20)):
        for fuzz in fuzzers:
            check(fuzz.alive(), f"a call did what it should not: {fuzz.said()}")
            fuzz.signal(signal.SIGSTOP)
            t.random_moment(0.01)
            fuzz.signal(signal.SIGCONT)
        versions += t.geist("checkpoint", process.pid, "--durability", "none").code == 0
        if round_number % 5 == 4:
            t.rng.choice(fuzzers).kill()
            fuzzers = [fuzz for fuzz in fuzzers if fuzz.alive()]
            if not fuzzers:
                break
    for fuzz in fuzzers:
        fuzz.kill()
    check(versions > 0, "no version was taken meanwhile")
    left = [os.listdir(store) for store in stores]
    check(not any(left), f"left in the directories: {left}")
    check(process.alive(), "the application ended")
    t.geist_ok("verify", process.pid)
    t.checkpoint(process, "--kill")
    check(unload()[0], "the module cannot be unloaded any more")
    load()
