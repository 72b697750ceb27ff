# SPDX-License-Identifier: GPL-2.0
"""Bad input: each has its sentence, leaves nothing behind, and the application runs on."""

import contextlib
import os
import shutil
import signal
import subprocess

from context import DEVICE, GEIST, program
from device import IGNORE_UNSUPPORTED_FILES, Device, Refused
from harness import Failed, check, read, test, wait_for
from watching import number, shown, unwatch, wait_versions, watch

# Functions of the kernel that are hooked.
HOOKED = "/sys/kernel/tracing/enabled_functions"

MAW = [program("maw"), "--out", "{dir}/result", "--mb", "4"]


def start_maw(t):
    """A program that takes its time."""
    process = t.start(MAW)
    process.wait_ready()
    return process


def unharmed(t, process, store=None):
    """The application runs on with its memory right, and nothing uncommitted is in the store."""
    check(process.alive(), "the application ended")
    t.no_leftovers(process.pid, store)
    forget(process)
    process.signal(signal.SIGUSR1)
    process.wait_file("result.verified")


def forget(process):
    """Removes the answer to the last SIGUSR1."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(process.path("result.verified"))


@contextlib.contextmanager
def mounted(t, options):
    """A small file system of its own."""
    place = os.path.join(t.directory, "mnt")
    os.makedirs(place, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@contextlib.contextmanager
def device_for_all():
    """Lets every user open the device."""
    mode = os.stat(DEVICE).st_mode
    check(mode & 0o777 == 0o600, f"{DEVICE} has mode {mode:o}")
    os.chmod(DEVICE, 0o666)
    try:
        yield
    finally:
        os.chmod(DEVICE, 0o600)


def as_nobody(*command):
    """A command as a user without rights."""
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]


@test("no such process")
def no_such_pid(t):
    """A pid that nobody has, that cannot be, that is none."""
    process = start_maw(t)
    process.kill()
    t.geist_refuses(rf"(pid|process) {process.pid}", "checkpoint", process.pid)
    t.geist_refuses(r"4194999", "checkpoint", 4194999)
    for bad in ("0", "-1", "x", "99999999999999999999", ""):
        answer = t.geist("checkpoint", bad)
        check(answer.code not in (0, 101) and answer.err.strip(), f"{bad!r}: {answer.err!r}")
    check(os.listdir(t.store) == [], f"left in the store: {os.listdir(t.store)}")


@test("a kernel thread")
def kernel_thread(t):
    """kthreadd has no memory to checkpoint, and is told from a process."""
    t.geist_refuses("kernel thread", "checkpoint", 2)
    check(os.listdir(t.store) == [], f"left in the store: {os.listdir(t.store)}")


@test("the caller itself")
def itself(t):
    """A client that is asked for a checkpoint of itself says so and does not hang."""
    answer = subprocess.run(["/bin/sh", "-c", f"exec {GEIST} --store {t.store} checkpoint $$"],
                            capture_output=True, text=True, timeout=60, check=False)
    check(answer.returncode not in (0, 101) and "itself" in answer.stderr, answer.stderr)
    check(os.listdir(t.store) == [], f"left in the store: {os.listdir(t.store)}")


@test("a process that has ended but is not reaped")
def zombie(t):
    """A zombie has nothing left to checkpoint."""
    process = start_maw(t)
    process.signal(signal.SIGKILL)
    wait_for(lambda: not process.alive(), 10, "end")
    t.geist_refuses(rf"{process.pid}", "checkpoint", process.pid)
    t.no_leftovers(process.pid)
    process.kill()


@test("a process of another user", alone=True)
def another_user(t):
    """Even where everybody may open the device: nobody checkpoints root's process, and nobody
    restarts root's image; the process runs on."""
    process = start_maw(t)
    with device_for_all():
        store = os.path.join(t.directory, "open")
        os.makedirs(store)
        os.chmod(store, 0o777)
        answer = subprocess.run(as_nobody(GEIST, "--store", store, "checkpoint", str(process.pid)),
                                capture_output=True, text=True, timeout=60, check=False)
        t.note(answer.stderr)
        check(answer.returncode != 0 and f"{process.pid}" in answer.stderr, answer.stderr)
        check("permit" in answer.stderr.lower() or "right" in answer.stderr.lower()
              or "permission" in answer.stderr.lower() or "allowed" in answer.stderr.lower(),
              f"does not say why: {answer.stderr}")
        unharmed(t, process, store)
        t.checkpoint(process, store=store)
        process.kill()
        subprocess.run(["chmod", "-R", "a+rX", store], check=True)
        answer = subprocess.run(as_nobody(GEIST, "--store", store, "restart", str(process.pid)),
                                capture_output=True, text=True, timeout=60, check=False)
        t.note(answer.stderr)
        check(answer.returncode != 0 and answer.stderr.strip(), "nobody restarted root's process")
        check(not os.path.exists(f"/proc/{process.pid}"), "something was started")


