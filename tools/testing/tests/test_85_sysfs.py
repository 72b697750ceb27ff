# SPDX-License-Identifier: GPL-2.0
"""/sys/kernel/geist: the knobs, and the folder of each application."""

import errno
import os
import re
import select
import subprocess
import sys
import termios
import threading

from context import GEIST, program
from harness import KernelLog, check, read, test, wait_for
from test_70_module import load, unload

ROOT = "/sys/kernel/geist"
APPS = f"{ROOT}/apps"
HIGHEST = 2**32 - 2
DAY_MS = 86_400_000

# Default, values that are taken, values that are refused.
KNOBS = {
    "interval_ms": ("10", ("1", str(DAY_MS)), ("0", str(DAY_MS + 1))),
    "keep": ("0", ("1", str(HIGHEST)), (str(HIGHEST + 1), str(2**32))),
    "durability": ("none", ("data", "none"), ("0", "1", "Data", "dat", "dataa", "none data")),
    "full_every": ("0", ("1", str(HIGHEST)), (str(HIGHEST + 1),)),
    "seed_layout_rule": ("0", ("1", "0"), ("2", "y", "on")),
    "memory_limit": (None, ("0", "1", str(2**64 - 1)), (str(2**64),)),
    "memory_charge": ("application", ("system", "application"), ("0", "System", "app")),
    "paranoid": ("0", ("1", "0"), ("2", "yes")),
    "blind": ("none", ("writes", "userfaults", "none"), ("0", "write", "all")),
}
NO_KNOBS = ("generation",)
GARBAGE = ("\n", "x", "-1", "+1", " 1", "1 ", "1\n\n", "1x", "0x1", "1e1", "1.0", "1\0", "\0", "ä",
           "1" * 40, "1" * 5000)

FIGURES = ("version", "pages", "bytes", "pause_us", "capture_us", "write_us", "commit_us")
NUMBERS = FIGURES + ("pid", "watched", "interval_ms", "keep", "dirty", "versions", "total_pages", "total_bytes",
                     "total_pause_us", "skipped", "errors", "missed", "held_bytes")


def knob(name):
    """What a knob is set to."""
    return read(f"{ROOT}/{name}").removesuffix("\n")


def put(path, value):
    """Writes in one call: 0, or the errno."""
    data = value if isinstance(value, bytes) else value.encode()
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
        return 0
    except OSError as error:
        return error.errno
    finally:
        os.close(fd)


def folder(process):
    """The folder of an application."""
    return f"{APPS}/{process.pid}"


def number(process, name):
    """A figure of an application."""
    text = read(f"{folder(process)}/{name}")
    check(re.fullmatch(r"\d+\n", text or ""), f"{name} is {text!r}")
    return int(text)


class Readers:
    """Threads that read files, through descriptors of long ago and now and then through new ones,
    from the beginning of the block to its end: whole lines, or the file is gone."""

    def __init__(self, paths, threads):
        self.files = [(path, os.open(path, os.O_RDONLY)) for path in paths]
        self.go, self.stop, self.trouble = threading.Event(), threading.Event(), []
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in range(threads)]

    def run(self, first):
        """One thread; each begins with another file."""
        self.go.wait()
        while not self.stop.is_set():
            path, fd = self.files[first % len(self.files)]
            first += 1
            try:
                if first % 10:
                    text = os.pread(fd, 4096, 0)
                else:
                    text = read(path, "rb") or b"\n"
            except OSError as error:
                if error.errno != errno.ENODEV:
                    self.trouble.append(f"{path}: {error}")
            else:
                if not text.endswith(b"\n"):
                    self.trouble.append(f"{path} is {text!r}")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.go.set()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        check(not self.trouble, f"{self.trouble[:5]}")

    def all_dead(self):
        """Every descriptor must read ENODEV; closes them."""
        for path, fd in self.files:
            try:
                text = os.pread(fd, 4096, 0)
            except OSError as error:
                check(error.errno == errno.ENODEV, f"{path}: {error}")
            else:
                check(False, f"{path} still reads {text!r}")
            os.close(fd)


