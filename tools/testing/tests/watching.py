# SPDX-License-Identifier: GPL-2.0
"""What tests of intervals share: beginning and ending a watch, and what the module shows of it."""

import contextlib
import fcntl
import os
import struct

from harness import check, read, settings, wait_for

KNOBS = "/sys/kernel/geist"
APPS = f"{KNOBS}/apps"


@contextlib.contextmanager
def knob(name, value):
    """A knob of the module, put back at the end."""
    path = f"{KNOBS}/{name}"
    check(os.path.exists(path), f"there is no {path}")
    with settings({path: value}):
        yield


def shown(app, name):
    """A value in the folder of an application; None when there is none."""
    text = read(f"{APPS}/{app}/{name}")
    return None if text is None else text.strip()


def number(app, name):
    """A number in the folder of an application, 0 when there is none."""
    return int(shown(app, name) or 0)


def watch(t, process, *options, **more):
    """Begins a watch, or changes it: the client's report. On a busy disk a write of the program may
    take long, during which it cannot be stilled."""
    return t.geist_ok("watch", process.pid, "--timeout", 60000, *options, "--json", **more).json()


def unwatch(t, process):
    """Ends a watch: the client's report."""
    reports = t.geist_ok("unwatch", process.pid, "--json").json()
    check(len(reports) == 1 and reports[0]["pid"] == process.pid, f"{reports}")
    return reports[0]


def wait_versions(process, count, seconds=30):
    """Waits until that many more versions were taken; the newest one."""
    before = number(process.pid, "versions")

    def there():
        check(process.alive(), f"{process.pid} ended: {process.said()}")
        return number(process.pid, "versions") >= before + count
    wait_for(there, seconds, f"{count} versions of {process.pid} beyond {before} "
                             f"({shown(process.pid, 'errors')} errors: "
                             f"{shown(process.pid, 'last_error')})")
    return number(process.pid, "version")


def locked(t, process):
    """Whether somebody has the application's directory."""
    fd = os.open(os.path.join(t.store, str(process.pid)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def committed(t, process):
    """The versions that exist, ascending."""
    names = t.app_files(process.pid)
    return sorted(int(name[8:-4]) for name in names
                  if name.startswith("global_v") and name.endswith(".bin"))


def versions_needed(t, process, version):
    """Numbers of the task_mm and of the control files that a version needs."""
    pages, controls, base = {version}, set(), version
    while base:
        controls.add(base)
        name = os.path.join(t.store, str(process.pid), f"control_{process.pid}_v{base}.bin")
        body = read(name, "rb")[64:-16]
        _, _, _, _, base, extents = struct.unpack_from("<QQIIQQ", body)
        for place in range(extents):
            pages.add(struct.unpack_from("<QQQQ", body, 40 + 32 * place)[2])
    return pages - {0}, controls


def nothing_superfluous(t, process):
    """Only files of the versions that exist, and those that they need, are in the store."""
    kept = committed(t, process)
    pages, controls = set(), set()
    for version in kept:
        more_pages, more_controls = versions_needed(t, process, version)
        pages |= more_pages
        controls |= more_controls
    for name in t.app_files(process.pid):
        if name == "instance":
            continue
        version = int(name.rpartition("_v")[2].split(".")[0])
        needed = {"task_mm": pages, "control": controls}
        kind = next((kind for kind in needed if name.startswith(kind + "_")), None)
        check(version in (needed[kind] if kind else kept),
              f"{name} is needed by none of the versions {kept}")
