# SPDX-License-Identifier: GPL-2.0
"""Everything that can be seen of a stopped process from outside, for comparing before and after.

Left out, each for its reason:
- vvar and vvar_vclock: the kernel's clock data, they change by themselves;
- the 32 bytes at the registered rseq area: CPU numbers, which the kernel writes at every return;
- device and inode of memory files (memfd, shared anonymous) and pipes: new ones after a restart;
- pages of droppable mappings: the kernel may take them at any time, they are not saved;
- the soft-dirty flag (sd) in VmFlags: says what was written since somebody asked;
- parent, start time, used time, counters of faults and switches: those are another process's.
"""

import contextlib
import ctypes
import hashlib
import os
import re

from context import state_of
from harness import Failed, check, read, wait_for

PAGE = 4096
CHUNK = 256 * PAGE

PTRACE_DETACH = 17
PTRACE_GETREGSET = 0x4204
PTRACE_SEIZE = 0x4206
PTRACE_PEEKSIGINFO = 0x4209
PTRACE_GETSIGMASK = 0x420a
PTRACE_GET_RSEQ_CONFIGURATION = 0x420f
NT_PRSTATUS = 1
NT_X86_XSTATE = 0x202

REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags "
             "rsp ss fs_base gs_base ds es fs gs").split()

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long


class Iovec(ctypes.Structure):
    """struct iovec"""
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def ptrace(request, pid, address, data, what):
    """ptrace(2), which must succeed."""
    result = LIBC.ptrace(request, pid, address, data)
    if result < 0:
        raise Failed(f"ptrace {what} of {pid}: {os.strerror(ctypes.get_errno())}")
    return result


def regset(pid, kind, size, what):
    """A register set, as the kernel gives it to a debugger."""
    buffer = ctypes.create_string_buffer(size)
    vector = Iovec(ctypes.addressof(buffer), size)
    ptrace(PTRACE_GETREGSET, pid, kind, ctypes.addressof(vector), what)
    return buffer.raw[:vector.length]


def pending_signals(pid, shared):
    """siginfo of every pending signal, of the thread's or of the process's queue."""
    found = []
    while len(found) < 1000:
        arguments = (ctypes.c_uint64 * 2)(len(found), (1 if shared else 0) | (1 << 32))
        buffer = ctypes.create_string_buffer(128)
        # struct { u64 offset; u32 flags; s32 count }
        if not ptrace(PTRACE_PEEKSIGINFO, pid, ctypes.addressof(arguments),
                      ctypes.addressof(buffer), "PEEKSIGINFO"):
            break
        found.append(buffer.raw)
    return found


@contextlib.contextmanager
def attached(pid):
    """Debugs a stopped process for a while, and leaves it stopped."""
    ptrace(PTRACE_SEIZE, pid, None, None, "SEIZE")
    try:
        _, status = os.waitpid(pid, 0x40000000)     # __WALL
        check(os.WIFSTOPPED(status), f"{pid} did not stop: status {status:#x}")
        yield
    finally:
        LIBC.ptrace(PTRACE_DETACH, pid, None, None)
    # It wakes up for a moment on the way from the debugger's stop to its own.
    wait_for(lambda: state_of(pid) == "T", 10, "stop after the debugger")


def traced(pid):
    """What only a debugger sees. The process is stopped, and is left stopped."""
    with attached(pid):
        mask = ctypes.c_uint64()
        ptrace(PTRACE_GETSIGMASK, pid, ctypes.c_void_p(8), ctypes.addressof(mask), "GETSIGMASK")
        rseq = (ctypes.c_uint64 * 3)()
        ptrace(PTRACE_GET_RSEQ_CONFIGURATION, pid, ctypes.c_void_p(24), ctypes.addressof(rseq),
               "GET_RSEQ_CONFIGURATION")
        words = regset(pid, NT_PRSTATUS, 27 * 8, "registers")
        seen = {
            f"register {name}": hex(int.from_bytes(words[8 * i:8 * i + 8], "little"))
            for i, name in enumerate(REGISTERS)
        }
        seen["xstate"] = regset(pid, NT_X86_XSTATE, 65536, "xstate")
        seen["blocked signals"] = hex(mask.value)
        seen["rseq"] = tuple(rseq)
        seen["pending, thread"] = pending_signals(pid, False)
        seen["pending, process"] = pending_signals(pid, True)
    return seen


