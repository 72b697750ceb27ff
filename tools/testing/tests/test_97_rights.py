# SPDX-License-Identifier: GPL-2.0
"""Who may do what to whom, and what an image reveals: the promises of Documentation/trust.md."""

import os
import shutil
import stat
import struct
import subprocess

from context import GEIST, program
from harness import check, test
from image import Version, replaced_by
from test_50_refusals import as_nobody, device_for_all, start_maw, unharmed

PYTHON = shutil.which("python3")
NOT_DUMPABLE = ("import ctypes, time\n"
                "ctypes.CDLL(None).prctl(4, 0)\n"       # PR_SET_DUMPABLE
                "open('ready', 'w').write('yes')\n"
                "while True: time.sleep(1)")
# Where the kernel has its memory and its code, and what slab debugging fills free memory with.
KERNEL = range(0xffff800000000000, 0xfffffe8000000000), range(0xffffffff80000000, 0xffffffffff000000)
POISON = (b"\x6b" * 8, b"\x5a" * 8)


def refused_to_nobody(t, pid, store):
    """A user without rights, to whom the device is open, must not checkpoint a process."""
    answer = subprocess.run(as_nobody(GEIST, "--store", store, "checkpoint", str(pid)), check=False,
                            capture_output=True, text=True, timeout=60)
    t.note(answer.stderr)
    check(answer.returncode == 1 and f"pid {pid}: you may not" in answer.stderr, answer.stderr)
    check(os.listdir(store) in ([], [str(pid)]), f"{os.listdir(store)}")


def open_store(t):
    """A directory that everybody may write to."""
    store = os.path.join(t.directory, "open")
    os.makedirs(store)
    os.chmod(store, 0o777)
    return store


@test("one's own process that hides its memory", timeout=60, alone=True)
def not_dumpable(t):
    """What ptrace may not look into for its own user, since it made itself non-dumpable, geist may
    not either: refused to the user whose process it is, granted to root."""
    store = open_store(t)
    process = t.start(as_nobody(PYTHON, "-c", NOT_DUMPABLE))
    process.wait_file("ready")
    with device_for_all():
        refused_to_nobody(t, process.pid, store)
    t.checkpoint(process, "--kill")


@test("a set-uid program of one's own", timeout=60, alone=True)
def set_uid(t):
    """Started by a user without rights, but root's by its set-uid bit: refused to that user."""
    store = open_store(t)
    sleeper = os.path.join(t.directory, "sleeper")
    shutil.copy(program("sleeper"), sleeper)
    os.chmod(t.directory, 0o755)
    os.chmod(sleeper, 0o4755)
    process = t.start(as_nobody(sleeper, "--out", "{dir}/result", "--ms", "100000", "nanosleep"))
    process.wait_ready()
    with device_for_all():
        refused_to_nobody(t, process.pid, store)
    process.kill()


@test("another user namespace", timeout=60, alone=True)
def namespace(t):
    """Root of a user namespace of its own is nobody outside of it."""
    process = start_maw(t)
    store = open_store(t)
    with device_for_all():
        answer = subprocess.run(as_nobody("unshare", "--user", "--map-root-user", GEIST, "--store", store,
                                          "checkpoint", str(process.pid)),
                                capture_output=True, text=True, timeout=60, check=False)
    t.note(answer.stderr)
    check(answer.returncode == 1 and "you may not" in answer.stderr, answer.stderr)
    unharmed(t, process, store)


@test("images are their owner's", timeout=60)
def modes(t):
    """Whatever the umask, all that is made in a store is its owner's alone."""
    process = start_maw(t)
    before = os.umask(0)
    store = os.path.join(t.directory, "new", "store")
    os.makedirs(os.path.dirname(store))
    os.mkdir(store, 0o700)
    try:
        t.checkpoint(process, store=store)
        t.checkpoint(process, store=store)
    finally:
        os.umask(before)
    for folder, _, names in os.walk(store):
        mode = stat.S_IMODE(os.stat(folder).st_mode)
        check(mode == 0o700, f"{folder} has mode {mode:o}")
        for name in names:
            mode = stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode)
            check(mode == 0o600, f"{name} has mode {mode:o}")


@test("nothing of the kernel's is in an image", timeout=90)
def nothing_of_the_kernel(t):
    """Outside of the pages of the program there is no address of the kernel and no byte of memory that
    was free: on the debug kernel that is poisoned."""
    argv = [program("signals"), "--out", "{dir}/result"], [program("files"), "--out", "{dir}/result", "{dir}"]
    for one in argv:
        process = t.start(one)
        process.wait_ready()
        for number in (t.checkpoint(process), t.checkpoint(process, "--kill")):
            version = Version(t.store, process.pid, number)
            for name, content in version.original.items():
                if name == version.task_mm_name:
                    continue
                for poison in POISON:
                    check(poison not in content, f"{name}: poison at {content.find(poison)}")
                words = struct.unpack_from(f"<{len(content) // 8}Q", content)
                found = [f"{8 * at:#x}: {word:#x}" for at, word in enumerate(words) if any(word in part for part in KERNEL)]
                check(not found, f"{name}: addresses of the kernel at {found[:8]}")


@test("a store with traps", timeout=90, alone=True)
def traps(t):
    """In a store that others may write to: a symbolic link, a FIFO, a directory and a device in the
    place of each file are refused by name, at once, and so is a link in the place of the application."""
    process = start_maw(t)
    version = t.checkpoint(process, "--kill")
    folder = os.path.join(t.store, str(process.pid))
    traps_of = {
        "link": lambda path: os.symlink(path + ".real", path),
        "fifo": os.mkfifo,
        "directory": os.mkdir,
        "device": lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5)),
    }
    for name in sorted(Version(t.store, process.pid, version).original):
        path = os.path.join(folder, name)
        for kind, make in traps_of.items():
            with replaced_by(path, make):
                answer = t.geist("restart", process.pid, seconds=20)
            check(answer.code == 1 and answer.err.strip(), f"{name} is a {kind}: {answer.err!r}")
            check(not os.path.exists(f"/proc/{process.pid}"), f"{name} is a {kind}: it was started")
    with replaced_by(folder, traps_of["link"]):
        answer = t.geist("restart", process.pid, seconds=20)
    check(answer.code == 1, "an application that is a link was restarted")
    t.geist_ok("restart", process.pid)
