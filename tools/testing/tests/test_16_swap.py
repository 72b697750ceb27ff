# SPDX-License-Identifier: GPL-2.0
"""Pages that are not in memory at the checkpoint."""

import contextlib
import ctypes
import os
import re
import subprocess

import snapshot
from context import program, state_of
from harness import Failed, Skipped, check, read, test, wait_for

SYS_PROCESS_MADVISE = 440
MADV_PAGEOUT = 21


@contextlib.contextmanager
def swap(t):
    """A swap file."""
    path = os.path.join(t.directory, "swap")
    with open(path, "wb") as file:
        for _ in range(32):
            file.write(bytes(1 << 20))
    os.chmod(path, 0o600)
    subprocess.run(["mkswap", path], check=True, capture_output=True)
    done = subprocess.run(["swapon", path], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(f"no swap here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["swapoff", path], check=True)


def swapped(pid):
    """Kilobytes of a process that are in swap."""
    return int(re.search(r"Swap:\s*(\d+)", read(f"/proc/{pid}/smaps_rollup")).group(1))


def page_out(process):
    """Asks the kernel to write the process's private memory to swap."""
    ranges = [m for m in snapshot.mappings(process.pid) if "rw-p" in m.text and m.readable()]
    for mapping in ranges:
        vector = snapshot.Iovec(mapping.start, mapping.end - mapping.start)
        # Refused for some mappings (locked, special): those stay.
        snapshot.LIBC.syscall(SYS_PROCESS_MADVISE, process.pidfd, ctypes.byref(vector), 1,
                              MADV_PAGEOUT, 0)
    if not swapped(process.pid):
        raise Failed("nothing went into swap")


@test("pages in swap", timeout=150, alone=True)
def in_swap(t):
    """Stopped, its memory written to swap, checkpointed there: all pages have their content after
    the restart, and the same process goes on from swap after a checkpoint as well."""
    with swap(t):
        argv = [program("maw"), "--out", "{dir}/result", "--hold", "{dir}/go",
                "--mb", "8", "--rounds", "60", "--tick-ms", "30"]
        wanted, _ = t.undisturbed(argv)
        for flags in (["--kill"], []):
            process = t.start(argv)
            process.wait_ready()
            process.stop()
            page_out(process)
            out = swapped(process.pid)
            t.note(f"{out} kB in swap")
            check(out > 4096, f"only {out} kB went into swap")
            t.checkpoint(process, *flags)
            if not flags:
                process.go_on()
                t.same_result(process, wanted)
                os.unlink(process.path("result"))
            process = t.restart(process)
            process.go_on()
            t.same_result(process, wanted)


@test("every kind of mapping, paged out", timeout=150, alone=True)
def mappings_in_swap(t):
    """Shared memory, memory files and private pages of files in swap, too."""
    with swap(t):
        argv = [program("mappings"), "--out", "{dir}/result", "--hold", "{dir}/go",
                "--rounds", "30", "{dir}"]
        wanted, _ = t.undisturbed(argv)
        process = t.start(argv)
        process.wait_ready()
        process.stop()
        page_out(process)
        t.checkpoint(process, "--kill")
        again = t.restart(process)
        wait_for(lambda: state_of(again.pid) == "T", 10, "stop")
        again.go_on()
        t.same_result(again, wanted)
