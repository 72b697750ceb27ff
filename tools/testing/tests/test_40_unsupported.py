# SPDX-License-Identifier: GPL-2.0
"""What geist does not keep is refused by name when the checkpoint is asked for, never later."""

import subprocess

from context import program
from course import default_begun
from harness import Failed, Skipped, check, read, test


def modes():
    """Name, pattern of the sentence, whether it is a descriptor: as the program lists them."""
    listed = subprocess.run([program("unsupported"), "--list", "1"], capture_output=True, text=True,
                            check=True).stdout
    return [(name, says, kind == "file")
            for name, says, kind in (line.split("\t") for line in listed.splitlines())]


def start(t, name):
    """Starts the program with one unsupported thing; None when this kernel does not have it."""
    process = t.start([program("unsupported"), "--out", "{dir}/result", "--hold", "{dir}/go",
                       "--rounds", "50", name, "{dir}"])
    try:
        default_begun(process)
    except Failed:
        if process.child.wait() == 3:
            return None
        raise
    return process


def refused(t, name, says, is_file):
    """One thing: refused by name, nothing left in the store, the program runs on to its end."""
    process = start(t, name)
    if process is None:
        return False
    fd = int(process.wait_file("result.fd"))
    where = rf"fd {fd} .*" if is_file else ".*"
    pattern = rf"pid {process.pid}:? {where}({says})"
    t.geist_refuses(pattern, "checkpoint", process.pid, "--json")
    if not is_file:
        t.geist_refuses(pattern, "checkpoint", process.pid, "--ignore-unsupported-files")
    t.no_leftovers(process.pid)
    check(process.alive(), f"{name}: the refusal ended the program")
    text = process.result()
    check(f"ok unsupported {name}, descriptor there" in text, f"{name}: {text}")
    return True


@test("what is not supported is refused by name", timeout=240)
def by_name(t):
    """Threads, children, sockets, pipes, event descriptors, deleted files, timers, System V memory,
    io_uring and the rest: each is named with its pid (and descriptor), leaves nothing in the store,
    and the program runs on untouched."""
    lacking, wrong = [], []
    for name, says, is_file in modes():
        try:
            if not refused(t, name, says, is_file):
                lacking.append(name)
        except Failed as reason:
            wrong.append(f"{name}: {reason}")
    t.note(f"not on this kernel: {lacking}")
    check(not wrong, "\n".join(wrong))
    check(len(lacking) < 8, f"this kernel lacks too much: {lacking}")


@test("unsupported files are left out when asked", timeout=240)
def left_out(t):
    """With --ignore-unsupported-files the checkpoint is taken, its description lists what was left
    out, and after the restart that descriptor is closed while the program goes on."""
    wrong = []
    names = [name for name, _, is_file in modes() if is_file]
    for name in t.rng.sample(names, t.rounds(len(names), 8)):
        try:
            leave_out(t, name)
        except Failed as reason:
            wrong.append(f"{name}: {reason}")
    check(not wrong, "\n".join(wrong))


def leave_out(t, name):
    """One kind of descriptor."""
    process = start(t, name)
    if process is None:
        return
    fd = int(process.wait_file("result.fd"))
    version = t.checkpoint(process, "--ignore-unsupported-files", "--kill")
    description = read(f"{t.store}/{process.pid}/description_v{version}.txt")
    check(f"fd {fd}" in description, f"{name}: not in the description: {description!r}")
    again = t.restart(process)
    text = again.result()
    check(f"ok unsupported {name}, descriptor gone" in text, f"{name}: {text}")


@test("a descriptor to a deleted file", timeout=60)
def deleted(t):
    """The sentence about a deleted file says its name, and the same program without it is taken."""
    process = start(t, "deleted")
    if process is None:
        raise Skipped("no deleted files")
    answer = t.geist_refuses("deleted", "checkpoint", process.pid)
    check("/deleted" in answer.err, f"the name is missing: {answer.err!r}")
    process.result()
