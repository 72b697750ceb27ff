# SPDX-License-Identifier: GPL-2.0
"""What every guest test uses: registration, running one test, waiting, diagnostics.

A test is a function with one argument, a Context, and a doc string that says what it shows:

    @test("maw goes on after a kill")
    def maw(t): ...

It fails by raising: check(condition, text) does. Each test runs in a process of its own with a
time limit, in a directory of its own, and with random numbers that depend only on --seed and the
test's name. After it the kernel log is searched for reports.
"""

import contextlib
import os
import random
import re
import select
import shutil
import signal
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = os.path.join(os.path.dirname(HERE), "programs")
MARK = "GEIST_TEST_RUN"     # in the environment of everything that a test starts

# Ext4 gives "warning: 2 callbacks suppressed", the kernel "WARNING: CPU: 0 PID: 1 at ..."; and a call trace may have
# __kasan_check_read().
SPLAT = re.compile(
    r"BUG:|(?-i:WARNING:)|(?-i:KASAN|KFENCE|UBSAN)|Oops|general protection fault|possible circular locking"
    r"|possible recursive locking|inconsistent lock state|suspicious RCU usage|INFO: task .* blocked"
    r"|detected stall|unreferenced object|bad page state|Bad page|refcount_t|Call Trace"
    r"|scheduling while atomic|sleeping function called|kernel tried to execute|page table check"
    r"|nobody cared|list_add corruption|list_del corruption|lock held when returning", re.I)


class Failed(Exception):
    """A test's demand was not met."""


class Skipped(Exception):
    """This machine lacks what the test needs; the text says what."""


def check(condition, text):
    """Demands something."""
    if not condition:
        raise Failed(text)


def slowness():
    """How many times slower than the stock kernel: the debug kernel's checkers cost that much."""
    return 5 if os.path.exists("/sys/kernel/debug/kmemleak") else 1


def wait_for(condition, seconds, what):
    """Returns the first true value of condition(): for what announces itself to nobody."""
    end = time.monotonic() + seconds * slowness()
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"no {what} within {seconds * slowness():.0f} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def read(path, mode="r"):
    """A file's content, or None when there is none. Bytes that are no text are kept as they are."""
    try:
        with open(path, mode, errors=None if "b" in mode else "surrogateescape") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None


def write(path, value):
    """Replaces a file's content, as a setting of the kernel is set."""
    with open(path, "w") as file:
        file.write(str(value))


@contextlib.contextmanager
def settings(values):
    """Settings of the kernel, by path, put back at the end. What this kernel does not have is left
    out."""
    before = {path: read(path) for path in values}
    before = {path: text for path, text in before.items() if text is not None}
    try:
        for path in before:
            write(path, values[path])
        yield
    finally:
        for path, text in before.items():
            # Of several words the one in brackets was chosen.
            write(path, re.sub(r".*\[(.*)\].*", r"\1", text).strip())


class Test:
    """A registered test."""

    def __init__(self, name, function, timeout, alone, long):
        self.name, self.function, self.timeout = name, function, timeout
        self.alone, self.long = alone, long
        self.file = os.path.basename(sys.modules[function.__module__].__file__)


TESTS = []


def test(name, timeout=60, alone=False, long=False):
    """Registers a test. The timeout is for the stock kernel under emulation, in seconds. Tests run
    side by side; one that changes what the others use (the module, the device) runs alone. A long
    one is no part of `make check`."""
    def register(function):
        check(function.__doc__, f"{name}: no doc string")
        TESTS.append(Test(name, function, timeout, alone, long))
        return function
    return register


class KernelLog:
    """Reads the kernel's log from where it is now on."""

    def __init__(self):
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.fd, 0, os.SEEK_END)

    def new_lines(self):
        """The lines since the last call."""
        lines = []
        while True:
            try:
                record = os.read(self.fd, 8192).decode("utf-8", "replace")
            except BlockingIOError:
                return lines
            except BrokenPipeError:     # older lines were overwritten
                continue
            _, _, text = record.partition(";")
            lines.append(text.split("\n")[0])


def splats(lines):
    """Those of the lines that report a fault of the kernel. What the OOM killer says, a call trace too,
    is of a program."""
    found, out_of_memory = [], False
    for line in lines:
        if "invoked oom-killer" in line:
            out_of_memory = True
        elif "Killed process" in line:
            out_of_memory = False
        if SPLAT.search(line) and not (out_of_memory and "Call Trace:" in line):
            found.append(line)
    return found


def marked_processes(mark):
    """Processes that a test started, restarted ones too (their environment is in their memory)."""
    found = []
    wanted = f"{MARK}={mark}".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            environment = read(f"/proc/{entry}/environ", "rb")
        except OSError:
            continue
        if environment and wanted in environment.split(b"\0"):
            found.append(int(entry))
    return found


def end_leftovers(mark):
    """Kills what a test left running."""
    for _ in range(50):
        left = marked_processes(mark)
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)


