# SPDX-License-Identifier: GPL-2.0
"""The measurements: what is done, how often, and what is kept of it."""

import math
import os
import statistics

from checkpointers import Criu, Geist
from harness import check, wait_for
from workload import PAGE, Maw, changed_pages, huge_pages, shown

# The reference: 16 random writes every 10 ms, and a checkpoint every 100 such ticks.
MEGABYTES = 256
ROUNDS_BETWEEN = 100
# For sizes also fewer: what the files have beside pages counts for more.
FEW_ROUNDS = 10
# Pages that a burst of writes changes; then nothing is written for a while, so that a checkpoint in between finds just those.
BURST = 1000
SMALL, LARGE = 64, 2048
# Bursts before the first that counts: huge pages that are written to are split, once.
WARM_UP = 6
# A watch: how long, and how many versions it keeps.
SECONDS, KEEP = 20, 5


def median(samples, key):
    """The median of a value in samples."""
    return statistics.median(sample[key] for sample in samples)


def increments(directory, setting, rounds, make):
    """Increments of a running MAW, by geist or criu: the first, complete one, and the others."""
    with huge_pages(setting):
        checkpointer = make(directory)
        maw = Maw(os.path.join(directory, "maw"), MEGABYTES, report=5)
        try:
            maw.do_rounds(1)
            taken = []
            for _ in range(rounds + 2):
                # What is written while a version is, counts for the next one.
                before = maw.progress()
                taken.append(checkpointer.take(maw.pid))
                maw.do_rounds(ROUNDS_BETWEEN, before)
            maw.verify()
        finally:
            maw.kill()
    # The second one has what was written during the long time that the first took.
    return {"first": taken[0], "increments": taken[2:]}


def forks(directory, setting, rounds):
    """What fork() of a running MAW takes: the pause of a checkpoint that a child writes. Nothing else looks at it."""
    with huge_pages(setting):
        maw = Maw(os.path.join(directory, "maw"), MEGABYTES, report=5)
        try:
            taken = []
            for _ in range(rounds + 1):
                maw.do_rounds(ROUNDS_BETWEEN)
                taken.append({"pause_us": maw.fork()})
        finally:
            maw.kill()
    # After the first, what it shared with its child is shared no more.
    return taken[1:]


def exact_sizes(directory, setting, rounds, between):
    """Bytes of increments of geist against the pages whose content really differs: MAW is stopped, its memory is
    looked at, it is checkpointed and goes on for so many of its rounds."""
    with huge_pages(setting):
        geist = Geist(directory)
        maw = Maw(os.path.join(directory, "maw"), MEGABYTES, report=5)
        try:
            maw.stop()
            before, samples = maw.content(), []
            geist.take(maw.pid)
            for _ in range(rounds):
                maw.go_on()
                maw.do_rounds(between)
                maw.stop()
                after = maw.content()
                sample = geist.take(maw.pid)
                sample["changed"] = changed_pages(before, after)
                sample["bytes_ratio"] = sample["bytes_on_disk"] / (sample["changed"] * PAGE)
                sample["bytes_more"] = sample["bytes_on_disk"] - sample["changed"] * PAGE
                samples.append(sample)
                before = after
        finally:
            maw.kill()
    return samples


def pause_with(directory, setting, megabytes, rounds):
    """Increments with the same number of changed pages in a small or a large program, which is stopped while they are
    taken. Some have more, after the kernel made huge pages; they say nothing here."""
    pages = megabytes * (1 << 20) // PAGE
    writes = round(pages * -math.log1p(-BURST / pages))
    with huge_pages(setting):
        geist = Geist(directory)
        maw = Maw(os.path.join(directory, "maw"), megabytes, report=1, writes_per_tick=writes, tick_ms=2000)
        try:
            taken, samples = [], []
            while len(samples) < rounds:
                check(len(taken) < 10 + 5 * rounds, f"{BURST} pages were changed, the increments had "
                                               f"{[one['pages'] for one in taken]}")
                maw.stop()
                taken.append(geist.take(maw.pid))
                maw.go_on()
                maw.do_rounds(1)
                if len(taken) > 1 + WARM_UP and 0.9 * BURST < taken[-1]["pages"] < 1.1 * BURST:
                    samples.append(taken[-1])
        finally:
            maw.kill()
    return {"megabytes": megabytes, "huge_pages": setting, "increments": samples}


def interval(directory, setting):
    """MAW alone, and with a version every 10 ms: how fast it goes, and what the watch says of itself."""
    with huge_pages(setting):
        geist = Geist(directory)
        maw = Maw(os.path.join(directory, "maw"), MEGABYTES, report=5)
        try:
            alone = maw.speed(SECONDS)
            geist.command("watch", maw.pid, "--interval", "10ms", "--keep", KEEP, "--durability", "none")
            # Until the first, complete version has been followed by others, the interval has not begun.
            wait_for(lambda: shown(maw, "versions") >= 3, 120, "third version of the watch")
            before = {name: shown(maw, name) for name in ("versions", "skipped", "total_pause_us", "total_pages")}
            watched = maw.speed(SECONDS)
            figures = {name: shown(maw, name) - value for name, value in before.items()}
            figures["errors"] = shown(maw, "errors")
            geist.command("unwatch", maw.pid)
            maw.verify()
        finally:
            maw.kill()
    check(figures["versions"] > 0, f"the watch took no version: {figures}")
    return {"huge_pages": setting, "seconds": SECONDS, "keep": KEEP, "rounds_per_s_alone": alone,
            "rounds_per_s_watched": watched, **figures}


# What can be measured by itself, and what transparent huge pages are set to.
PARTS, SETTINGS = ("increments", "sizes", "pauses", "intervals"), ("always", "never")


def everything(directory, rounds, parts, settings, say):
    """All measurements of these parts, with these settings of huge pages."""
    found = {"increments": [], "sizes": [], "pause_by_size": [], "intervals": []}
    for setting in settings if "increments" in parts else ():
        of_setting = {"huge_pages": setting, "megabytes": MEGABYTES, "rounds_between": ROUNDS_BETWEEN}
        for name, make in (("geist", Geist), ("criu", Criu)):
            say(f"{name}: increments of MAW, {MEGABYTES} MB, huge pages {setting}")
            of_setting[name] = increments(directory, setting, rounds, make)
        say(f"fork() of MAW, {MEGABYTES} MB, huge pages {setting}")
        of_setting["fork"] = forks(directory, setting, rounds)
        found["increments"].append(of_setting)
    for setting in settings if "sizes" in parts else ():
        say(f"geist: sizes against what really changed, huge pages {setting}")
        for between in (ROUNDS_BETWEEN, FEW_ROUNDS):
            found["sizes"].append({"huge_pages": setting, "rounds_between": between,
                                   "increments": exact_sizes(directory, setting, rounds, between)})
    for setting in settings if "pauses" in parts else ():
        for megabytes in (SMALL, LARGE):
            say(f"geist: pause at {BURST} changed pages, {megabytes} MB, huge pages {setting}")
            found["pause_by_size"].append(pause_with(directory, setting, megabytes, rounds))
    for setting in settings if "intervals" in parts else ():
        say(f"geist: MAW, {MEGABYTES} MB, with a version every 10 ms, huge pages {setting}")
        found["intervals"].append(interval(directory, setting))
    return found
