# SPDX-License-Identifier: GPL-2.0
"""Real programs in the middle of real work."""

import hashlib
import os
import sqlite3
import sys

from context import state_of
from course import disturbed, killed_and_restarted, repeated, slowed, written
from harness import check, read, test, wait_for

SEQUENCE = """
import hashlib, sys
digest = hashlib.sha256()
numbers = {}
for i in range(int(sys.argv[1])):
    digest.update(str(i).encode())
    numbers[i] = digest.hexdigest()[:16]
    print(i, numbers[i], sum(numbers[j] < "8" for j in range(max(0, i - 50), i)), flush=True)
print("end", len(numbers), digest.hexdigest(), flush=True)
"""


def make_data(path, megabytes, rng):
    """A file that compresses to about a third: seeded words, not too fast and not too slow."""
    words = [rng.randbytes(rng.randint(2, 9)).hex().encode() for _ in range(3000)]
    line = b" ".join(words)
    with open(path, "wb") as file:
        while file.tell() < megabytes << 20:
            start = rng.randrange(len(line) // 2)
            file.write(line[start:start + rng.randrange(200, 4000)] + rng.randbytes(300))
        file.truncate(megabytes << 20)


@test("xz compresses a 20 MB file", timeout=300)
def xz(t):
    """xz, checkpointed at random moments while it reads and writes, killed and restarted, makes the
    same compressed file as undisturbed. It has a pipe to itself, for signals."""
    source = os.path.join(t.directory, "data")
    make_data(source, t.rounds(20, 6), t.rng)
    script = f"exec xz -T1 -0 -c {source} > $0/out.xz"
    argv = ["/bin/sh", "-c", script, "{dir}"]
    begun = written("out.xz", 1)
    disturbed(t, argv, 3, span_of=0.5, result="out.xz", begun=begun)


def make_sql(path, rows):
    """A large transaction, whose cache spills into the database before the commit."""
    with open(path, "w") as file:
        file.write("PRAGMA cache_size=50; PRAGMA journal_mode=DELETE;\n"
                   "CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b TEXT);\n"
                   "CREATE INDEX i ON t(a);\nBEGIN;\n")
        for i in range(rows):
            file.write(f"INSERT INTO t VALUES({i}, {i * 7919 % 100003}, "
                       f"'{hashlib.md5(str(i).encode()).hexdigest()}');\n")
        file.write("UPDATE t SET a = a + 1 WHERE id % 3 = 0;\nCOMMIT;\n"
                   "SELECT count(*), sum(a), min(b), max(b) FROM t;\nPRAGMA integrity_check;\n")


@test("sqlite3 in the middle of a large transaction", timeout=200)
def sqlite(t):
    """sqlite3 with its journal open and pages spilt into the database: killed with the checkpoint,
    so that the files are those of the freeze, restarted, it commits; content and integrity as
    undisturbed."""
    sql = os.path.join(t.directory, "sql")
    make_sql(sql, t.rounds(30000, 6000))
    argv = ["/bin/sh", "-c", f"exec sqlite3 $0/base.db < {sql} > $0/out", "{dir}"]
    wanted, seconds = t.undisturbed(argv, "out")
    check(wanted.endswith(b"ok\n"), f"undisturbed: {wanted}")
    begun = written("base.db-journal", 1)
    for _ in range(3):
        repeated(lambda attempt: killed_and_restarted(t, argv, wanted, seconds * 0.5, result="out",
                                                      begun=begun, attempt=attempt))
        database = os.path.join(t.directory, f"p{t.started}", "base.db")
        with sqlite3.connect(database) as base:
            check(base.execute("PRAGMA integrity_check").fetchone() == ("ok",), "integrity")
        check(not os.path.exists(database + "-journal"), "the journal was left behind")


@test("python3 prints a growing sequence", timeout=150)
def python(t):
    """The interpreter, with its heap and its output file: no line lost, doubled or different."""
    script = t.script("sequence.py", SEQUENCE)
    argv = ["/bin/sh", "-c", f"exec {sys.executable} {script} {t.rounds(6000, 2000)} > $0/out",
            "{dir}"]
    disturbed(t, argv, 3, span_of=0.6, result="out", begun=written("out", 100))


@test("killed later than checkpointed, files rewound", timeout=120)
def rewound(t):
    """The program ran on after the checkpoint and wrote more. With --rewind-files its output is cut
    back to what it was, and the end is that of an undisturbed run."""
    script = t.script("sequence.py", SEQUENCE)
    argv = ["/bin/sh", "-c", f"exec {sys.executable} {script} {t.rounds(6000, 2000)} >> $0/out",
            "{dir}"]
    wanted, _ = t.undisturbed(argv, "out")
    process = t.start(argv)
    with slowed(process):
        written("out", 1000)(process)
        process.stop()
        t.checkpoint(process)
        size = os.path.getsize(process.path("out"))
        process.go_on()
        wait_for(lambda: os.path.getsize(process.path("out")) > size + 100, 30, "further lines")
        process.kill()
    t.note(f"out: {len(read(process.path('out')))} bytes at the kill, {size} before")
    again = t.restart(process, "--rewind-files")
    wait_for(lambda: state_of(again.pid) == "T", 20, "the restarted process, stopped as it was")
    found = os.path.getsize(process.path("out"))
    check(found == size, f"out has {found} bytes after the restart, {size} at the checkpoint")
    again.go_on()
    t.same_result(again, wanted, "out")