class Options:
    """What the command line of the runner says."""

    def __init__(self, seed=1, quick=False, keep=False, jobs=1, soak=False):
        self.seed, self.quick, self.keep, self.jobs = seed, quick, keep, jobs
        self.soak = soak
        self.races = 180        # seconds
        self.versions = None    # of the oracle, where it is not as many as usual
        self.base = os.environ.get("GEIST_TEST_DIR", "/var/tmp/geist-tests")


class Outcome:
    """What became of a test."""

    def __init__(self, status, seconds, details, reason):
        self.status, self.seconds, self.details = status, seconds, details
        self.reason = reason    # the part of the details that says why it failed


class Running:
    """A test that runs, in a process of its own."""

    def __init__(self, one, number, options, make_context):
        self.one, self.number, self.options = one, number, options
        self.directory = os.path.join(options.base, re.sub(r"[^a-zA-Z0-9]+", "-", one.name))
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory, mode=0o755)
        self.report = os.path.join(self.directory, "report")
        self.start = time.monotonic()
        # Others run beside it, and another machine may run beside this one.
        self.limit = one.timeout * slowness() * (100 if options.soak else 3)
        self.child = os.fork()
        if self.child == 0:
            run_child(one, number, options, make_context, self.directory, self.report)
        self.pidfd = os.pidfd_open(self.child)
        self.timed_out = False

    def fileno(self):
        """What select(2) waits for."""
        return self.pidfd

    def left(self):
        """Seconds until it is given up."""
        return max(0, self.start + self.limit - time.monotonic())

    def give_up(self):
        """Ends it, because its time is up."""
        self.timed_out = True
        os.kill(self.child, signal.SIGKILL)

    def judge(self, kernel_lines):
        """Its outcome, when its process has ended; the kernel's log of the time is part of it."""
        _, status = os.waitpid(self.child, 0)
        os.close(self.pidfd)
        code = os.waitstatus_to_exitcode(status)
        status = {0: "ok", 77: "skipped"}.get(code, "failed")
        end_leftovers(self.number)
        reason = read(self.report + ".reason") or ""
        if self.timed_out:
            reason += f"gave up after {self.limit} s\n"
        details = (read(self.report) or "") + reason
        if splats(kernel_lines):
            status = "failed"
            reason += f"the kernel reports: {splats(kernel_lines)[0]}\n"
            details += "the kernel reports:\n  " + "\n  ".join(kernel_lines[-60:]) + "\n"
        elif status == "failed" and kernel_lines:
            details += "kernel log:\n  " + "\n  ".join(kernel_lines[-25:]) + "\n"
        if status != "failed" and not self.options.keep:
            shutil.rmtree(self.directory, ignore_errors=True)
        return Outcome(status, time.monotonic() - self.start, details, reason)


def run_all(tests, options, make_context, tell):
    """Runs tests, several at a time; tell(number, test, outcome) as each ends, in that order. Those that
    run alone come last, so that none of them waits for the end of a long one."""
    log = KernelLog()
    waiting = sorted(enumerate(tests, 1), key=lambda numbered: numbered[1].alone)
    running = []
    lines = {}
    told = 0
    while waiting or running:
        while waiting and fits(waiting[0][1], running, options.jobs):
            number, one = waiting.pop(0)
            lines[number] = []
            running.append(Running(one, number, options, make_context))
        ended, _, _ = select.select(running, [], [], min(each.left() for each in running))
        for each in running:
            if each not in ended and each.left() == 0 and not each.timed_out:
                each.give_up()
        for each in ended:
            for new in log.new_lines():
                for number in lines:
                    lines[number].append(new)
            running.remove(each)
            told += 1
            tell(told, each.one, each.judge(lines.pop(each.number)))


def fits(one, running, jobs):
    """Whether a test may start beside those that run."""
    if one.alone or any(each.one.alone for each in running):
        return not running
    return len(running) < jobs


def run_child(one, number, options, make_context, directory, report):
    """The test's own process; never returns."""
    code = 1
    try:
        os.setsid()
        sys.stdout.flush()
        os.environ[MARK] = str(number)
        os.chdir(directory)
        context = make_context(one, options, directory)
        reason = ""
        try:
            one.function(context)
            code = 0
        except Skipped as why:
            context.note(f"skipped: {why}")
            code = 77
        except Failed as why:
            reason = f"{why}\n{where(sys.exc_info()[2])}\n"
        except BaseException:  # whatever it is, it is the test's result
            reason = traceback.format_exc()
        with open(report + ".reason", "w") as file:
            file.write(reason)
        with open(report, "w") as file:
            file.write("".join(line + "\n" for line in context.notes))
    finally:
        os._exit(code)


def where(trace):
    """The test's own lines on the way to a failure."""
    frames = traceback.extract_tb(trace)
    steps = [f"{os.path.basename(f.filename)}:{f.lineno}" for f in frames[1:]]
    return "at " + " > ".join(steps)


def seeded(options, name):
    """Random numbers that a repetition with the same seed repeats."""
    return random.Random(f"{options.seed}/{name}")
