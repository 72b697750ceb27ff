# SPDX-License-Identifier: GPL-2.0
"""The judge of exactness: a process that was restarted with --stopped and has not run yet is
checkpointed there, and that version must equal the one it came from.

Memory is compared page by page (geist diff), the rest as geist show decodes it. Left out, each for
its reason:
- the page with the rseq area, which the kernel writes when it is registered; snapshot.py compares
  its other bytes;
- parent, start, times, the clocks at the freeze: those are another process's;
- "stopped", and where a thread was found: it is stopped now;
- what an interrupted system call looks like: begun anew, or interrupted by the stop. That it is the
  same call, at the same place, is compared.
"""

from context import state_of
from harness import check

PAGE = 4096
RSEQ_BYTES = 32

# Of the process, of its thread, and of the table of open files.
OTHERS = ("parent", "stopped", "started", "monotonic_clock", "real_clock", "boot_clock",
          "user_time", "system_time", "state", "interrupted_system_call", "control", "base")
# Of files that are made anew, some at every boot: not even the number of the inode.
MADE_ANEW = ("memfd", "shared memory", "pipe", "device", "terminal")
# What the kernel says to itself of a call that a signal interrupted, and before its end.
INTERRUPTED = (-38, -512, -513, -514, -516)


def signed(value):
    """A register as a signed number."""
    return value - (1 << 64) if value >> 63 else value


def place_of(registers):
    """The registers, with a call that is to be made again as if it were about to be made."""
    found = {row["register"]: row["value"] for row in registers}
    number = signed(found["orig_rax"])
    if number >= 0 and signed(found["rax"]) in INTERRUPTED:
        found["rip"] -= 2
        found["rax"], found["orig_rax"] = number, (1 << 64) - 1
    return found


def cleaned(value):
    """What must be the same, of anything that geist show prints."""
    if isinstance(value, list):
        return [cleaned(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {name: cleaned(one) for name, one in value.items() if name not in OTHERS}
    if "registers" in kept:
        kept["registers"] = place_of(value["registers"])
    if value.get("kind") in MADE_ANEW:
        kept.update(inode=None, modified=None)
    return kept


def differences(before, after, where=""):
    """Sentences about what differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [text for name in {**before, **after}
                for text in differences(before.get(name), after.get(name), f"{where}/{name}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [text for number, pair in enumerate(zip(before, after))
                for text in differences(*pair, f"{where}/{number}")]
    return [] if before == after else [f"{where}: was {before!r:.300}, is {after!r:.300}"]


def equal(t, process, version, *flags):
    """Demands that a stopped process equals the version that it was restarted from."""
    check(state_of(process.pid) == "T", f"it is not stopped: {state_of(process.pid)}")
    again = t.checkpoint(process, *flags)
    names = [f"{process.pid}@{number}" for number in (version, again)]
    before, after = (t.geist_ok("show", name, "--json").json()["processes"][0] for name in names)
    found = differences(cleaned(before), cleaned(after))
    check(not found, f"{names[1]} differs from {names[0]}:\n  " + "\n  ".join(found[:20]))
    rseq = {thread["rseq"] + at for thread in before["threads"] for at in (0, RSEQ_BYTES - 1)}
    known = {address // PAGE * PAGE for address in rseq}
    pages = t.geist_ok("diff", *names, "--pages", "--json").json()
    for mapping in pages["mappings"]:
        check(mapping["mapping"] == "same", f"a mapping differs: {mapping}")
        for part in mapping["pages"]:
            own = set(range(part["start"], part["end"], PAGE)) - known
            check(not own, f"pages are {part['what']}: {[hex(page) for page in sorted(own)[:8]]}")
