# SPDX-License-Identifier: GPL-2.0
"""What goes on while the power is cut."""

import time

from harness import read
from subject import Subject

KEEP = 4


def begin_anew(store, promises, old):
    """Another program; the application of the one before stays in the store, older ones go."""
    for app in store.apps()[:-1] if old else []:
        if app != old.pid:
            promises.report(app=app, removed=True)
            store.geist("rm", app, "--yes")
    if old:
        old.kill()
    subject = Subject.started()
    take(store, promises, subject)
    return subject


def take(store, promises, subject, *options):
    """One durable version; its number."""
    version = store.geist("checkpoint", subject.pid, "--durability", "data", "--json", *options)["version"]
    promises.report(app=subject.pid, committed=version)
    return version


def shown(subject, name):
    """What the module shows of the application."""
    return (read(f"/sys/kernel/geist/apps/{subject.pid}/{name}") or "").strip()


def go(what):
    """From here on the power may go."""
    print(what, flush=True)


def singles(store, promises, subject, rng):
    """Single checkpoints, increments and complete ones."""
    go("single checkpoints")
    while True:
        take(store, promises, subject, *(["--full"] if rng.random() < 0.2 else []))


def interval(store, promises, subject, rng):
    """A watch that keeps a few versions, with its newest version reported again and again."""
    promises.report(app=subject.pid, keep=KEEP)
    first = store.geist("watch", subject.pid, "--interval", "10ms", "--keep", KEEP, "--durability", "data", "--json")
    last, said = first["version"], ""
    promises.report(app=subject.pid, committed=last)
    store.background = "interval"
    promises.report(doing=store.background)
    go("interval")
    while True:
        if rng.random() < 0.02:
            take(store, promises, subject)
        now = int(shown(subject, "version") or last)
        if now != last:
            promises.report(app=subject.pid, committed=now)
            last = now
        if shown(subject, "last_error") != said:
            said = shown(subject, "last_error")
            store.say(f"the watch reports: {said}")
        time.sleep(0.005)


def collection(store, promises, subject, rng):
    """Garbage collection again and again, each time of few versions; now and then there are new ones to collect."""
    versions = list(promises.versions[subject.pid])
    while len(versions) < KEEP:
        versions.append(take(store, promises, subject))
    go("garbage collection")
    while True:
        while len(versions) > 1:
            keep = len(versions) - rng.choice((1, 1, 2)) or 1
            promises.report(app=subject.pid, keep=keep)
            store.geist("gc", subject.pid, "--keep", keep, "--yes", "--json")
            versions = versions[-keep:]
            promises.seen(subject.pid, versions)
        while len(versions) < KEEP:
            versions.append(take(store, promises, subject))


def consolidation(store, promises, subject, rng):
    """Versions become complete ones, and what they no longer need is collected."""
    versions = list(promises.versions[subject.pid])
    while len(versions) < 3:
        versions.append(take(store, promises, subject))
    rng.shuffle(versions)
    go("consolidation")
    while True:
        for version in versions:
            store.geist("consolidate", f"{subject.pid}@{version}", "--json")
        store.geist("gc", subject.pid, "--json")
        versions = [take(store, promises, subject) for _ in range(2)]


# Each never ends by itself.
KINDS = {"singles": singles, "interval": interval, "gc": collection, "consolidate": consolidation}