@test("a watch of another user's process", alone=True)
def watch_of_another(t):
    """Nobody begins, changes or ends a watch of root's process, or takes its next version, even where
    everybody may open the device: the sentence says which right is missing, and the watch goes on."""
    process = start_maw(t)
    store = os.path.join(t.directory, "open")
    os.makedirs(store)
    os.chmod(store, 0o777)

    def refused(*command):
        answer = subprocess.run(as_nobody(GEIST, "--store", store, *map(str, command)),
                                capture_output=True, text=True, timeout=60, check=False)
        t.note(f"{command}: {answer.stderr}")
        check(answer.returncode not in (0, 101), f"{command} succeeded")
        check(f"pid {process.pid}: you may not" in answer.stderr, f"{command}: {answer.stderr}")

    with device_for_all():
        refused("watch", process.pid, "--interval", "10ms")
        check(shown(process.pid, "pid") is None, "it is tracked")
        watch(t, process, "--interval", "20ms", "--keep", "3")
        wait_versions(process, 2)
        refused("watch", process.pid, "--change", "--keep", "1")
        refused("unwatch", process.pid)
        refused("checkpoint", process.pid)
        check((number(process.pid, "interval_ms"), number(process.pid, "keep")) == (20, 3),
              "it was changed")
        wait_versions(process, 2)
        unwatch(t, process)
    t.geist_ok("verify", process.pid)
    process.kill()


@test("a refused call leaves nothing behind", timeout=60, alone=True)
def nothing_half_done(t):
    """A checkpoint or a watch that is refused because of what the process has leaves it neither
    shown nor hooked, so that it can become any application; a version makes it one for good."""
    if not os.path.exists(HOOKED):
        subprocess.run(["mount", "-t", "tracefs", "tracefs", os.path.dirname(HOOKED)], check=True)
    process = t.start([program("unsupported"), "--out", "{dir}/result", "--rounds", "100000", "pipe"])
    process.wait_ready()
    for app in (process.pid, 777001, 777002):
        os.makedirs(os.path.join(t.store, str(app)))
    with Device(t.store, process.pid) as device:
        for app in (777001, 777002, process.pid):
            for call in (device.watch, lambda app: device.checkpoint(1, app=app)):
                said = refusal(call, app)
                check("is a pipe" in said, f"as application {app}: {said}")
                check(shown(app, "pid") is None, f"application {app} is shown")
        check("handle_mm_fault" in read(HOOKED), "the hook is not there: there is nothing to see")
        wait_for(lambda: "handle_mm_fault" not in read(HOOKED), 20, "end of the tracking")
        device.checkpoint(1, flags=IGNORE_UNSUPPORTED_FILES)
        check(shown(process.pid, "pid") == str(process.pid), "it is not shown")
        said = refusal(device.watch, 777001)
        check(f"is tracked as application {process.pid} already" in said, said)
        # Refused later, it stays what it is.
        refusal(device.watch, process.pid)
        check(shown(process.pid, "version") == "1", "it was forgotten")
    process.kill()


def refusal(call, *arguments):
    """The sentence with which the module refuses a call."""
    try:
        call(*arguments)
    except Refused as reason:
        return str(reason)
    raise Failed("it was not refused")


@test("the device is for root", alone=True)
def device(t):
    """/dev/geist is 0600: a user without rights is refused by the file system already."""
    answer = subprocess.run(as_nobody(GEIST, "--store", t.store, "checkpoint", "1"),
                            capture_output=True, text=True, timeout=60, check=False)
    check(answer.returncode not in (0, 101) and answer.stderr.strip(), answer.stderr)


@test("disk full while writing", timeout=90)
def disk_full(t):
    """The store's file system fills up in the middle: an error that says so, no file left, the
    application unharmed, earlier versions intact; with room again the next one works."""
    process = start_maw(t)
    with mounted(t, "size=2m") as store:
        for _ in range(2):
            t.geist_refuses("no space|full", "checkpoint", process.pid, store=store)
            unharmed(t, process, store)
        subprocess.run(["mount", "-o", "remount,size=64m", store], check=True)
        check(t.checkpoint(process, store=store) == 1, "first version")
        filler = os.path.join(store, "filler")
        with open(filler, "wb") as file:
            room = os.statvfs(store)
            file.write(bytes(room.f_bavail * room.f_frsize - 40960))
        t.geist_refuses("no space|full", "checkpoint", process.pid, store=store)
        unharmed(t, process, store)
        t.geist_ok("verify", process.pid, store=store)
        os.unlink(filler)
        check(t.checkpoint(process, store=store) == 2, "second version")
        t.geist_ok("verify", process.pid, store=store)
    process.kill()


