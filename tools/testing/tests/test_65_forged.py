# SPDX-License-Identifier: GPL-2.0
"""Forged images, every checksum right: refused, or the skeleton is killed with a sentence, or a
process runs that has no right its restarter did not have. The kernel never reports a fault."""

import os
import struct

from context import DEVICE, program, state_of
from course import asleep
from device import Device, Refused
from harness import check, test, wait_for
from image import CONTROL, TAGS, Version

KERNEL = 0xffff888000000000
NOT_CANONICAL = 0x0100000000000000     # with five levels of page tables, too
TOP = 0x00007ffffffff000
HUGE = (1 << 64) - 1

# Record, what is done to it: (form, offset, value) by the layouts of rust/image; whether a restart
# must refuse it (or kill what it started), or may go on with a harmless process.
REGS = {name: 8 + 8 * i for i, name in enumerate(
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss "
    "fs_base gs_base ds es fs gs".split())}
MUST, MAY = True, False
FILE_PRIVATE = 2        # a kind of mapping
FIELDS = [
    ("registers", [("Q", REGS["rip"], KERNEL)], MAY),
    ("registers", [("Q", REGS["rip"], NOT_CANONICAL)], MAY),
    ("registers", [("Q", REGS["rsp"], KERNEL)], MAY),
    ("registers", [("Q", REGS["cs"], 0x10)], MAY),
    ("registers", [("Q", REGS["ss"], 0x18)], MAY),
    ("registers", [("Q", REGS["cs"], 0)], MAY),
    ("registers", [("Q", REGS["ds"], 0x10)], MAY),
    ("registers", [("Q", REGS["fs"], 0xffff)], MAY),
    ("registers", [("Q", REGS["eflags"], 0x3000 | 0x202)], MAY),
    ("registers", [("Q", REGS["eflags"], HUGE)], MAY),
    ("registers", [("Q", REGS["fs_base"], KERNEL)], MUST),
    ("registers", [("Q", REGS["gs_base"], NOT_CANONICAL)], MUST),
    ("registers", [("Q", REGS["orig_rax"], 0xdeadbeef)], MAY),
    ("registers", [("Q", 0, HUGE)], MUST),
    ("xstate", [("Q", 0, HUGE)], MUST),
    ("xstate", [("I", 8 + 24, 0xffffffff)], MUST),             # mxcsr
    ("xstate", [("Q", 8 + 512, HUGE)], MUST),                  # features
    ("xstate", [("Q", 8 + 520, HUGE)], MUST),                  # compaction
    ("xstate", [("Q", 8 + 528, 1)], MUST),                     # reserved
    ("mm", [("Q", 0, KERNEL)], MUST),
    ("mm", [("Q", 40, KERNEL)], MUST),                         # brk
    ("mm", [("Q", 32, HUGE)], MUST),                           # start of brk
    ("mm", [("Q", 56, KERNEL), ("Q", 64, KERNEL + 4096)], MUST),
    ("mm", [("Q", 88, KERNEL)], MUST),                         # mmap_base
    ("mm", [("Q", 96, KERNEL)], MUST),                         # vdso
    ("mm", [("Q", 104, HUGE)], MUST),
    ("mm", [("I", 116, 77777)], MUST),                         # exe
    ("mm", [("Q", 128, 1 << 60)], MUST),                       # number of mappings
    ("mm", [("Q", 136 + 8 * i, HUGE) for i in range(64)], MAY),
    ("vma", [("Q", 0, KERNEL), ("Q", 8, KERNEL + 0x10000)], MUST),
    ("vma", [("Q", 8, HUGE)], MUST),
    ("vma", [("Q", 0, 0), ("Q", 8, TOP)], MUST),
    ("vma", [("Q", 0, 1)], MUST),
    ("vma", [("Q", 8, 0)], MUST),
    ("vma", [("Q", 16, HUGE)], MUST),
    ("vma", [("Q", 16, 1 << 63)], MUST),
    ("file vma", [("Q", 24, 1)], MUST),
    ("file vma", [("Q", 24, HUGE - 4095)], MUST),
    ("vma", [("I", 32, 0)], MUST),
    ("vma", [("I", 32, 99)], MUST),
    ("vma", [("I", 32, 2), ("I", 36, 99999)], MUST),
    ("vma", [("I", 32, 4), ("I", 36, 0)], MUST),
    ("thread", [("I", 0, 1)], MUST),
    ("thread", [("I", 4, 99)], MUST),
    ("thread", [("Q", 24, HUGE)], MAY),                        # blocked, SIGKILL too
    ("thread", [("Q", 32, KERNEL), ("Q", 40, HUGE)], MAY),     # alternate stack
    ("thread", [("I", 48, 0xffffffff)], MUST),
    ("thread", [("I", 52, 1000)], MAY),                        # parent death signal
    ("thread", [("Q", 56, KERNEL)], MAY),                      # robust list: checked at the end
    ("thread", [("Q", 64, KERNEL)], MAY),                      # clear_child_tid
    ("thread", [("Q", 72, KERNEL), ("I", 80, 32)], MUST),      # rseq
    ("thread", [("Q", 72, 0x1001), ("I", 80, 32)], MUST),
    ("thread", [("Q", 88, KERNEL)], MAY),
    ("process", [("I", 0, 1)], MUST),
    ("process", [("I", 16, 0)], MUST),
    ("process", [("I", 16, 1000000)], MUST),
    ("process", [("I", 20, 0xffffffff)], MAY),
    ("process", [("I", 28, 77)], MAY),
    ("process", [("i", 80, 99999)], MUST),
    ("process", [("Q", 32, HUGE), ("Q", 40, HUGE), ("Q", 48, HUGE), ("Q", 56, HUGE)], MAY),
    ("handlers", [("Q", 32 * 10, KERNEL)], MAY),
    ("handlers", [("Q", 32 * 8, 0x1000)], MAY),                # of SIGKILL
    ("handlers", [("Q", 32 * 10 + 8, HUGE)], MAY),
    ("scheduling", [("I", 0, 77)], MUST),
    ("scheduling", [("I", 0, 1), ("I", 8, 1000)], MUST),
    ("scheduling", [("i", 4, 1000)], MAY),
    ("itimers", [("Q", 0, HUGE)], MAY),
    ("rlimits", [("Q", 0, HUGE), ("Q", 8, 0)], MUST),
    ("creds", [("I", 76, 65537)], MUST),
    ("cwd", [("I", 0, 0xffffffff)], MAY),
    ("object", [("I", 4, 99)], MUST),
    ("object", [("I", 0, 0)], MUST),
    ("object", [("I", 8, 0xffffffff)], MAY),
    ("descriptor", [("I", 0, 0xffffffff)], MUST),
    ("descriptor", [("I", 4, 99999)], MUST),
    ("descriptor", [("I", 8, 0xffffffff)], MAY),
]


