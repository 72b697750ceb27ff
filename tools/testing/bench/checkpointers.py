# SPDX-License-Identifier: GPL-2.0
"""The two that are compared, geist and criu, called the same way: a command for each checkpoint."""

import json
import os
import shutil
import struct
import subprocess
import time

from context import GEIST
from harness import Failed, check


def run(command):
    """Runs a command; its output and how long it took, in microseconds."""
    start = time.monotonic_ns()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    took = (time.monotonic_ns() - start) // 1000
    if done.returncode:
        raise Failed(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout, took


def size_of(paths):
    """Bytes of files."""
    return sum(os.path.getsize(path) for path in paths)


class Geist:
    """geist, with a store of its own."""

    def __init__(self, directory):
        self.store = os.path.join(directory, "geist")
        shutil.rmtree(self.store, ignore_errors=True)
        os.makedirs(self.store, mode=0o700)

    def command(self, *args):
        """Calls the client."""
        return run([GEIST, "--store", self.store, *map(str, args)])

    def take(self, pid, *args):
        """One version."""
        output, took = self.command("checkpoint", pid, "--durability", "none", "--json", *args)
        version = json.loads(output)
        folder, ending = os.path.join(self.store, str(pid)), f"_v{version['version']}."
        version["bytes_on_disk"] = size_of(os.path.join(folder, name) for name in os.listdir(folder)
                                           if ending in name)
        version["command_us"] = took
        return version


class Criu:
    """criu, with its images in a directory each."""

    def __init__(self, directory):
        self.images = os.path.join(directory, "criu")
        shutil.rmtree(self.images, ignore_errors=True)
        self.count = 0

    @staticmethod
    def version():
        """Which criu this is."""
        return run(["criu", "--version"])[0].split()[1]

    def take(self, pid):
        """One dump, which leaves the program running; an increment from the second on."""
        self.count += 1
        folder = os.path.join(self.images, str(self.count))
        os.makedirs(folder)
        command = ["criu", "dump", "--tree", str(pid), "--images-dir", folder, "--track-mem", "--leave-running",
                   "--log-file", "log", "-v1"]
        if self.count > 1:
            command += ["--prev-images-dir", f"../{self.count - 1}"]
        took = run(command)[1]
        stats = dump_statistics(os.path.join(folder, "stats-dump"))
        images = [os.path.join(folder, name) for name in os.listdir(folder)
                  if name.endswith(".img") and not os.path.islink(os.path.join(folder, name))]
        # The images before the last one are not read again by the next dump, but for what says where pages lie.
        if self.count > 2:
            for name in os.listdir(os.path.join(self.images, str(self.count - 2))):
                if name.startswith("pages-"):
                    os.remove(os.path.join(self.images, str(self.count - 2), name))
        return {
            "pause_us": stats[2], "freezing_us": stats[1], "memdump_us": stats[3], "memwrite_us": stats[4],
            "pages": stats[7], "bytes_on_disk": size_of(images), "command_us": took,
        }


def dump_statistics(path):
    """The numbers of criu's stats-dump by the numbers of their fields: two magic words, a length, and a message of
    protocol buffers that holds another one as its field 1."""
    with open(path, "rb") as file:
        content = file.read()
    length, = struct.unpack_from("<I", content, 8)
    outer = fields(content[12:12 + length])
    check(isinstance(outer.get(1), bytes), f"{path} holds no statistics of a dump")
    return fields(outer[1])


def fields(message):
    """Fields of a message: numbers and byte strings."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 0:
            found[key >> 3] = number()
        elif key & 7 == 2:
            length = number()
            found[key >> 3] = message[at:at + length]
            at += length
        else:
            raise Failed(f"a field of kind {key & 7}, which criu's statistics do not have")
    return found
