# SPDX-License-Identifier: GPL-2.0
"""Measures geist against criu, as root, on a machine with the module loaded: python3 tools/testing/bench.

Writes all that was measured to OUT/bench.json and a table to OUT/bench.txt, which is also printed. The exit status
says whether it could be measured, not what came out.
"""

import argparse
import contextlib
import datetime
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "tests")]
sys.dont_write_bytecode = True

import measure  # noqa: E402
from checkpointers import Criu, run  # noqa: E402
from context import GEIST  # noqa: E402
from harness import Failed, read  # noqa: E402
from report import report  # noqa: E402


def environment():
    """Where it is measured."""
    cpu = next(line.partition(": ")[2] for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name"))
    memory = int(read("/proc/meminfo").split()[1])
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "kernel": os.uname().release,
        "accel": "tcg" if "TCG" in cpu else "kvm or hardware",
        # What scripts/vm made of it: under emulation it may count instructions.
        "clock": "instructions" if "geist.clock=instructions" in read("/proc/cmdline").split() else "host",
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "memory_mb": memory // 1024,
        "criu": Criu.version(),
        "geist": run([GEIST, "--version"])[0].split()[-1],
    }


@contextlib.contextmanager
def memory_file_system():
    """A directory in main memory for everything that is written."""
    directory = "/run/geist-bench"
    os.makedirs(directory, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90%", "geist-bench", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def main():
    """Measures, and writes it down."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default=".", help="where bench.json and bench.txt go (the current directory)")
    parser.add_argument("--rounds", type=int, default=7, help="increments of each kind that are measured (7)")
    parser.add_argument("--part", action="append", choices=measure.PARTS, help="measure this only (may be repeated)")
    parser.add_argument("--huge-pages", choices=measure.SETTINGS, help="measure with this setting only")
    wanted = parser.parse_args()
    settings = [wanted.huge_pages] if wanted.huge_pages else measure.SETTINGS
    # criu asks for it, and the kernel does not load it by itself.
    subprocess.run(["modprobe", "-q", "tun"], check=False)

    def say(text):
        print(f"bench: {text}", file=sys.stderr, flush=True)

    try:
        found = {"environment": environment()}
        with memory_file_system() as directory:
            found.update(measure.everything(directory, max(1, wanted.rounds), wanted.part or measure.PARTS,
                                            settings, say))
    except Failed as reason:
        say(f"could not be measured: {reason}")
        return 1
    table = report(found)
    for name, text in (("bench.json", json.dumps(found, indent=1) + "\n"), ("bench.txt", table)):
        with open(os.path.join(wanted.out, name), "w") as file:
            file.write(text)
    print(table, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
