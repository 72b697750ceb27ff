# SPDX-License-Identifier: GPL-2.0
"""The hands of a test: start programs, call the client, kill, restart, compare results."""

import json
import os
import re
import select
import signal
import subprocess
import time

from harness import Failed, PROGRAMS, check, read, seeded, slowness, wait_for, write

GEIST = os.environ.get("GEIST", "/usr/sbin/geist")
DEVICE = "/dev/geist"


def program(name):
    """Path of a test program."""
    return os.path.join(PROGRAMS, name)


def state_of(pid):
    """The state letter of a process, None when there is no such process."""
    try:
        stat = read(f"/proc/{pid}/stat")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[0] if stat else None


def release(directory):
    """Lets a program with --hold go on to its end."""
    with open(os.path.join(directory, "go"), "w"):
        pass


class Missed(Failed):
    """The process ended by itself before it was checkpointed."""


class Process:
    """A process, whether it is our child or not."""

    def __init__(self, pid, directory, child=None):
        self.pid, self.directory, self.child = pid, directory, child
        try:
            self.pidfd = os.pidfd_open(pid)
        except ProcessLookupError:      # it has ended already
            self.pidfd = None

    def path(self, name):
        """A file in the process's directory."""
        return os.path.join(self.directory, name)

    def alive(self):
        """Whether it has not ended."""
        return self.pidfd is not None and not select.select([self.pidfd], [], [], 0)[0]

    def signal(self, number):
        """Sends a signal."""
        check(self.pidfd is not None, f"{self.pid} has ended: {self.said()}")
        signal.pidfd_send_signal(self.pidfd, number)

    def wait_end(self, seconds):
        """Waits for its end; the exit status where it is our child, else None."""
        if self.pidfd is None:
            return self.child.wait() if self.child else None
        ended, _, _ = select.select([self.pidfd], [], [], seconds * slowness())
        check(ended, f"process {self.pid} did not end within {seconds * slowness():.0f} s "
                     f"(state {state_of(self.pid)})")
        status = self.child.wait() if self.child else None
        wait_for(lambda: state_of(self.pid) is None, 10, f"reaping of {self.pid}")
        # A long test starts more processes than it may have files open.
        os.close(self.pidfd)
        self.pidfd = None
        return status

    def kill(self):
        """Ends it with SIGKILL; returns when its pid is free again."""
        if self.alive():
            self.signal(signal.SIGKILL)
        self.wait_end(20)

    def stop(self):
        """Stops it (SIGSTOP), but not while it reads files of /proc, with which it cannot be
        checkpointed."""
        for _ in range(100):
            if self.alive():
                self.signal(signal.SIGSTOP)
            try:
                wait_for(lambda: state_of(self.pid) in ("T", "Z", None), 30, f"stop of {self.pid}")
            except Failed as reason:
                raise Failed(f"{reason}: state {state_of(self.pid)}, in the kernel at "
                             f"{read(f'/proc/{self.pid}/stack')}") from None
            if state_of(self.pid) != "T":
                raise Missed(f"{self.pid} had ended before it could be stopped")
            if not self.reads_proc():
                return
            self.go_on()
            wait_for(lambda: not self.reads_proc(), 20, f"end of the reading of /proc by {self.pid}")
        raise Failed(f"{self.pid} reads files of /proc all the time")

    def reads_proc(self):
        """Whether it has a file of /proc open just now."""
        directory = f"/proc/{self.pid}/fd"
        try:
            return any(os.readlink(os.path.join(directory, fd)).startswith("/proc/")
                       for fd in os.listdir(directory))
        except FileNotFoundError:       # closed meanwhile, or ended
            return False

    def go_on(self):
        """Lets it run on."""
        self.signal(signal.SIGCONT)

    def wait_file(self, name, seconds=30):
        """Waits for a file that the program makes; its content."""
        def there():
            if not self.alive() and not os.path.exists(self.path(name)):
                raise Failed(f"{self.pid} ended without {name}: {self.said()}")
            return read(self.path(name))
        return wait_for(there, seconds, f"{name} of {self.pid} ({self.said()})")

    def wait_ready(self, seconds=60):
        """Waits until the program is set up."""
        self.wait_file("result.ready", seconds)

    def progress(self):
        """The last round that the program reported."""
        return int(read(self.path("result.progress")) or -1)

    def wait_progress(self, seconds=30):
        """Waits until the program has got further than it is now."""
        now = self.progress()
        wait_for(lambda: self.progress() != now or read(self.path("result")), seconds,
                 f"progress of {self.pid} from {now}")

    def said(self):
        """What the program wrote to its output."""
        return (read(self.path("stderr")) or "")[-500:]

    def result(self, seconds=120):
        """Waits for the end; the program's result."""
        release(self.directory)
        self.wait_end(seconds)
        text = read(self.path("result"))
        check(text, f"{self.pid} ended without a result: {self.said()}")
        return text