@test("full at every size", timeout=120)
def full_everywhere(t):
    """Wherever the disk fills up, in whichever of the version's files: never a trace."""
    process = t.start([program("statics-static"), "--out", "{dir}/result", "--rounds", "100000"])
    process.wait_ready()
    t.checkpoint(process)
    files = [os.path.join(t.store, str(process.pid), name) for name in t.app_files(process.pid)]
    pages = sum((os.path.getsize(name) + 4095) // 4096 for name in files) + 4
    steps = sorted(t.rng.sample(range(1, pages), min(pages - 1, t.rounds(15, 3))))
    for blocks in steps + [2, 3, pages - 4, pages - 3]:
        with mounted(t, f"size={blocks * 4096}") as store:
            answer = t.geist("checkpoint", process.pid, store=store)
            t.no_leftovers(process.pid, store)
            if answer.code == 0:
                t.geist_ok("verify", process.pid, store=store)
            else:
                check("space" in answer.err or "full" in answer.err, answer.err)
    check(process.alive(), "the application ended")
    process.kill()


@test("store missing or read-only")
def store(t):
    """A store that is not there, is a file, or cannot be written to is named in the error."""
    process = start_maw(t)
    plain = os.path.join(t.directory, "plain")
    with open(plain, "w"):
        pass
    for bad in ("/nonexistent/store", plain):
        answer = t.geist_refuses(".", "checkpoint", process.pid, store=bad)
        check(bad in answer.err, f"the store's name is missing: {answer.err!r}")
        for command in ("restart", "show", "verify"):
            t.geist_refuses(".", command, process.pid, store=bad)
    with mounted(t, "size=32m") as place:
        t.checkpoint(process, store=place)
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        t.geist_refuses("read-only", "checkpoint", process.pid, store=place)
        unharmed(t, process, place)
        t.geist_ok("verify", process.pid, store=place)
        process.kill()
        again = t.restart(process, store=place)
        unharmed(t, again, place)
        again.kill()


@test("unknown application or version")
def unknown(t):
    """restart, show, verify and rm of what does not exist name what is missing."""
    process = start_maw(t)
    t.checkpoint(process, "--kill")
    for version in (2, 77):
        t.geist_refuses(f"{version}", "restart", process.pid, "--version", version)
        t.geist_refuses(f"{version}", "show", f"{process.pid}@{version}")
        t.geist_refuses(f"{version}", "verify", f"{process.pid}@{version}")
    t.geist_refuses(".", "restart", process.pid, "--version", 0)
    for command in ("restart", "show", "verify", "rm"):
        t.geist_refuses("424242", command, 424242)
    t.geist_ok("verify", process.pid)


@test("pid taken at restart")
def pid_taken(t):
    """While somebody has the pid, here the process itself, the restart is refused, and works when
    the pid is free again."""
    process = start_maw(t)
    t.checkpoint(process)
    t.geist_refuses(f"{process.pid}", "restart", process.pid)
    unharmed(t, process)
    process.kill()
    again = t.restart(process)
    unharmed(t, again)
    t.geist_refuses(f"{process.pid}", "restart", process.pid)
    unharmed(t, again)
    again.kill()


@test("a file gone or changed at restart", timeout=90)
def file_gone(t):
    """The executable removed or changed, an open file removed: refused with the file's name and
    nothing started; with the file as it was, the restart works."""
    binary = os.path.join(t.directory, "maw copy")
    shutil.copy2(program("maw"), binary)
    out = os.path.join(t.directory, "out put")
    command = f"exec '{binary}' --out {{dir}}/result --mb 2 > '{out}'"
    process = t.start(["/bin/sh", "-c", command])
    process.wait_ready()
    t.checkpoint(process, "--kill")

    def refused(name):
        answer = t.geist_refuses(".", "restart", process.pid)
        check(name in answer.err, f"the file's name is missing: {answer.err!r}")
        check(not os.path.exists(f"/proc/{process.pid}"), "something was started")

    os.rename(binary, binary + ".away")
    refused("maw copy")
    status = os.stat(binary + ".away")
    shutil.copyfile(binary + ".away", binary)
    with open(binary, "ab") as file:
        file.write(b"x")
    os.chmod(binary, 0o755)
    refused("maw copy")
    os.truncate(binary, status.st_size)
    os.utime(binary, ns=(status.st_atime_ns, status.st_mtime_ns + 1000000))
    refused("maw copy")
    t.geist_refuses("maw copy", "verify", process.pid)
    os.rename(binary + ".away", binary)
    os.rename(out, out + ".away")
    refused("out put")
    os.rename(out + ".away", out)
    t.geist_ok("verify", process.pid)
    again = t.restart(process)
    check(read(f"/proc/{again.pid}/comm").strip() == "maw copy", "name")
    unharmed(t, again)
    again.kill()
