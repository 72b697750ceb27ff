# SPDX-License-Identifier: GPL-2.0
"""Whole checkpoints, changed by what is known of their structure, with all checksums right: the
module refuses them, or a harmless process comes of them. And stores that change under a restart."""

import collections
import os
import random
import stat
import struct
import time

import snapshot
from context import program, state_of
from device import Device, Refused
from harness import check, read, test, wait_for, write
from image import (CONTROL, GLOBAL_BYTES, MANIFEST, NODE, TAGS, Version, remove, replaced_by)
from test_65_forged import HUGE, KERNEL, NOT_CANONICAL, REGS, TOP, try_restart

VALUES = (0, 1, 2, 0xff, 0xfff, 0x1000, 0x1001, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 46, TOP,
          TOP - 4096, NOT_CANONICAL, KERNEL, 0xffffffff81000000, 1 << 63, HUGE - 4095, HUGE)
SELECTORS = (0, 3, 0x08, 0x10, 0x1b, 0x23, 0x28, 0x2b, 0x33, 0x63, 0x7b, 0xffff)


class Forger:
    """Changes a version in one way."""

    def __init__(self, rng, version):
        self.rng, self.version = rng, version

    def value(self):
        """A number that may hurt."""
        return self.rng.choice((*VALUES, self.rng.getrandbits(64), self.rng.getrandbits(16)))

    def in_bytes(self, content, limit=1 << 20):
        """Sets a number at an aligned place."""
        form = self.rng.choice("BIQQ")
        size = struct.calcsize(form)
        if len(content) < size:
            return "nothing"
        at = self.rng.randrange(min(len(content), limit) // size) * size
        value = self.value() & (1 << 8 * size) - 1
        content[at:at + size] = value.to_bytes(size, "little")
        return f"{form}@{at}={value:#x}"

    def records(self):
        """Values of up to three records."""
        records = self.version.records()
        said = []
        for _ in range(self.rng.randint(1, 3)):
            record = self.rng.choice(records)
            said.append(f"tag {record.tag}: {self.in_bytes(record.payload, 600)}")
        return records, said

    def order(self):
        """Records lacking, doubled, moved, cut, or with a tail that is too long."""
        records = self.version.records()
        at = self.rng.randrange(len(records))
        what = self.rng.choice(("lacks", "twice", "moved", "cut", "longer", "tag"))
        one = records[at]
        if what == "lacks":
            del records[at]
        elif what == "twice":
            records.insert(self.rng.randrange(len(records)), one)
        elif what == "moved":
            records.insert(self.rng.randrange(len(records)), records.pop(at))
        elif what == "cut":
            del one.payload[self.rng.randrange(len(one.payload) + 1):]
        elif what == "longer":
            one.payload += self.rng.randbytes(self.rng.choice((1, 7, 8, 4096, 70000)))
        else:
            one.tag = self.rng.choice((*TAGS.values(), self.rng.getrandbits(32)))
        return records, [f"record {at} (tag {one.tag}) {what}"]

    def mappings(self):
        """Mappings that overlap, grow, wrap around, or show another file."""
        records = self.version.records()
        found = [record for record in records if record.tag == TAGS["vma"]]
        one, other = self.rng.choice(found), self.rng.choice(found)
        what = self.rng.choice(("overlaps", "grows", "moves", "flags", "shows"))
        if what == "overlaps":
            one.put("Q", 0, other.get("Q", 0) + self.rng.choice((0, 4096, -4096)))
            one.put("Q", 8, other.get("Q", 8) + self.rng.choice((0, 4096, 1 << 30)))
        elif what == "grows":
            one.put("Q", 8, self.value())
        elif what == "moves":
            start = self.value() & ~0xfff
            one.put("Q", 8, start + one.get("Q", 8) - one.get("Q", 0))
            one.put("Q", 0, start)
        elif what == "flags":
            one.put("Q", 16, one.get("Q", 16) ^ 1 << self.rng.randrange(64))
        else:
            one.put("I", 32, self.rng.randrange(8))
            one.put("I", 36, self.rng.randrange(16))
        return records, [f"mapping {what}: " + " ".join(hex(one.get("Q", at)) for at in (0, 8, 16))]

    def registers(self):
        """Registers, selectors, flags, bases."""
        records = self.version.records()
        one = next(record for record in records if record.tag == TAGS["registers"])
        name = self.rng.choice(list(REGS))
        value = self.rng.choice(SELECTORS) if name in ("cs", "ss", "ds", "es", "fs", "gs") else self.value()
        one.put("Q", REGS[name], value)
        return records, [f"{name} = {value:#x}"]

    def task(self):
        """Something of the task file."""
        change = self.rng.choice((self.records, self.records, self.order, self.mappings, self.registers))
        records, said = change()
        count = self.value() if self.rng.random() < 0.02 else None
        self.version.forge_records(records, count)
        return said

    def framed(self, kind, name, rows_at, size):
        """A row, the head, or the number of rows of a table."""
        body = bytearray(self.version.body(name))
        what = self.rng.choice(("value", "value", "row lacks", "row twice", "cut"))
        rows = (len(body) - rows_at) // size
        at = rows_at + size * self.rng.randrange(rows) if rows else rows_at
        if what == "value":
            what = self.in_bytes(body)
        elif what == "row lacks":
            del body[at:at + size]
        elif what == "row twice":
            body[at:at] = body[at:at + size]
        else:
            del body[self.rng.randrange(len(body)):]
        self.version.forge(kind, name, bytes(body))
        return [f"{name}: {what}"]

    def control(self):
        """The control table: where pages lie, the table it builds on."""
        return self.framed(CONTROL, self.version.control_name, 40, 32)

    def node(self):
        """The list of processes."""
        return self.framed(NODE, f"node_0_v{self.version.version}.bin", 8, 16)

    def version_file(self):
        """The global file: parents, other numbers, the manifest."""
        name = self.version.global_name
        body = bytearray(self.version.body(name))
        if self.rng.random() < 0.5:
            said = self.in_bytes(body)
        else:
            at = GLOBAL_BYTES + MANIFEST.size * self.rng.randrange((len(body) - GLOBAL_BYTES) // MANIFEST.size)
            said = f"entry at {at}"
            if self.rng.random() < 0.5:
                del body[at:at + MANIFEST.size]
            else:
                body[at:at] = body[at:at + MANIFEST.size]
        self.version.write_body(name, bytes(body))
        return [f"{name}: {said}"]

    def pages(self):
        """Addresses in the index of the pages."""
        def change(block, entries):
            last = next((i for i, entry in enumerate(entries) if entry[0] == 0), len(entries) - 1)
            if block == 0:
                entries[self.rng.randrange(last + 1)][self.rng.randrange(2)] = self.value()
        self.version.forge_index(change)
        return [f"{self.version.task_mm_name}: an entry"]

    def forge(self):
        """One of all that; what was done."""
        return self.rng.choices(
            (self.task, self.control, self.version_file, self.pages, self.node),
            (60, 14, 10, 10, 6))[0]()


def prepared(t, process, number, files):
    """What the module says of a version when its restart is prepared: a sentence, or None."""
    with Device(t.store, process.pid) as device:
        try:
            device.prepare(number, files)
        except Refused as reason:
            check(str(reason).strip() and "Errno" not in str(reason), f"no sentence: {reason!r}")
            return str(reason)
    return None


def two_versions(t):
    """A small program with a version and an increment on it; its memory is half of each."""
    process = t.start([program("statics-static"), "--out", "{dir}/result", "--rounds", "100000"])
    process.wait_ready()
    t.checkpoint(process)
    process.wait_progress()
    t.checkpoint(process, "--kill")
    return process, [Version(t.store, process.pid, number) for number in (1, 2)]


@test("a thousand forged versions", timeout=900, long=True)
def thousand(t):
    """A version, or the one that it builds on, is forged by structure and prepared for a restart by
    the module, without the client, which would refuse most of them before. Those that the module lets
    pass are restarted: refused then, or a process, which is ended. At the end the versions restart."""
    process, versions = two_versions(t)
    exe = os.open(program("statics-static"), os.O_RDONLY)
    shown = next(record.get("I", 116) for record in versions[1].records() if record.tag == TAGS["mm"])
    files = [(shown, exe)]
    check(prepared(t, process, 2, files) is None, "the version as it is is refused")
    count, most = (10000, 500) if t.soak else (1000, 100)
    kinds, passed, ran = collections.Counter(), 0, 0
    before = len(t.notes)
    for number in range(count):
        version = t.rng.choice(versions)
        said = Forger(t.rng, version).forge()
        t.note(f"{number}: version {version.version}: {said}")
        refusal = prepared(t, process, 2, files)
        if refusal is None:
            passed += 1
            if passed <= most:
                ran += try_restart(t, process, str(said), False)
        else:
            kinds[refusal.split(":")[0]] += 1
        version.put_all_back()
        # What went well needs not be told.
        del t.notes[before:]
    os.close(exe)
    t.figure(f"{count} forged: {sum(kinds.values())} refused by the module at once, {passed} passed, "
             f"{ran} of {min(passed, most)} ran")
    check(len(kinds) > 3 and passed > count // 20, f"not much of a variety: {kinds}, {passed} passed")
    check(try_restart(t, process, "the version as it was", False), "it does not restart any more")


@test("the module meets traps in a store", timeout=90)
def traps(t):
    """Without the client, which would look before: links, named pipes, directories and devices where a
    file should be are refused with its name, and nobody waits; where one is to be made, nothing that is
    there is touched."""
    process, versions = two_versions(t)
    folder = os.path.join(t.store, str(process.pid))
    again = t.restart(process, "--version", 2)
    outside = os.path.join(t.directory, "outside")
    write(outside, "not of geist")
    makers = {
        "link": lambda path: os.symlink(outside, path),
        "dangling link": lambda path: os.symlink(outside + ".none", path),
        "pipe": os.mkfifo,
        "directory": os.mkdir,
        "device": lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3)),
    }
    for what, make in makers.items():
        for name in versions[1].original:
            if name.startswith("description"):
                continue
            with replaced_by(os.path.join(folder, name), make):
                said = prepared(t, process, 2, [])
            check(said and name in said, f"{name} is a {what}: the module says {said!r}")
        for name in versions[1].original:
            path = os.path.join(folder, name.replace("_v2.", "_v3."))
            make(path)
            with Device(t.store, process.pid) as device:
                try:
                    device.checkpoint(3)
                except Refused as reason:
                    check(os.path.basename(path) in str(reason) or "global" in name, f"{reason}")
                else:
                    # A rename replaces what has the name of the version.
                    check("global" in name and what != "directory", f"{name} was a {what}, and was written")
            left = [one for one in os.listdir(folder) if "_v3." in one]
            check("global" in name or left == [os.path.basename(path)], f"left: {left}")
            for one in left:
                remove(os.path.join(folder, one))
    check(read(outside) == "not of geist", "a file outside of the store was written")
    check(again.alive(), "the program ended")
    again.kill()


@test("a store that changes during a restart", timeout=200)
def changing(t):
    """Somebody writes to the files of a version at random moments of its restart: it is refused, or a
    process comes that is byte for byte the one that was saved."""
    process = t.start_program("maw", "--mb", "2", "--rounds", "1000000")
    process.stop()
    t.checkpoint(process)
    before = snapshot.snapshot(process.pid)
    process.kill()
    version = Version(t.store, process.pid, 1)
    names = [name for name in version.original if not name.startswith("description")]
    outcome = collections.Counter()
    rounds = t.rounds(60, 12)
    for number in range(20 * rounds):
        # On a fast machine it may take more of them until one is met.
        if number >= rounds and outcome[1]:
            break
        seed = t.rng.getrandbits(32)
        child = os.fork()
        if child == 0:
            write_at_random(version, names, random.Random(seed))
        answer = t.geist("restart", process.pid, "--stopped", seconds=60)
        os.kill(child, 9)
        os.waitpid(child, 0)
        version.put_all_back()
        if answer.code == 0:
            again = t.adopt(process.pid, process.directory)
            wait_for(lambda again=again: state_of(again.pid) == "T", 20, "stop")
            snapshot.same(before, snapshot.snapshot(again.pid), "another process than was saved")
            again.kill()
        else:
            check(answer.code == 1 and answer.err.strip(), f"status {answer.code}: {answer.err!r}")
            wait_for(lambda: state_of(process.pid) is None, 20, "end of the skeleton")
        outcome[answer.code] += 1
    t.figure(f"{outcome[0]} restarted, {outcome[1]} refused")
    check(outcome[1] > 0, "nothing was met")
    again = t.restart(process)
    again.kill()


def write_at_random(version, names, rng):
    """Until it is killed."""
    try:
        time.sleep(rng.uniform(0, 0.2))
        while True:
            path = os.path.join(version.directory, rng.choice(names))
            size = os.path.getsize(path)
            with open(path, "r+b") as file:
                file.seek(rng.randrange(size))
                file.write(rng.randbytes(rng.choice((1, 8, 4096))))
            time.sleep(rng.uniform(0, 0.02))
    finally:
        os._exit(0)
