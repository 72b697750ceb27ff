# SPDX-License-Identifier: GPL-2.0
"""A process that sleeps in a system call comes back from it as if nothing had been."""

import fcntl
import os
import pty
import signal
import time

import judge
from context import Missed, program, state_of
from course import asleep, elapsed_seconds
from harness import check, read, test, wait_for

# These continue with what was left: the kernel knows their end as a time on a clock.
CONTINUED = ("nanosleep", "clock_nanosleep", "clock_nanosleep-realtime", "clock_nanosleep-boottime",
             "clock_nanosleep-until", "clock_nanosleep-until-realtime", "poll", "ppoll", "select",
             "pselect", "futex", "futex-shared", "futex-until")
# This begins anew with the whole time that its caller gave: allowed, if never too early.
ANEW = ("sigtimedwait",)
# Of them, those whose timeout is brought up to date where the program has it.
IN_MEMORY = ("ppoll", "select", "pselect")
# Goes on with a call that was interrupted.
RESTART_SYSCALL = "219"
SIGNALLED = ("pause", "sigsuspend", "sigwaitinfo", "poll-forever", "ppoll-mask", "futex-forever")

# How long they sleep; as parts of it, how old a sleep is at least when it is checkpointed (a moment
# between these two), and how much longer than it was away it may take: less than that age, so that
# beginning anew shows.
SECONDS, AGES, SLACK = 7, (0.42, 0.48), 0.4
MOMENTS = 3


def start_all(t, modes, seconds, stopped=False):
    """Starts a sleeper for each mode: the processes, and when each fell asleep at the latest."""
    processes, asleep_since = {}, {}
    for mode in modes:
        processes[mode] = process = t.start([program("sleeper"), "--out", "{dir}/result", "--ms",
                                             str(int(seconds * 1000)), "--stopped",
                                             str(int(stopped)), mode])
        asleep(process)
        asleep_since[mode] = time.monotonic()
    return processes, asleep_since


def expected(mode):
    """What a sleeper says when nothing happened."""
    errors = {"futex": 110, "futex-shared": 110, "futex-until": 110, "sigtimedwait": 11,
              "pause": 4, "sigsuspend": 4, "poll-forever": 4, "ppoll-mask": 4, "futex-forever": 11}
    error = errors.get(mode, 0)
    value = {"sigwaitinfo": 10, "tty": 6}.get(mode, -1 if error else 0)
    signals = 1 if mode in SIGNALLED and mode != "sigwaitinfo" else 0
    return f"ok sleeper {mode} returned {value}, errno {error}, signals {signals}\n"


def away(t, processes, asleep_since=None, age=0, *, stopped=False):
    """Checkpoints each when its sleep is old enough, kills and restarts it: how long it was away.
    What had ended before its checkpoint is not among the answers."""
    gone = {}
    for mode, process in processes.items():
        if asleep_since:
            time.sleep(max(0, asleep_since[mode] + age - time.monotonic()))
        start = time.monotonic()
        try:
            if stopped and process.alive():
                process.stop()
            t.checkpoint(process, "--kill")
        except Missed:
            continue
        processes[mode] = again = t.restart(process)
        if stopped:
            wait_for(lambda again=again: state_of(again.pid) == "T", 10, f"stop of {mode}")
            again.go_on()
        gone[mode] = time.monotonic() - start
    return gone


def timed(t, modes, continued, stopped):
    """The course for sleepers that end by themselves. On a slow machine some end before they are
    checkpointed: those sleep longer the next time."""
    wrong, seconds = [], SECONDS
    for _ in range(4):
        processes, since = start_all(t, modes, seconds, stopped)
        age = t.rng.uniform(*AGES)
        t.note(f"moment: {seconds * age:.2f} s of {seconds} s")
        gone = away(t, processes, since, seconds * age, stopped=stopped)
        for mode in gone:
            wrong += verdict(t, processes[mode], mode, seconds, gone[mode], continued)
        modes = [mode for mode in modes if mode not in gone]
        if not modes:
            break
        t.note(f"missed: {modes}")
        for mode in modes:
            processes[mode].kill()
        seconds *= 2
    check(not modes, f"ended before they could be checkpointed: {modes}")
    check(not wrong, "\n".join(wrong))


def verdict(t, process, mode, seconds, gone, continued):
    """What is wrong with the way a sleep ended: sentences."""
    text = process.result(4 * seconds)
    if text != expected(mode):
        return [f"{mode}: {text.strip()}"]
    took = elapsed_seconds(process)
    most = seconds + gone + seconds * SLACK
    t.note(f"{mode}: {took:.2f} s, away {gone:.2f} s, at most {most:.2f} s")
    if took < seconds:
        return [f"{mode}: too early, {took:.3f} s of {seconds} s"]
    if continued and took > most:
        return [f"{mode}: {took:.2f} s, away {gone:.2f} s, of {seconds} s: too long"]
    return []