class Mapping:
    """A line of /proc/PID/maps."""

    def __init__(self, line):
        fields = line.split(None, 5)
        start, end = fields[0].split("-")
        self.start, self.end = int(start, 16), int(end, 16)
        self.name = fields[5] if len(fields) > 5 else ""
        memory = re.match(r"/memfd:|/dev/zero|/SYSV|\[anon_shmem", self.name)
        place = "" if memory else f" {fields[3]} {fields[4]}"
        self.text = f"{fields[0]} {fields[1]} {fields[2]}{place} {self.name}"

    def readable(self):
        """Whether its content belongs to the process."""
        return not self.name.startswith(("[vvar", "[vsyscall"))


def mappings(pid):
    """All mappings of a process."""
    return [Mapping(line) for line in read(f"/proc/{pid}/maps").splitlines()]


def vma_flags(pid):
    """VmFlags of every mapping."""
    flags = [line[8:].split() for line in read(f"/proc/{pid}/smaps").splitlines()
             if line.startswith("VmFlags:")]
    return [" ".join(sorted(set(each) - {"sd"})) for each in flags]


def memory(pid, skip):
    """A digest of every megabyte of a process's memory; unreadable pages say so."""
    droppable = ["dp" in flags.split() for flags in vma_flags(pid)]
    digests = {}
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        for mapping, dropped in zip(mappings(pid), droppable):
            if dropped or not mapping.readable():
                continue
            for start in range(mapping.start, mapping.end, CHUNK):
                end = min(start + CHUNK, mapping.end)
                content = bytearray(read_memory(fd, start, end))
                for address, length in skip:
                    low, high = max(address, start), min(address + length, end)
                    if low < high:
                        content[low - start:high - start] = bytes(high - low)
                digests[start] = (end, mapping.name, hashlib.blake2b(content).digest(),
                                  bytes(content))
    finally:
        os.close(fd)
    return digests


def read_memory(fd, start, end):
    """Memory from start to end; a page that cannot be read stands as 'unreadable'."""
    try:
        content = os.pread(fd, end - start, start)
        if len(content) == end - start:
            return content
    except OSError:
        pass
    parts = []
    for page in range(start, end, PAGE):
        try:
            parts.append(os.pread(fd, PAGE, page))
        except OSError:
            parts.append(b"unreadable".ljust(PAGE, b"!"))
    return b"".join(parts)


STATUS = ("Name Umask State Tgid Ngid Pid Uid Gid Groups NStgid NSpid NSpgid NSsid VmLck VmData "
          "VmStk VmExe VmLib Threads SigPnd ShdPnd SigBlk SigIgn SigCgt CapInh CapPrm CapEff "
          "CapBnd CapAmb NoNewPrivs Seccomp Cpus_allowed Mems_allowed THP_enabled").split()

# Fields of /proc/PID/stat, counted from 1, that describe the process and not its past.
STAT = {5: "pgrp", 6: "session", 7: "tty", 18: "priority", 19: "nice", 20: "threads",
        26: "start of code", 27: "end of code", 28: "start of stack", 31: "pending signals",
        38: "exit signal", 40: "real-time priority", 41: "policy", 45: "start of data",
        46: "end of data", 47: "start of brk", 48: "start of arguments", 49: "end of arguments",
        50: "start of environment", 51: "end of environment"}