class Answer:
    """What a call of the client gave."""

    def __init__(self, command, code, out, err):
        self.command, self.code, self.out, self.err = command, code, out, err

    def json(self):
        """The output as JSON."""
        try:
            return json.loads(self.out)
        except ValueError:
            raise Failed(f"{' '.join(self.command)}: no JSON: {self.out[:300]!r}") from None


class Context:
    """One test's surroundings."""

    def __init__(self, one, options, directory):
        self.name, self.directory = one.name, directory
        self.quick, self.seed, self.soak = options.quick, options.seed, options.soak
        self.races, self.versions = options.races, options.versions
        self.rng = seeded(options, one.name)
        self.notes = []
        self.store = os.path.join(directory, "store")
        os.makedirs(self.store, mode=0o700)
        self.started = 0

    def note(self, text):
        """Keeps a line for the case that the test fails."""
        self.notes.append(text)

    def figure(self, text):
        """Keeps a line that is printed in any case: what was measured."""
        self.notes.append(f"# {text}")

    def rounds(self, usual, quick):
        """How often: fewer on the slow debug kernel."""
        return quick if self.quick else usual

    # Programs.

    def start(self, argv, stdin="/dev/null", released=False, **more):
        """Starts a program in a session of its own, its output in files. Released: the file that a
        program with --hold waits for is there already."""
        self.started += 1
        where = os.path.join(self.directory, f"p{self.started}")
        os.makedirs(where)
        os.chmod(where, 0o777)
        argv = [arg.replace("{dir}", where) for arg in argv]
        if released:
            release(where)
        # A terminal must not become the one that controls the test.
        source = os.open(stdin, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
        with open(os.path.join(where, "stdout"), "w") as out, \
                open(os.path.join(where, "stderr"), "w") as err:
            child = subprocess.Popen(argv, stdin=source, stdout=out, stderr=err, cwd=where,
                                     start_new_session=True, **more)
        os.close(source)
        self.note(f"pid {child.pid}: {' '.join(argv)}")
        return Process(child.pid, where, child)

    def start_program(self, name, *args, **more):
        """Starts a test program and waits until it is set up."""
        process = self.start([program(name), "--out", "{dir}/result", *args], **more)
        process.wait_ready()
        return process

    def script(self, name, text):
        """Writes a program of a test's own; its path."""
        path = os.path.join(self.directory, name)
        write(path, text)
        return path

    def adopt(self, pid, directory):
        """A restarted process."""
        return Process(pid, directory)

    # The client.

    def geist(self, *args, store=None, seconds=120, **more):
        """Calls the client; returns its Answer, whatever that is."""
        command = [GEIST, "--store", store or self.store, *map(str, args)]
        start = time.monotonic()
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=seconds * slowness(), check=False, **more)
        except subprocess.TimeoutExpired as late:
            raise Failed(f"{' '.join(command)}: did not return within {late.timeout} s") from None
        said = done.stderr.strip() or (done.stdout.strip() if done.returncode else "")
        self.note(f"{' '.join(command)}: status {done.returncode}, "
                  f"{time.monotonic() - start:.2f} s {said}")
        return Answer(command, done.returncode, done.stdout, done.stderr)

    def start_client(self, *args):
        """Starts the client and does not wait for it."""
        return self.start([GEIST, "--store", self.store, *map(str, args)])

    def geist_ok(self, *args, **more):
        """Calls the client, which must succeed."""
        answer = self.geist(*args, **more)
        check(answer.code == 0, f"{' '.join(answer.command)}: status {answer.code}: {answer.err}")
        return answer

    def geist_refuses(self, pattern, *args, **more):
        """Calls the client, which must fail with a sentence that matches the pattern."""
        answer = self.geist(*args, **more)
        said = " ".join(answer.command)
        check(answer.code != 0, f"{said}: succeeded, should say {pattern!r}")
        check(0 < answer.code < 128, f"{said}: status {answer.code}")
        # verify says in its output what is wrong with a version.
        check(re.search(pattern, answer.err + answer.out, re.I),
              f"{said}: says {(answer.err + answer.out).strip()!r}, should say {pattern!r}")
        return answer

    def checkpoint(self, process, *args, **more):
        """Takes a checkpoint; its version. A program that reads its own /proc files now and then is
        rightly refused at that moment, and asked again."""
        for _ in range(50):
            answer = self.geist("checkpoint", process.pid, *args, "--json", **more)
            if not re.search(r"of proc, which geist cannot checkpoint yet", answer.err):
                break
        if answer.code and not process.alive():
            raise Missed(f"{process.pid} had ended before its checkpoint: {answer.err}")
        check(answer.code == 0, f"checkpoint: status {answer.code}: {answer.err}")
        answer = answer.json()
        version = answer["version"]
        check(isinstance(version, int) and version >= 1, f"version {version!r}")
        if any(str(arg).startswith("--kill") for arg in args):
            process.wait_end(20)
        return version

    def restart(self, process, *args, **more):
        """Restarts what a process was; the new one."""
        self.geist_ok("restart", process.pid, *args, **more)
        return self.adopt(process.pid, process.directory)

    def app_files(self, app, store=None):
        """Names of all files that an application has in the store."""
        try:
            return sorted(os.listdir(os.path.join(store or self.store, str(app))))
        except FileNotFoundError:
            return []

    def no_leftovers(self, app, store=None):
        """No uncommitted version may be there: nothing but files of versions with a global file,
        and the client's note of which process it is."""
        names = [name for name in self.app_files(app, store) if name != "instance"]
        committed = {m.group(1) for n in names if (m := re.fullmatch(r"global_v(\d+)\.bin", n))}
        for name in names:
            match = re.search(r"_v(\d+)\.(bin|txt)$", name)
            check(match and match.group(1) in committed, f"{name} was left behind in {names}")

    # The common course: an undisturbed run, then disturbed ones that must end the same.

    def undisturbed(self, argv, result="result"):
        """Runs a program to its end: result and seconds."""
        start = time.monotonic()
        process = self.start(argv, released=True)
        process.wait_end(120)
        seconds = time.monotonic() - start
        text = read(process.path(result), "rb")
        check(text is not None, f"undisturbed run: no {result}: {process.said()}")
        check(result != "result" or text.startswith(b"ok "), f"undisturbed run: {text!r}")
        self.note(f"undisturbed: {seconds:.2f} s, {text[:200]!r}")
        return text, seconds

    def random_moment(self, seconds):
        """Lets a random part of the given time pass."""
        moment = self.rng.uniform(0, seconds)
        self.note(f"moment: {moment:.3f} s")
        time.sleep(moment)

    def same_result(self, process, wanted, result="result", seconds=120):
        """The process must end with what the undisturbed run ended with."""
        release(process.directory)
        process.wait_end(seconds)
        text = read(process.path(result), "rb")
        check(text == wanted, f"ended with {(text or b'nothing')[:300]!r} ({process.said()}), "
                              f"undisturbed with {wanted[:300]!r}")
