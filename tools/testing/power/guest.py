#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What is done in a machine whose power will be cut: as root, with the module loaded.

    guest.py SEED CUT WORK <REPORTED

First it looks at what the last cut left: the store tells the truth, what was reported as committed (REPORTED, what the boot
before this one reported) is there and restarts. Then it prints a line, from which on the power may go at any time, and does
WORK (work.py), or ends if that is `nothing`. What is committed is reported to the host. SEED and CUT, the number of the cut
that ends this boot, choose what is done.
"""

# Few modules: each boot loads them anew.
import os
import random
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "tests")]
sys.dont_write_bytecode = True

from harness import Failed, check  # noqa: E402
from promises import Promises  # noqa: E402
from subject import Store, Subject, good  # noqa: E402
import work  # noqa: E402

DISK, MOUNT, PORT = "/dev/vdd", "/var/lib/geist-power", "/dev/geist-report"
# Where a disk with such a file system has which bytes.
EXT4_MAGIC = 1024 + 56, b"\x53\xef"
# Each boot has pids of its own: what is restarted finds its pid free, and newer applications have higher ones.
FIRST_PID, PIDS = 30_000, 200
# Versions that an application has at most when the work begins.
MOST = 6


def say(text):
    """For the host's log; standard output is for the line that starts the clock."""
    print(text, file=sys.stderr, flush=True)


def write(path, value):
    """Sets a value of the kernel."""
    with open(path, "w") as file:
        file.write(str(value))


def mount():
    """Mounts the disk; makes its file system the first time."""
    os.makedirs(MOUNT, exist_ok=True)
    with open(DISK, "rb") as disk:
        disk.seek(EXT4_MAGIC[0])
        there = disk.read(2) == EXT4_MAGIC[1]
    if not there:
        subprocess.run(["mkfs.ext4", "-q", DISK], check=True)
    # The journal is written when somebody asks for it, and else late: whoever forgets to ask is found out.
    subprocess.run(["mount", "-o", "commit=60", DISK, MOUNT], check=True)
    # What is not flushed is written early: it is on its way when the power goes.
    write("/proc/sys/vm/dirty_writeback_centisecs", 5)
    write("/proc/sys/vm/dirty_expire_centisecs", 5)
    store = os.path.join(MOUNT, "store")
    if not os.path.isdir(store):
        os.mkdir(store, mode=0o700)
        os.sync()
    return store


def noise():
    """Others write to the same disk and never flush."""
    for number in range(1 << 30):
        with open(os.path.join(MOUNT, f"noise{number % 8}"), "wb") as file:
            file.write(bytes((number % 256,)) * (64 << 10))
        time.sleep(0.03)


def look(store, promises, rng):
    """Everything that was promised must be there; the newest version, or the one reported last, runs again."""
    subjects, rows = [], store.listed()
    for app in store.apps():
        listed = [row for row in rows if row["app"] == app]
        wrong = [row for row in listed if row["state"] == "damaged"]
        check(not wrong, f"damaged after the cut: {wrong}")
        versions = good(listed)
        missing = promises.missing(app, versions)
        check(not missing, f"application {app}: {missing} were committed and are gone; there are {versions}")
        if versions:
            store.verify(app)
            subjects.append((app, versions))
    gone = [app for app in promises.apps() if app not in [known for known, _ in subjects]]
    check(not gone, f"applications {gone} had committed versions and are gone")
    if not subjects:
        return None
    app, versions = subjects[-1]
    choice = rng.choice([versions[-1], promises.last(app, versions), rng.choice(versions)])
    say(f"application {app} has versions {versions}, {choice} is restarted")
    subject = Subject.restarted(store, app, choice)
    subject.verify()
    # The next occasion: leftovers go, and old versions with them, for the disk is small.
    for app, _ in subjects:
        promises.report(app=app, keep=MOST)
        promises.seen(app, store.clean(app, MOST))
    return subject


def main():
    """One boot."""
    seed, cut, what = sys.argv[1:]
    rng = random.Random(f"{seed}/{cut}")
    write("/proc/sys/kernel/pid_max", 1 << 22)
    write("/proc/sys/kernel/ns_last_pid", FIRST_PID + PIDS * int(cut))
    try:
        promises = Promises(sys.stdin, PORT)
        store = Store(mount(), promises, say)
        subject = look(store, promises, rng)
        if what == "nothing":
            return 0
        if subject is None or rng.random() < 0.1:
            subject = work.begin_anew(store, promises, subject)
        threading.Thread(target=noise, daemon=True).start()
        work.KINDS[what](store, promises, subject, rng)
    except Failed as reason:
        say(f"failed: {reason}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