def system_view(pid):
    """What /proc says about a process as a whole."""
    seen = {}
    for line in read(f"/proc/{pid}/status").splitlines():
        name, _, value = line.partition(":")
        if name in STATUS:
            seen[f"status {name}"] = value.split()
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    for number, name in STAT.items():
        seen[f"stat {name}"] = fields[number - 3]
    for name in ("auxv", "environ", "cmdline", "comm", "limits", "personality", "oom_score_adj",
                 "timerslack_ns", "coredump_filter", "timers", "cgroup"):
        seen[name] = read(f"/proc/{pid}/{name}", "rb")
    for name in ("exe", "cwd", "root"):
        seen[name] = os.readlink(f"/proc/{pid}/{name}")
    return seen


def descriptors(pid):
    """Every descriptor: what it is, offset, flags, locks."""
    seen, pipes = {}, {}
    for fd in sorted(map(int, os.listdir(f"/proc/{pid}/fd"))):
        target = os.readlink(f"/proc/{pid}/fd/{fd}")
        info = read(f"/proc/{pid}/fdinfo/{fd}")
        if target.startswith("/memfd:"):
            info = re.sub(r"ino:.*\n", "", info)
        # The number that stands before a lock counts the locks of the system.
        info = re.sub(r"lock:\s*\d+: ", "lock: ", info)
        if target.startswith("pipe:["):
            info = re.sub(r"(ino|mnt_id):.*\n", "", info)
            target = f"the same pipe as fd {pipes.setdefault(target, fd)}"
        seen[f"fd {fd}"] = (target, info.split("\n"))
    return seen


def snapshot(pid):
    """All that can be compared. The process must be stopped."""
    seen = traced(pid)
    address, length = seen["rseq"][0], seen["rseq"][1] & 0xffffffff
    seen.update(system_view(pid))
    seen.update(descriptors(pid))
    seen["mappings"] = [mapping.text for mapping in mappings(pid)]
    seen["mapping flags"] = vma_flags(pid)
    seen["memory"] = memory(pid, [(address, max(length, 32))] if address else [])
    return seen


def differences(before, after):
    """Sentences about what differs, at most twenty."""
    found = []
    for key in [*before, *(key for key in after if key not in before)]:
        one, other = before.get(key), after.get(key)
        if one == other:
            continue
        if key == "memory":
            found += memory_differences(one, other)
        elif isinstance(one, list) and isinstance(other, list):
            names = before.get("mappings", [])
            for i in range(max(len(one), len(other))):
                x = one[i] if i < len(one) else "nothing"
                y = other[i] if i < len(other) else "nothing"
                if x != y:
                    place = names[i] if key == "mapping flags" and i < len(names) else i
                    found.append(f"{key} {place}: was {x}, is {y}")
        elif isinstance(one, bytes) and isinstance(other, bytes):
            place = next((i for i, (x, y) in enumerate(zip(one, other)) if x != y),
                         min(len(one), len(other)))
            found.append(f"{key}: differs from byte {place}: {one[place:place + 24]!r}, "
                         f"{other[place:place + 24]!r} (sizes {len(one)}, {len(other)})")
        else:
            found.append(f"{key}: was {one}, is {other}")
    return found[:20]


def memory_differences(one, other):
    """Where two memories differ."""
    found = []
    for start, (end, name, digest, content) in one.items():
        there = other.get(start)
        if there is None or there[0] != end:
            found.append(f"memory {start:#x} ({name}): other range")
        elif there[2] != digest:
            place = next(i for i, (x, y) in enumerate(zip(content, there[3])) if x != y)
            count = sum(content[i:i + PAGE] != there[3][i:i + PAGE]
                        for i in range(0, end - start, PAGE))
            found.append(f"memory {start + place:#x} ({name}): was "
                         f"{content[place:place + 16].hex()}, is "
                         f"{there[3][place:place + 16].hex()}; {count} of {(end - start) // PAGE} pages differ here")
    return found


def same(before, after, what):
    """Demands that two snapshots are the same."""
    found = differences(before, after)
    check(not found, f"{what}:\n  " + "\n  ".join(found))


def stop_and_look(process):
    """Stops a process and takes its snapshot."""
    process.stop()
    return snapshot(process.pid)


