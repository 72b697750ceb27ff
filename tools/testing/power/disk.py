#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A disk with a volatile write cache, for QEMU (as an NBD server): disk.py SOCKET IMAGE MEGABYTES SEED

What the guest wrote is on the disk for good once it asked for a flush (or marked the write so). When QEMU ends without
saying goodbye, the power was cut: of the writes since the last flush some reach the disk and some do not, some up
to a sector in their middle, as chosen by the seed. Then the next QEMU may come. Prints "ready" when it listens, and for
each cut how many writes had not been flushed, and how many of those were lost.
"""

import os
import random
import socket
import struct
import sys

SECTOR = 512
FLAGS = 1 | 4 | 8               # flags are there; flush and FUA are understood
READ, WRITE, GOODBYE, FLUSH = range(4)
OPTION_ABORT, OPTION_INFO, OPTION_GO = 2, 6, 7
ACK, INFO, UNSUPPORTED = 1, 3, 1 << 31 | 1
EINVAL = 22


class Disk:
    """What the guest sees, what is on the disk for good, and the writes in between."""

    def __init__(self, path, size, seed):
        self.size, self.random = size, random.Random(seed)
        self.seen, self.lasting = (os.open(path + ending, os.O_RDWR | os.O_CREAT, 0o600)
                                   for ending in (".seen", ""))
        for file in (self.seen, self.lasting):
            os.ftruncate(file, size)
        # Place, content, and whether it was asked for that this very write lasts.
        self.volatile = []

    def read(self, place, length):
        """What was written there last."""
        return os.pread(self.seen, length, place)

    def write(self, place, content, lasts):
        """A write is remembered; whether it lasts, a flush or a cut decides."""
        os.pwrite(self.seen, content, place)
        self.volatile.append((place, content, lasts))

    def flush(self):
        """All that was written lasts."""
        for place, content, _ in self.volatile:
            os.pwrite(self.lasting, content, place)
        self.volatile.clear()

    def cut(self):
        """The power goes: some writes since the last flush last, in their order, some do not. Says how it went."""
        share = self.random.choice((0, 0.1, 0.5, 0.9))
        lost = torn = 0
        for place, content, lasts in self.volatile:
            if not lasts and self.random.random() >= share:
                whole = len(content) // SECTOR
                if whole > 1 and self.random.random() < 0.1:
                    content = content[:self.random.randrange(1, whole) * SECTOR]
                    torn += 1
                else:
                    lost += 1
                    continue
            os.pwrite(self.lasting, content, place)
        for place, content, _ in self.volatile:
            os.pwrite(self.seen, os.pread(self.lasting, len(content), place), place)
        told = f"{len(self.volatile)} writes not flushed: {lost} lost, {torn} torn"
        self.volatile.clear()
        return told


class Gone(Exception):
    """The other side has ended."""


class Connection:
    """One QEMU."""

    def __init__(self, connection, disk):
        self.connection, self.disk = connection, disk

    def get(self, form):
        """Receives numbers."""
        return struct.unpack(form, self.bytes(struct.calcsize(form)))

    def bytes(self, length):
        """Receives that many bytes."""
        content = bytearray(length)
        view = memoryview(content)
        while view:
            count = self.connection.recv_into(view)
            if count == 0:
                raise Gone
            view = view[count:]
        return bytes(content)

    def put(self, form, *values, more=b""):
        """Sends numbers, and bytes behind them."""
        self.connection.sendall(struct.pack(form, *values) + more)

    def greet(self):
        """The handshake; whether the disk is asked for."""
        self.put(">8s8sH", b"NBDMAGIC", b"IHAVEOPT", 3)
        self.get(">I")
        while True:
            _, option, length = self.get(">8sII")
            self.bytes(length)
            if option in (OPTION_GO, OPTION_INFO):
                self.reply(option, INFO, struct.pack(">HQH", 0, self.disk.size, FLAGS))
                self.reply(option, ACK)
                if option == OPTION_GO:
                    return True
            elif option == OPTION_ABORT:
                self.reply(option, ACK)
                return False
            else:
                self.reply(option, UNSUPPORTED)

    def reply(self, option, kind, content=b""):
        """Answers an option."""
        self.put(">QIII", 0x3e889045565a9, option, kind, len(content), more=content)

    def serve(self):
        """Reads, writes and flushes, until the other side says goodbye."""
        while True:
            _, flags, command, handle, place, length = self.get(">IHHQQI")
            content = self.bytes(length) if command == WRITE else b""
            error, answer = 0, b""
            if command == GOODBYE:
                return
            if command in (READ, WRITE) and place + length > self.disk.size:
                error = EINVAL
            elif command == READ:
                answer = self.disk.read(place, length)
            elif command == WRITE:
                self.disk.write(place, content, bool(flags & 1))
            elif command == FLUSH:
                self.disk.flush()
            else:
                error = EINVAL
            self.put(">IIQ", 0x67446698, error, handle, more=answer)


def main():
    """Serves one QEMU after the other."""
    path, image, megabytes, seed = sys.argv[1:]
    disk = Disk(image, int(megabytes) << 20, seed)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                one = Connection(connection, disk)
                try:
                    if one.greet():
                        one.serve()
                        disk.flush()
                except (Gone, ConnectionError):
                    print(disk.cut(), flush=True)


if __name__ == "__main__":
    main()
