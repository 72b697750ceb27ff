# SPDX-License-Identifier: GPL-2.0
"""One version restarted twice: what must not be the same, and how a program gets to know of it."""

import json
import os
import sys

from context import state_of
from harness import check, read, test

# Draws from every generator once told to; seeds its own anew when it gets SIGUSR1.
DRAWER = """
import ctypes, json, os, random, signal, time
libc = ctypes.CDLL(None)
libc.arc4random.restype = ctypes.c_uint32
told = []
def tell(*_):
    told.append(1)
    random.seed(os.urandom(16))
signal.signal(signal.SIGUSR1, tell)
def generation():
    with open("/sys/kernel/geist/generation") as file:
        return file.read()
random.seed(7)
libc.arc4random()
before = generation()
with open("result.ready", "w") as file:
    file.write("1")
while not os.path.exists("go"):
    time.sleep(0.01)
drawn = {
    "arc4random": [libc.arc4random() for _ in range(1000)],
    "getrandom": [os.getrandom(4).hex() for _ in range(1000)],
    "its own": [random.getrandbits(32) for _ in range(1000)],
    "told": len(told), "before": before, "after": generation(),
}
with open("result.new", "w") as file:
    json.dump(drawn, file)
os.rename("result.new", "result")
"""


def drawn(t, process, *options):
    """What it draws after a restart."""
    for name in ("go", "result"):
        if os.path.exists(process.path(name)):
            os.unlink(process.path(name))
    again = t.restart(process, *options)
    return json.loads(again.result())


@test("two restarts of one version draw different numbers", timeout=90)
def different(t):
    """The kernel's and glibc's generators give other numbers each time, though glibc keeps a state in
    the program. The program's own gives the same ones, as documented, unless it is told of the
    restart: by a hook that sends it a signal before its first instruction, or by the generation."""
    script = t.script("drawer.py", DRAWER)
    process = t.start([sys.executable, script])
    process.wait_ready()
    t.checkpoint(process, "--kill")
    first, second = drawn(t, process), drawn(t, process)
    hooked = drawn(t, process, "--hook", "kill -USR1 $GEIST_PID")
    for name in ("arc4random", "getrandom"):
        same = set(map(str, first[name])) & set(map(str, second[name]))
        check(len(same) < 10, f"{name}: {len(same)} of 1,000 numbers came twice")
    check(first["its own"] == second["its own"], "its memory is not what it was")
    check(hooked["its own"] != first["its own"], "it was told, and drew the same")
    check([one["told"] for one in (first, second, hooked)] == [0, 0, 1], "told of some restart")
    generations = {first["before"], *(one["after"] for one in (first, second, hooked))}
    check(len(generations) == 4, f"generations: {generations}")
    check(all(one["before"] == first["before"] for one in (second, hooked)), "another version")


@test("a hook of a restart", timeout=60)
def hook(t):
    """It runs with sh, before the first instruction, and knows which process it is for. Where it
    fails there is no process, and the message says why; the next restart works."""
    process = t.start_program("statics-static", "--rounds", "1000000")
    version = t.checkpoint(process, "--kill")
    seen = os.path.join(t.directory, "seen")
    script = (f'echo "$GEIST_APP $GEIST_VERSION $GEIST_PID $(cut -d " " -f 3 /proc/$GEIST_PID/stat)"'
              f" > {seen}; ")
    t.geist_refuses("the hook .* failed: exit status: 3", "restart", process.pid, "--hook",
                    script + "exit 3")
    check(read(seen) == f"{process.pid} {version} {process.pid} T\n", f"it saw {read(seen)!r}")
    check(state_of(process.pid) is None, "the process was left")
    t.geist_refuses("failed", "restart", process.pid, "--hook", "kill -KILL $GEIST_PID; exit 1")
    again = t.restart(process, "--hook", script)
    again.wait_progress()
    again.kill()
    stopped = t.restart(process, "--hook", "true", "--stopped")
    check(state_of(stopped.pid) == "T", "it does not stay stopped")
    stopped.go_on()
    stopped.wait_progress()
    stopped.kill()