def victim(t, *args):
    """An image of a small program that waits, and its pid, which is free."""
    process = t.start([program("statics-static"), "--out", "{dir}/result", "--rounds", "100000",
                       *args])
    process.wait_ready()
    t.checkpoint(process, "--kill")
    return process, Version(t.store, process.pid, 1)


def try_restart(t, process, what, must_fail):
    """Restarts what there is: an error with a sentence, or a process, which is ended."""
    answer = t.geist("restart", process.pid, seconds=30)
    if answer.code == 0:
        gone = state_of(process.pid) in (None, "Z")
        if not gone:
            again = t.adopt(process.pid, process.directory)
            again.kill()
        check(not must_fail, f"{what}: was restarted")
    else:
        check(0 < answer.code < 100 and answer.err.strip(),
              f"{what}: status {answer.code}: {answer.err!r}")
        wait_for(lambda: state_of(process.pid) is None, 10, f"end of the skeleton ({what})")
    return answer.code == 0


@test("one field forged", timeout=300)
def fields(t):
    """Addresses in the kernel or not canonical, selectors, flags, counts, object numbers, limits
    out of range, one after the other, with right checksums."""
    process, version = victim(t)
    wrong = []
    for name, changes, must_fail in t.rng.sample(FIELDS, t.rounds(len(FIELDS), 25)):
        records = version.records()
        chosen = [record for record in records if record.tag == TAGS[name.split()[-1]]]
        if name == "file vma":
            chosen = [record for record in chosen if record.get("I", 32) == FILE_PRIVATE]
        if not chosen:
            wrong.append(f"the image has no record '{name}'")
            continue
        for form, offset, value in changes:
            chosen[len(chosen) // 2].put(form, offset, value)
        version.forge_records(records)
        what = f"{name} with " + ", ".join(f"{value:#x} at {at}" for _, at, value in changes[:3])
        try:
            try_restart(t, process, what, must_fail)
        except Exception as reason:  # all of them are to be seen
            wrong.append(str(reason))
        version.put_all_back()
    check(not wrong, "\n".join(wrong))
    check(try_restart(t, process, "the image as it was", False), "it does not restart any more")


@test("records forged", timeout=200)
def records_forged(t):
    """Records missing, doubled, exchanged, shortened, lengthened, of unknown kinds, and a wrong
    number of them: the number and order of records is as little to be trusted as their content."""
    process, version = victim(t)
    count = len(version.records())

    def forged(what, records, number=None):
        version.forge_records(records, number)
        try_restart(t, process, what, False)
        version.put_all_back()

    order = list(range(count))
    t.rng.shuffle(order)
    for i in order[:t.rounds(40, 6)]:
        records = version.records()
        kind = records[i].tag
        forged(f"record {i} (tag {kind}) missing", records[:i] + records[i + 1:])
        records = version.records()
        forged(f"record {i} (tag {kind}) twice", records[:i + 1] + records[i:])
        records = version.records()
        del records[i].payload[t.rng.randrange(len(records[i].payload)):]
        forged(f"record {i} (tag {kind}) shortened", records)
        records = version.records()
        records[i].payload += bytes(t.rng.choice([1, 8, 4096, 70000]))
        forged(f"record {i} (tag {kind}) lengthened", records)
    records = version.records()
    forged("records in reverse", records[::-1])
    forged("no records", [])
    forged("a wrong number of records", version.records(), 1 << 60)
    records = version.records()
    records[1].tag = 0x1234
    forged("an unknown record", records)
    forged("all mappings twice", version.records() + [r for r in version.records() if r.tag == 97])


# A field of a record with a value that no writer makes, and what the module calls it.
UNDEFINED = [
    ("process", "I", 20, 8, "a flag of the process"),
    ("process", "I", 28, 3, "the dumpable attribute"),
    ("process", "i", 80, 1001, "oom_score_adj"),
    ("process", "I", 84, 1, "a reserved field of the process"),
    ("rlimits", "Q", 8, 0, "a resource limit"),
    ("handlers", "Q", 32 * 8, 0x1000, "the handler of a fixed signal"),
    ("scheduling", "I", 0, 8, "a scheduling policy"),
    ("scheduling", "i", 4, 20, "a nice value"),
    ("scheduling", "I", 8, 100, "a real-time priority"),
    ("scheduling", "I", 16, 2, "a flag of the scheduling"),
    ("thread", "I", 4, 4, "the state of a thread"),
    ("thread", "B", 23, 65, "the name of a thread"),
    ("thread", "I", 48, 4, "a flag of an alternate stack"),
    ("thread", "I", 52, 65, "a signal at the parent's death"),
    ("restart", "I", 0, 5, "the kind of an interrupted system call"),
    ("cwd", "I", 0, 0o1000, "the umask"),
    ("cwd", "I", 4, 1, "a reserved field of the working directory"),
    ("root", "Q", 0, 1, "a reserved field of the root directory"),
    ("mm", "I", 120, 2, "what mlockall"),
    ("mm", "I", 124, 2, "PR_SET_THP_DISABLE"),
    ("vma", "Q", 16, 1 << 22, "a flag of a mapping"),
    ("vma", "I", 32, 7, "the kind of a mapping"),
    ("object", "I", 4, 8, "the kind of a file object"),
    ("object", "I", 8, 4, "a flag of a file object"),
    ("object", "Q", 16, 1 << 63, "an offset in a file"),
    ("object", "Q", 24, 1 << 63, "the size of a file"),
    ("descriptor", "I", 0, 1 << 31, "the number of a descriptor"),
    ("descriptor", "I", 8, 2, "a flag of a descriptor"),
    ("descriptor", "I", 12, 1, "a reserved field of a descriptor"),
]


@test("undefined values are refused by the module", timeout=60)
def undefined(t):
    """Enumerations, flags, limits and reserved fields that mean nothing, records of an unknown kind:
    the module says which it is, without the client having looked."""
    process = t.start([program("sleeper"), "--out", "{dir}/result", "--ms", "100000", "nanosleep"])
    asleep(process)
    t.checkpoint(process, "--kill")
    version = Version(t.store, process.pid, 1)
    wrong = []

    def prepared(what, says):
        with Device(t.store, process.pid) as device:
            try:
                device.prepare(1)
                said = "nothing"
            except Refused as reason:
                said = str(reason)
        version.put_all_back()
        if says not in said:
            wrong.append(f"{what}: says {said!r}, should say {says!r}")

    for name, form, offset, value, says in UNDEFINED:
        records = version.records()
        next(record for record in records if record.tag == TAGS[name]).put(form, offset, value)
        version.forge_records(records)
        prepared(f"{name} with {value:#x} at {offset}", f"{version.task_name}: {says}")
    records = version.records()
    records[-1].tag = 0x1234
    version.forge_records(records)
    prepared("an unknown record", "the kind of a record")
    prepared("the image as it was", "its executable was not handed in")
    check(not wrong, "\n".join(wrong))


@test("random forgeries", timeout=300)
def random_forgeries(t):
    """Seeded random values at random places of random records, up to four at once."""
    process, version = victim(t)
    started = 0
    values = (0, 1, 0xff, 0xfff, 0x1000, 0x7fffffff, 0xffffffff, 1 << 46, TOP, NOT_CANONICAL,
              KERNEL, 1 << 63, HUGE)
    for number in range(t.rounds(150, 15)):
        records = version.records()
        changed = []
        for _ in range(t.rng.randint(1, 4)):
            record = t.rng.choice(records)
            if len(record.payload) < 8:
                continue
            form = t.rng.choice("BIQ")
            size = struct.calcsize(form)
            # More often in the fixed part than far in a tail.
            offset = t.rng.randrange(min(len(record.payload), 512) // size) * size
            value = t.rng.choice(values + (t.rng.getrandbits(64),))
            record.put(form, offset, value)
            changed.append(f"tag {record.tag} {form}@{offset}={value:#x}")
        version.forge_records(records)
        t.note(f"forgery {number}: {changed}")
        started += try_restart(t, process, str(changed), False)
        version.put_all_back()
    t.note(f"{started} of them ran")
    check(try_restart(t, process, "the image as it was", False), "it does not restart any more")


@test("forged pages and control tables", timeout=120)
def pages(t):
    """Pages for addresses in the kernel or in no mapping, extents that point elsewhere, overlap or
    count too much: refused."""
    process, version = victim(t)
    for address in (KERNEL, NOT_CANONICAL, TOP, 0x1000, 0x7fff12345000):
        def change(block, entries, address=address):
            last = next((i for i, entry in enumerate(entries) if entry[0] == 0), 255)
            if block == 0:
                entries[last - 1][0] = address
        version.forge_index(change)
        try_restart(t, process, f"a page at {address:#x}", True)
        version.put_all_back()
    body = version.body(version.control_name)
    extents = (len(body) - 40) // 32
    for what, at, value in (
            ("first address in the kernel", 40, KERNEL), ("no pages", 48, 0),
            ("too many pages", 48, 1 << 40), ("all pages there are", 48, HUGE),
            ("another version", 56, 2), ("no version", 56, 0), ("offset", 64, 1 << 50),
            ("offset that no file has", 64, HUGE), ("offset at the end of all", 64, HUGE - 1),
            ("offset of another page", 64, 3), ("address in no page", 40, 0x1001),
            ("number of extents", 32, extents + 1), ("number of extents", 32, 1 << 60),
            ("number of addresses", 8, 1), ("number of mappings", 0, 0),
            ("application", 16, 1), ("base", 24, 1)):
        forged = bytearray(body)
        forged[at:at + 8] = (value & HUGE).to_bytes(8, "little")
        if at == 16:
            forged[20:24] = bytes(4)
        version.forge(CONTROL, version.control_name, bytes(forged))
        try_restart(t, process, f"control table: {what}", True)
        version.put_all_back()
    check(try_restart(t, process, "the image as it was", False), "it does not restart any more")


@test("no rights by a forged image", timeout=60, alone=True)
def no_rights(t):
    """A user without rights, with the device open to all, forges an image of a process of their own
    into one of root with all capabilities: no such process comes to run."""
    check(os.stat(DEVICE).st_mode & 0o777 == 0o600, "mode of the device")
    process, version = victim(t, "--uid", "65534", "--gid", "65534")
    os.chmod(DEVICE, 0o666)
    try:
        os.system(f"chown -R 65534:65534 {t.store}")
        records = version.records()
        creds = next(record for record in records if record.tag == TAGS["creds"])
        for offset in range(0, 32, 4):
            creds.put("I", offset, 0)
        for offset in range(32, 72, 8):
            creds.put("Q", offset, (1 << 41) - 1)
        version.forge_records(records)
        answer = t.geist("restart", process.pid, user=65534, group=65534, extra_groups=[])
        check(answer.code != 0 and answer.err.strip(), "was restarted")
        check(state_of(process.pid) is None, "a process is there")
    finally:
        os.chmod(DEVICE, 0o600)
        os.system(f"chown -R 0:0 {t.store}")