def groups(modes, size):
    """Lists of at most so many."""
    return [modes[i:i + size] for i in range(0, len(modes), size)]


@test("sleeps with a timeout continue", timeout=300)
def continued_sleeps(t):
    """nanosleep, clock_nanosleep, poll, ppoll, select, pselect and futex with a timeout: value and errno as in an
    undisturbed run, never too early, and only as much longer as the process was away."""
    for _ in range(MOMENTS):
        for modes in groups(CONTINUED, 5):
            timed(t, modes, True, False)


@test("a wait that begins anew ends as always", timeout=120)
def other_sleeps(t):
    """sigtimedwait, which has no other way, ends with its timeout's result, not too early."""
    for _ in range(MOMENTS):
        timed(t, ANEW, False, False)


@test("stopped while asleep", timeout=150)
def stopped_sleeps(t):
    """Stopped by SIGSTOP inside the call, checkpointed, killed, restarted: it comes back stopped,
    and after SIGCONT goes on with the call."""
    timed(t, ("nanosleep", "poll", "futex", "clock_nanosleep-until"), False, True)


@test("waits for a signal go on waiting", timeout=120)
def signalled(t):
    """pause, sigsuspend, sigwaitinfo, poll, ppoll and futex without an end are still asleep after
    the restart, and end by a signal with the right value and signal mask."""
    for modes in groups(SIGNALLED, 3):
        processes, _ = start_all(t, modes, 1)
        before = {mode: syscall_of(process.pid) for mode, process in processes.items()}
        away(t, processes)
        for mode, process in processes.items():
            asleep(process)
            check(read(process.path("result")) is None, f"{mode} did not go on sleeping")
            check(syscall_of(process.pid) == before[mode],
                  f"{mode}: was in {before[mode]}, is in {syscall_of(process.pid)}")
            process.signal(signal.SIGUSR1)
        for mode, process in processes.items():
            check(process.result() == expected(mode), f"{mode}: {process.said()}")


@test("sleepers equal the versions they came from", timeout=150)
def judged(t):
    """Restarted with --stopped, each sleeper equals its version in memory, registers, signals and
    files; so do its restarts of restarts, three of them. Then it goes on sleeping in the same call.
    Not those that find what is left of their time in memory: the kernel writes it there."""
    modes_to_judge = [mode for mode in CONTINUED + ANEW + SIGNALLED if mode not in IN_MEMORY]
    for modes in groups(modes_to_judge, 6):
        processes, _ = start_all(t, modes, 1000)
        for mode, process in processes.items():
            before = syscall_of(process.pid).split()[0]
            for _ in range(3):
                version = t.checkpoint(process, "--kill")
                process = t.restart(process, "--version", version, "--stopped")
                judge.equal(t, process, version)
            process.go_on()
            wait_for(lambda pid=process.pid, call=before: asleep_in(pid) in (call, RESTART_SYSCALL), 20,
                     f"{mode}: sleep in system call {before} (is in {syscall_of(process.pid)})")
            process.kill()


def asleep_in(pid):
    """The number of the system call a process sleeps in; None while it runs."""
    return syscall_of(pid).split()[0] if state_of(pid) == "S" else None


def syscall_of(pid):
    """The system call a process sleeps in: its number, arguments, stack and address."""
    return read(f"/proc/{pid}/syscall")


@test("waits for a file lock go on waiting", timeout=60)
def locks(t):
    """A process that waits for a lock of another one still waits after its restart, and gets the
    lock when it is released."""
    path = os.path.join(t.directory, "lock")
    for mode, operate in (("setlkw", fcntl.lockf), ("flock", fcntl.flock)):
        with open(path, "w") as holder:
            operate(holder, fcntl.LOCK_EX)
            process = t.start([program("sleeper"), "--out", "{dir}/result", mode, path])
            processes = {mode: process}
            asleep(process)
            away(t, processes)
            asleep(processes[mode])
            check(read(process.path("result")) is None, f"{mode} got a lock that is taken")
            operate(holder, fcntl.LOCK_UN)
            text = processes[mode].result()
            check(text == expected(mode), text)


@test("a read of a terminal goes on", timeout=60)
def terminal(t):
    """A process that reads from a terminal is restarted on the same terminal and reads the line
    that is typed then."""
    for _ in range(MOMENTS):
        read_of_terminal(t)


def read_of_terminal(t):
    """Once, at a random moment."""
    master, slave = pty.openpty()
    process = t.start([program("sleeper"), "--out", "{dir}/result", "tty"], stdin=os.ttyname(slave))
    asleep(process)
    t.random_moment(0.3)
    processes = {"tty": process}
    away(t, processes)
    asleep(processes["tty"])
    os.write(master, b"hello\n")
    text = processes["tty"].result()
    check(text == expected("tty"), text)
    os.close(master)
    os.close(slave)
