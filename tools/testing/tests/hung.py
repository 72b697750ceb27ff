# SPDX-License-Identifier: GPL-2.0
"""A file system whose server does not answer: FUSE, spoken directly (see <linux/fuse.h>)."""

import contextlib
import os
import stat
import struct
import subprocess
import threading

from harness import Skipped, check
from snapshot import LIBC

IN = struct.Struct("<IIQQIIIHH")
OUT = struct.Struct("<IiQ")
ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
LOOKUP, FORGET, GETATTR, OPEN, READ, FLUSH, INIT = 1, 2, 3, 14, 15, 25, 26
DIRECT_IO = 1
ENOSYS = 38


def attributes(node):
    """The root directory, or the only file."""
    kind = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o644
    return ATTR.pack(node, 8, 1, 0, 0, 0, 0, 0, 0, kind, 1, 0, 0, 0, 4096, 0)


class Server:
    """Answers everything but reads of the file, which it keeps; nothing at all once it hangs. No
    attribute may be kept by the kernel, so that whoever wants one has to ask."""

    def __init__(self, fd):
        self.fd = fd
        self.hangs = False
        self.kept = []
        self.reading = threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        """Until the file system is gone."""
        while True:
            try:
                request = os.read(self.fd, 1 << 17)
            except OSError:
                return
            _, opcode, unique, node, *_ = IN.unpack_from(request)
            if opcode == READ:
                self.kept.append(unique)
                self.reading.set()
            elif opcode != FORGET and not self.hangs:
                self.answer(unique, *self.content(opcode, node))

    @staticmethod
    def content(opcode, node):
        """The errno and the rest of an answer."""
        if opcode == INIT:
            return 0, struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0)
        if opcode == LOOKUP:
            return 0, struct.pack("<QQQQII", 2, 0, 0, 0, 0, 0) + attributes(2)
        if opcode == GETATTR:
            return 0, struct.pack("<QII", 0, 0, 0) + attributes(node)
        if opcode == OPEN:
            return 0, struct.pack("<QII", 0, DIRECT_IO, 0)
        return (0, b"") if opcode == FLUSH else (ENOSYS, b"")

    def answer(self, unique, error, content):
        """Sends one; nobody may want it any more."""
        with contextlib.suppress(OSError):
            os.write(self.fd, OUT.pack(OUT.size + len(content), -error, unique) + content)

    def give(self, content):
        """Answers the reads that were kept, and whatever comes from now on."""
        self.hangs = False
        while self.kept:
            self.answer(self.kept.pop(), 0, content)


@contextlib.contextmanager
def file_system(t):
    """Its only file, and its server."""
    if not os.path.exists("/dev/fuse"):
        raise Skipped("this kernel has no FUSE")
    place = os.path.join(t.directory, "fuse")
    os.makedirs(place)
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other"
    done = LIBC.mount(b"hung", place.encode(), b"fuse", 0, options.encode())
    check(done == 0, "no FUSE file system can be mounted")
    try:
        yield os.path.join(place, "file"), Server(fd)
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        os.close(fd)
