# SPDX-License-Identifier: GPL-2.0
"""Disks that can be made to fail or to stall: the kernel's device mapper over a loop device, called
as <linux/dm-ioctl.h> says."""

import contextlib
import fcntl
import os
import struct
import subprocess

from harness import Skipped, check, wait_for

CONTROL = "/dev/mapper/control"
# version, data_size, data_start, target_count, open_count, flags, event_nr, padding, dev, name, uuid
IOCTL = struct.Struct("<3I I I I i I I I Q 128s 129s 7x")
TARGET = struct.Struct("<Q Q i I 16s")
BUFFER = 4096
CREATE, REMOVE, SUSPEND, LOAD = 3, 4, 6, 9
SUSPENDED = 1 << 1
WHEN_CLOSED = 1 << 17
# Neither freezes the file system nor waits for what is under way.
AT_ONCE = 1 << 10 | 1 << 11


def modules(*names):
    """Loads modules; a kernel that has the thing built in needs none."""
    for name in names:
        done = subprocess.run(["modprobe", "-q", name], capture_output=True, check=False)
        if done.returncode and not os.path.exists("/sys/kernel/debug/kmemleak"):
            raise Skipped(f"this kernel has no {name}")


class Disk:
    """A disk that is a file, through a table that can be changed while it is used."""

    def __init__(self, name, file, megabytes):
        self.name, self.sectors = name, megabytes << 20 >> 9
        with open(file, "wb") as image:
            image.truncate(megabytes << 20)
        done = subprocess.run(["losetup", "--find", "--show", file], capture_output=True, text=True,
                              check=True)
        self.loop = done.stdout.strip()
        self.control = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
        device = self.call(CREATE)
        self.path = f"/dev/dm-{device & 0xff | device >> 12 & 0xfff00}"
        self.table(("linear", 0, self.sectors))
        wait_for(lambda: os.path.exists(self.path), 10, self.path)

    def call(self, command, flags=0, targets=0, data=b""):
        """A call of the device mapper; the number of the device."""
        head = IOCTL.pack(4, 0, 0, BUFFER, IOCTL.size, targets, 0, flags, 0, 0, 0,
                          self.name.encode(), b"")
        buffer = bytearray((head + data).ljust(BUFFER, b"\0"))
        fcntl.ioctl(self.control, 3 << 30 | IOCTL.size << 16 | 0xfd << 8 | command, buffer)
        return IOCTL.unpack_from(buffer)[10]

    def table(self, *parts):
        """What the disk does from now on: (kind, first sector, sectors, other arguments)."""
        data = b""
        for kind, first, sectors, *more in parts:
            place = [] if kind == "error" else [self.loop, first]
            text = " ".join(map(str, place + more)).encode() + b"\0"
            text = text.ljust((len(text) + 7) // 8 * 8, b"\0")
            data += TARGET.pack(first, sectors, 0, TARGET.size + len(text), kind.encode()) + text
        self.call(LOAD, targets=len(parts), data=data)
        self.suspend()
        self.resume()

    def suspend(self):
        """Whatever is asked of it waits from now on."""
        self.call(SUSPEND, SUSPENDED | AT_ONCE)

    def resume(self):
        """Goes on, with the table that was loaded last."""
        self.call(SUSPEND)

    def close(self):
        """Removes it, as soon as nobody uses it."""
        self.call(REMOVE, WHEN_CLOSED)
        os.close(self.control)
        subprocess.run(["losetup", "--detach", self.loop], check=True)


@contextlib.contextmanager
def store_on_disk(t, megabytes=48):
    """A store on such a disk: its path, and the disk."""
    modules("loop", "dm-mod", "dm-flakey", "dm-delay")
    disk = Disk(f"geist-{os.getpid()}", os.path.join(t.directory, "disk"), megabytes)
    place = os.path.join(t.directory, "mnt")
    os.makedirs(place)
    try:
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-E", "packed_meta_blocks=1",
                        disk.path], check=True)
        subprocess.run(["mount", "-t", "ext4", "-o", "noatime", disk.path, place], check=True)
        try:
            yield place, disk
        finally:
            # Whoever still has a file of it open keeps it until then.
            subprocess.run(["umount", "-l", place], check=True)
    finally:
        disk.close()


def grow(directory):
    """Gives a directory room for many names, so that it needs no other block later."""
    names = [os.path.join(directory, f"{number:0200}") for number in range(200)]
    for name in names:
        with open(name, "w"):
            pass
    for name in names:
        os.unlink(name)
    subprocess.run(["sync", "--file-system", directory], check=True)


def split(disk):
    """The disk in ranges of sectors, in order: (whether nothing is there, first, sectors). What is
    there belongs to the file system itself, as long as there are no files: when the other ranges
    fail, only the content of files does."""
    done = subprocess.run(["dumpe2fs", disk.path], capture_output=True, text=True, check=True)
    free = [part.strip() for line in done.stdout.splitlines() if line.startswith("  Free blocks:")
            for part in line.split(":")[1].split(",") if part.strip()]
    check(free, "no block of the disk is free")
    ranges, end = [], 0
    for part in free:
        first, _, last = part.partition("-")
        first, last = int(first) * 8, (int(last or first) + 1) * 8
        ranges += [(False, end, first - end), (True, first, last - first)]
        end = last
    ranges.append((False, end, disk.sectors - end))
    return [one for one in ranges if one[2] > 0]
