# SPDX-License-Identifier: GPL-2.0
"""Damaged images: truncated anywhere, one bit flipped anywhere. Each is refused, nothing starts."""

import os
import subprocess

from context import GEIST, program
from harness import check, slowness, test
from image import Version, crc32c


def victim(t, versions=1):
    """A small program in so many complete versions, its pid free; the pid and the versions."""
    process = t.start([program("statics-static"), "--out", "{dir}/result", "--rounds", "100000"])
    process.wait_ready()
    for _ in range(versions):
        t.checkpoint(process, "--full", "-d", "a description that can be damaged")
    process.kill()
    return process.pid, [Version(t.store, process.pid, number + 1) for number in range(versions)]


def refused(t, app, what, names, *more):
    """verify and restart, at the same time, refuse; nothing was started, no file was touched."""
    commands = ("restart",) if more else ("verify", "restart")
    calls = [subprocess.Popen([GEIST, "--store", t.store, command, str(app), *more],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
             for command in commands]
    for command, call in zip(commands, calls):
        said, _ = call.communicate(timeout=60 * slowness())
        check(call.returncode != 0, f"{what}: {command} accepts it")
        check(0 < call.returncode < 100 and said.strip(),
              f"{what}: {command}: status {call.returncode}: {said!r}")
    check(not os.path.exists(f"/proc/{app}"), f"{what}: a process was started")
    check(t.app_files(app) == names, f"{what}: files of the version are gone: {t.app_files(app)}")


def places(t, version, count):
    """Seeded places over all files, every file as often as any other, with all edges."""
    kinds = sorted(version.original)
    found = [(kind, place) for kind in range(len(kinds)) for place in (0, 1, 7, 8, 63, 64, -1)]
    while len(found) < count:
        kind = t.rng.randrange(len(kinds))
        found.append((kind, t.rng.randrange(len(version.original[kinds[kind]]))))
    return found[:count]


def every_place_is_refused(t, count, damage):
    """Damages one place in each of many versions at a time; damage(content, place) gives the new
    content and words for it. verify must find every version damaged, and restart refuse each."""
    app, versions = victim(t, 20)
    names = t.app_files(app)
    waiting = places(t, versions[0], count)
    while waiting:
        damaged = {}
        for version in versions[:len(waiting)]:
            kind, place = waiting.pop()
            name = sorted(version.original)[kind]
            content = version.original[name]
            new, words = damage(content, min(place % len(content), len(content) - 1))
            version.write(name, new)
            damaged[version.version] = (version, name, f"{name}: {words}")
        reports = {report["version"]: report["result"]
                   for report in t.geist("verify", app, "--json").json()}
        for number, (_, _, what) in damaged.items():
            check(reports[number] == "damaged", f"{what}: verify says {reports[number]}")
            refused(t, app, what, names, "--version", str(number))
        for version, name, _ in damaged.values():
            version.put_back(name)
    t.geist_ok("verify", app)
    t.geist_ok("restart", app)


@test("truncated at 1,000 places", timeout=400)
def truncated(t):
    """Whichever file of a version ends early, at whichever byte: refused, no process is there, and
    with the file as it was everything is fine again."""
    def damage(content, place):
        return content[:place], f"truncated to {place} bytes"
    every_place_is_refused(t, t.rounds(1000, 60), damage)


@test("one bit flipped at 1,000 places", timeout=400)
def flipped(t):
    """Whichever bit of whichever file is wrong: refused, no process is there, and with the file as
    it was everything is fine again."""
    def damage(content, place):
        bit = t.rng.randrange(8)
        new = bytearray(content)
        new[place] ^= 1 << bit
        return bytes(new), f"bit {bit} of byte {place} flipped"
    every_place_is_refused(t, t.rounds(1000, 60), damage)


@test("bytes behind the end, files exchanged", timeout=60)
def appended(t):
    """A file that is too long, that is missing, or that belongs to another version is refused."""
    app, (version,) = victim(t)
    names = t.app_files(app)
    for name in version.original:
        version.write(name, version.original[name] + b"\0")
        refused(t, app, f"{name} with a byte behind it", names)
        version.write(name, version.original[name] + bytes(4096))
        refused(t, app, f"{name} with a page behind it", names)
        version.put_back(name)
        path = os.path.join(version.directory, name)
        os.rename(path, path + ".away")
        refused(t, app, f"{name} is missing",
                    sorted(set(names) - {name} | {name + ".away"}))
        os.rename(path + ".away", path)
    for one, other in ((version.task_name, version.control_name),
                       (version.task_name, version.global_name)):
        version.write(one, version.original[other])
        refused(t, app, f"{one} is {other}", names)
        version.put_back(one)
    t.geist_ok("verify", app)


@test("checksums are what the format says", timeout=60)
def checksums(t):
    """The files' checksums, computed here once more from the description of the format, are the
    ones that the module wrote: CRC32C with the usual test value."""
    check(crc32c(b"123456789") ^ 0xffffffff == 0xe3069283, "the test's own CRC32C is wrong")
    app, (version,) = victim(t)
    for name in (version.global_name, version.task_name, version.control_name):
        content = version.original[name]
        check(content[:8] == b"geist\r\n\x1a", f"{name}: no magic")
        check(int.from_bytes(content[60:64], "little") == crc32c(content[:60]), f"{name}: header")
        body = version.body(name)
        check(int.from_bytes(content[-16:-8], "little") == len(body), f"{name}: length")
        check(int.from_bytes(content[-8:-4], "little") == crc32c(body), f"{name}: body")
    records = version.records()
    check(records[0].tag == 1 and records[0].get("I", 0) == app, "the first record is the process")
    version.forge_records(records)
    version.forge_index(lambda block, entries: None)
    for name in version.original:
        with open(os.path.join(version.directory, name), "rb") as file:
            check(file.read() == version.original[name], f"{name}: building it again differs")