@test("every knob has its default and takes what it may", timeout=30, alone=True)
def knobs(t):
    """A freshly loaded module has the defaults; each knob takes each bound of what is allowed, with
    and without a newline, and shows it; loading the module again brings the defaults back."""
    try:
        for name, (default, good, _) in KNOBS.items():
            if default is not None:
                check(knob(name) == default, f"{name} is {knob(name)!r} by default")
            for value in good:
                for text in (value, value + "\n"):
                    check(put(f"{ROOT}/{name}", text) == 0, f"{name} does not take {text!r}")
                    check(knob(name) == value, f"{name} is {knob(name)!r} after {text!r}")
    finally:
        check(unload()[0], "the module cannot be unloaded")
        check(not os.path.exists(ROOT), f"{ROOT} is there without the module")
        load()
    total = int(re.search(r"MemTotal:\s*(\d+)", read("/proc/meminfo")).group(1)) * 1024
    check(int(knob("memory_limit")) == total // 2, f"{knob('memory_limit')} of {total}")
    for name, (default, _, _) in KNOBS.items():
        check(default in (None, knob(name)), f"{name} is {knob(name)!r} after loading")
    found = sorted(os.listdir(ROOT))
    check(found == sorted([*KNOBS, *NO_KNOBS, "apps"]), f"{ROOT} has {found}")


@test("a knob refuses a bad value and says so", timeout=30, alone=True)
def bad_values(t):
    """Out of range, garbage, trailing text: EINVAL, the knob keeps its value, and a line in the
    kernel's log names the knob and what it takes, but not thousands of lines."""
    log = KernelLog()
    for name, (_, _, bad) in KNOBS.items():
        before = knob(name)
        for value in (*GARBAGE, *bad):
            result = put(f"{ROOT}/{name}", value)
            check(result == errno.EINVAL, f"{name}: {value!r} gave {errno.errorcode.get(result, 0)}")
            check(knob(name) == before, f"{name} is {knob(name)!r} after {value!r}")
    lines = log.new_lines()
    check(len(lines) < 50, f"{len(lines)} lines in the log")
    check(any("interval_ms takes a number from 1 to 86400000" in line for line in lines), f"{lines}")


@test("knobs belong to root", timeout=30)
def rights(t):
    """Others read what applications cost and the knobs, set nothing, and do not see the sentence of
    the last error, which may name files."""
    process = t.start_program("statics-static", "--rounds", "1000000")
    t.checkpoint(process)
    script = (f"cat {ROOT}/keep {folder(process)}/version && ! cat {folder(process)}/last_error"
              f" && ! echo 5 >{ROOT}/keep && ! echo 5 >{folder(process)}/interval_ms")
    other = t.start(["sh", "-c", script], user=65534, group=65534, extra_groups=[])
    status = other.wait_end(20)
    check(status == 0, f"status {status}: {read(other.path('stdout'))} {other.said()}")
    check(knob("keep") == "0", f"keep is {knob('keep')}")


@test("an application has a folder", timeout=60)
def application(t):
    """There is none before the first checkpoint; then its figures are those that the client tells,
    its totals their sums; with the application the folder goes."""
    process = t.start_program("maw", "--mb", "8", "--rounds", "1000000")
    check(not os.path.exists(folder(process)), "a folder without a checkpoint")
    told = []
    for count in range(1, 4):
        told.append(t.geist_ok("checkpoint", process.pid, "--json").json())
        for name in FIGURES:
            shown = number(process, name)
            check(shown == told[-1][name], f"{name} is {shown}, the client says {told[-1][name]}")
        check(number(process, "versions") == count, f"{number(process, 'versions')} versions")
        process.wait_progress()
    for total, name in (("total_pages", "pages"), ("total_bytes", "bytes"),
                        ("total_pause_us", "pause_us")):
        shown, wanted = number(process, total), sum(one[name] for one in told)
        check(shown == wanted, f"{total} is {shown}, the sum is {wanted}")
    check(number(process, "pid") == process.pid, "pid")
    for name in ("interval_ms", "keep", "skipped", "errors", "held_bytes"):
        check(number(process, name) == 0, f"{name} is {number(process, name)}")
    check(read(f"{folder(process)}/last_error") == "\n", "an error without an error")
    wait_for(lambda: number(process, "dirty") > 0, 20, "page written since")
    found = sorted(os.listdir(folder(process)))
    check(found == sorted([*NUMBERS, "last_error"]), f"{found}")

    process.kill()
    wait_for(lambda: not os.path.exists(folder(process)), 10, "end of the folder")


@test("a failed version is counted and said", timeout=60)
def failed(t):
    """A checkpoint of a tracked process that is refused: errors is one more, last_error has the
    sentence that the client says, and the figures stay those of the last version."""
    process = t.start([program("unsupported"), "--out", "{dir}/result", "--rounds", "1000000",
                       "pipe", "{dir}"])
    fd = int(process.wait_file("result.fd"))
    t.checkpoint(process, "--ignore-unsupported-files")
    for count in (1, 2):
        answer = t.geist_refuses("pipe", "checkpoint", process.pid)
        check(number(process, "errors") == count, f"{number(process, 'errors')} errors")
        said = read(f"{folder(process)}/last_error").strip()
        check(said and said in answer.err and f"fd {fd}" in said, f"{said!r}; {answer.err!r}")
    check(number(process, "versions") == 1, "a version that was refused")
    told = t.geist_ok("checkpoint", process.pid, "--ignore-unsupported-files", "--json").json()
    check(number(process, "version") == told["version"], f"{told}")
    check((number(process, "errors"), number(process, "versions")) == (2, 2), "after a good one")


@test("the interval of a watch is changed by its file", timeout=90, alone=True)
def interval(t):
    """Without a watch a number is refused. With one the file takes the bounds and shows them, 0 stops
    the versions, and another interval lets them go on; what is no interval is refused."""
    process = t.start_program("maw", "--mb", "4", "--rounds", "1000000")
    t.checkpoint(process)
    path = f"{folder(process)}/interval_ms"
    for value in ("0", "10"):
        check(put(path, value) == errno.EINVAL, f"{value} without a watch")
    t.geist_ok("watch", process.pid, "--interval", "20ms")
    check(number(process, "interval_ms") == 20, f"{number(process, 'interval_ms')}")
    before = number(process, "version")
    wait_for(lambda: number(process, "version") >= before + 3, 30, "versions every 20 ms")
    check(put(path, "0\n") == 0 and number(process, "interval_ms") == 0, "0 is not taken")
    check(number(process, "watched") == 1, "a suspended watch is none")
    # One may be in the making, which this waits for.
    t.checkpoint(process)
    versions = number(process, "versions")
    process.wait_progress()
    check(number(process, "versions") == versions, "a version although there is no interval")
    for value in (*GARBAGE, str(DAY_MS + 1)):
        check(put(path, value) == errno.EINVAL, f"{value!r} is taken")
        check(number(process, "interval_ms") == 0, f"{number(process, 'interval_ms')} after {value!r}")
    check(put(path, str(DAY_MS)) == 0 and number(process, "interval_ms") == DAY_MS, "a day")
    check(put(path, "1") == 0, "1 ms")
    wait_for(lambda: number(process, "versions") >= versions + 3, 30, "versions every ms")
    check(put(path, "0") == 0, "suspended")
    # Of all that are watched it is one, too.
    ended = {one["pid"] for one in t.geist_ok("unwatch", "--all", "--json").json()}
    check(process.pid in ended, f"{ended}")
    check(number(process, "interval_ms") == number(process, "watched") == 0, "watched after unwatch")
    check(put(path, "10") == errno.EINVAL, "10 after the watch")
    t.geist_ok("verify", process.pid)
    process.kill()


@test("geist top shows what the files say", timeout=60)
def top(t):
    """In a pipe the table comes once; --json has every figure; on a terminal it is shown again and
    again until q, and the terminal is as before."""
    process = t.start_program("statics-static", "--rounds", "1000000")
    t.checkpoint(process)
    table = t.geist_ok("top").out
    line = next(line for line in table.splitlines() if line.split()[:1] == [str(process.pid)])
    check("statics" in line and "INTERVAL" in table, table)
    answer = t.geist_ok("top", "--once", "--json")
    check(answer.out.count("\n") == 1, f"{answer.out!r}")
    (app,) = [one for one in answer.json()["applications"] if one["app"] == process.pid]
    for name in set(NUMBERS) - {"dirty", "missed"}:
        check(app[name] == number(process, name), f"{name}: {app}")

    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    live = subprocess.Popen([GEIST, "top", "--delay", "0.1"], stdin=slave, stdout=slave)
    shown = b""
    # The cursor goes home for each picture.
    while shown.count(b"\x1b[H") < 4:
        check(select.select([master], [], [], 30)[0], f"top stopped at {shown!r}")
        shown += os.read(master, 4096)
    os.write(master, b"q")
    check(live.wait(30) == 0, f"status {live.returncode}")
    check(termios.tcgetattr(slave) == before, "the terminal is not as before")
    check(str(process.pid).encode() in shown, f"{shown!r}")
    while select.select([master], [], [], 0)[0]:
        shown += os.read(master, 4096)
    check(shown.endswith(b"\x1b[?25h\x1b[?1049l"), f"{shown[-100:]!r}")
    process.kill()


@test("100 threads read while the application ends", timeout=90)
def readers(t):
    """Its files are read by 100 threads, through descriptors of long ago and new ones, while it is
    killed: whole lines or ENODEV, nothing else; again with another one."""
    # With so many threads the one that ends the application must get its turn.
    sys.setswitchinterval(0.0002)
    for _ in range(t.rounds(3, 1)):
        process = t.start_program("statics-static", "--rounds", "1000000")
        t.checkpoint(process)
        paths = [f"{folder(process)}/{name}" for name in (*NUMBERS, "last_error")]
        with Readers(paths, 100) as reading:
            t.random_moment(0.2)
            process.kill()
            wait_for(lambda: not os.path.exists(folder(process)), 20, "end of the folder")
        reading.all_dead()


@test("unloaded while its files are open", timeout=60, alone=True)
def open_files(t):
    """Descriptors of all files do not keep the module; afterwards they read ENODEV, also when the
    module has been loaded again, and threads that read all the while do no harm."""
    process = t.start_program("statics-static", "--rounds", "1000000")
    for _ in range(t.rounds(5, 2)):
        t.checkpoint(process)
        paths = [os.path.join(where, name) for where in (ROOT, folder(process))
                 for name in os.listdir(where) if name != "apps"]
        paths = [path for path in paths if os.path.isfile(path)]
        check(len(paths) == len(KNOBS) + len(NO_KNOBS) + len(NUMBERS) + 1, f"{paths}")
        with Readers(paths, 8) as reading:
            t.random_moment(0.1)
            done, said = unload()
            check(done, f"cannot be unloaded: {said}")
            check(not os.path.exists(ROOT), f"{ROOT} is there without the module")
            load()
        reading.all_dead()
    t.geist_ok("verify", process.pid)
