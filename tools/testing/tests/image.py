# SPDX-License-Identifier: GPL-2.0
"""Reads and rewrites the files of a version, with all checksums right again: for forging images.

Knows the frame of the files and the first structures of records, nothing of the client or module.
"""

import contextlib
import os
import stat
import struct

MAGIC = b"geist\r\n\x1a"
HEADER = struct.Struct("<8sIIIIQII20sI")
TRAILER = struct.Struct("<QII")
TRAILER_MAGIC = int.from_bytes(b"tsig", "little")
MANIFEST = struct.Struct("<IIQII")
GLOBAL_BYTES = 144
PAGE = 4096
INDEX_ENTRIES = 255

# Kinds of file, as in headers and manifests.
GLOBAL, NODE, TASK, TASK_MM, CONTROL, DESCRIPTION = range(1, 7)

# Tags of records.
TAGS = {"process": 1, "creds": 2, "rlimits": 3, "handlers": 4, "pending": 5, "itimers": 6,
        "thread": 32, "registers": 33, "xstate": 34, "scheduling": 35, "restart": 36, "object": 64,
        "descriptor": 65, "lock": 66, "left out": 67, "cwd": 68, "root": 69, "memfd": 70, "mm": 96,
        "vma": 97, "guard": 98, "end": 0xffff}


def _table():
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC = _table()


def crc32c(data, crc=0xffffffff):
    """A running CRC32C, not inverted at the end."""
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xff] ^ crc >> 8
    return crc


class Record:
    """A record of a task file."""

    def __init__(self, tag, payload):
        self.tag, self.payload = tag, bytearray(payload)

    def get(self, form, offset):
        """A field."""
        return struct.unpack_from("<" + form, self.payload, offset)[0]

    def put(self, form, offset, value):
        """Sets a field; integers wrap around."""
        size = struct.calcsize(form)
        value &= (1 << 8 * size) - 1
        self.payload[offset:offset + size] = value.to_bytes(size, "little")


def parse_records(body):
    """The records of a task file's body, the end record left out."""
    records, at = [], 0
    while at < len(body):
        tag, length = struct.unpack_from("<II", body, at)
        if tag == TAGS["end"]:
            break
        records.append(Record(tag, body[at + 8:at + 8 + length]))
        at += 8 + (length + 7) // 8 * 8
    return records


def build_records(records, count=None):
    """The body of a task file."""
    parts = []
    for record in records:
        pad = -len(record.payload) % 8
        parts += [struct.pack("<II", record.tag, len(record.payload)), bytes(record.payload),
                  bytes(pad)]
    parts.append(struct.pack("<IIQ", TAGS["end"], 8, len(records) if count is None else count))
    return b"".join(parts)


@contextlib.contextmanager
def replaced_by(path, make):
    """Something else is in the place of a file: what make(path) makes there."""
    os.rename(path, path + ".real")
    make(path)
    try:
        yield
    finally:
        remove(path)
        os.rename(path + ".real", path)


def remove(path):
    """Removes what is there, a directory or anything else."""
    (os.rmdir if stat.S_ISDIR(os.lstat(path).st_mode) else os.unlink)(path)


class Version:
    """The files of a version in a store, kept in memory as they were."""

    def __init__(self, store, app, version):
        self.directory = os.path.join(store, str(app))
        self.app, self.version = app, version
        ends = (f"_v{version}.bin", f"_v{version}.txt")
        self.original = {}
        for name in sorted(os.listdir(self.directory)):
            if name.endswith(ends):
                with open(os.path.join(self.directory, name), "rb") as file:
                    self.original[name] = file.read()
        self.global_name = f"global_v{version}.bin"
        self.task_name = f"task_{app}_v{version}.bin"
        self.task_mm_name = f"task_mm_{app}_v{version}.bin"
        self.control_name = f"control_{app}_v{version}.bin"

    def write(self, name, content):
        """Replaces a file's content in the store."""
        with open(os.path.join(self.directory, name), "r+b") as file:
            file.write(content)
            file.truncate(len(content))

    def put_back(self, name):
        """A file as it was."""
        self.write(name, self.original[name])

    def put_all_back(self):
        """All files as they were."""
        for name in self.original:
            self.put_back(name)

    def body(self, name):
        """What is between header and trailer."""
        return self.original[name][HEADER.size:-TRAILER.size]

    def records(self):
        """The records of the task file."""
        return parse_records(self.body(self.task_name))

    def write_body(self, name, body):
        """Replaces the body of a file with header and trailer: its size and checksum."""
        crc = crc32c(body)
        content = (self.original[name][:HEADER.size] + body
                   + TRAILER.pack(len(body), crc, TRAILER_MAGIC))
        self.write(name, content)
        return len(content), crc

    def forge(self, kind, name, body):
        """The same, and makes the manifest fit."""
        self.fit_manifest(kind, *self.write_body(name, body))

    def forge_records(self, records, count=None):
        """Replaces the task file by one of these records."""
        self.forge(TASK, self.task_name, build_records(records, count))

    def fit_manifest(self, kind, size, crc):
        """Sets size and checksum of a file in the global file."""
        body = bytearray(self.body(self.global_name))
        for at in range(GLOBAL_BYTES, len(body), MANIFEST.size):
            found, pid, _, _, reserved = MANIFEST.unpack_from(body, at)
            if found == kind:
                MANIFEST.pack_into(body, at, found, pid, size, crc, reserved)
        self.write_body(self.global_name, bytes(body))

    def forge_index(self, change):
        """Changes the indexes of the task_mm file: change(block, entries) on lists of pairs."""
        content = bytearray(self.original[self.task_mm_name])
        at, block, running = PAGE, 0, 0xffffffff
        while at + PAGE <= len(content):
            entries = [list(pair) for pair in struct.iter_unpack("<QQ", content[at:at + 4080])]
            count = next((i for i, (address, _) in enumerate(entries) if address == 0),
                         INDEX_ENTRIES)
            change(block, entries)
            index = b"".join(struct.pack("<QQ", *pair) for pair in entries)
            index += struct.pack("<QI", block, 0)
            content[at:at + PAGE] = index + struct.pack("<I", crc32c(index))
            running = crc32c(content[at:at + PAGE], running)
            at += PAGE * (1 + count)
            block += 1
            if count < INDEX_ENTRIES:
                break
        self.write(self.task_mm_name, bytes(content))
        self.fit_manifest(TASK_MM, len(content), running)
