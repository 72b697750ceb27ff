# SPDX-License-Identifier: GPL-2.0
"""The client's own words, on real versions: what it lists and shows, --stop, removing."""

import os
import signal
import time

import snapshot
from context import program, state_of
from harness import check, read, test, wait_for

MAW = [program("maw"), "--out", "{dir}/result", "--hold", "{dir}/go", "--mb", "4", "--rounds", "80"]


@test("list and show say what there is", timeout=60)
def list_show(t):
    """Both versions with their descriptions, sizes that are those of the files, the memory table in
    the seed's columns with a row for each stored page, and text that decodes every kind of file."""
    process = t.start(MAW)
    process.wait_ready()
    for text in ("the first", "the second"):
        t.checkpoint(process, "-d", text)
        process.signal(signal.SIGUSR1)
    rows = t.geist_ok("list", "--json").json()
    check([row["version"] for row in rows] == [1, 2], f"{rows}")
    for row, text in zip(rows, ("the first", "the second")):
        check(row["app"] == process.pid and row["state"] == "good", f"{row}")
        check(text in row["description"], f"{row}")
        ends = (f"_v{row['version']}.bin", f"_v{row['version']}.txt")
        size = sum(os.path.getsize(os.path.join(t.store, str(process.pid), name))
                   for name in t.app_files(process.pid) if name.endswith(ends))
        check(row["bytes"] == size, f"{row['bytes']} bytes, the files have {size}")
    table = t.geist_ok("list").out
    check(str(process.pid) in table and "the second" in table, table)
    shown = t.geist_ok("show", f"{process.pid}@1").out
    for word in ("maw", "rip", "SIGUSR1", "stdout", "the first"):
        check(word.lower() in shown.lower(), f"show does not say {word!r}")
    shown = t.geist_ok("show", f"{process.pid}@1", "--control").out.lower()
    for word in ("offset", "virtual address", "version"):
        check(word in shown, f"the control table has no column {word!r}")
    pages = t.geist_ok("list", "--json").json()[0]["pages"]
    lines = [line for line in shown.splitlines() if "0x" in line]
    check(len(lines) >= pages, f"{len(lines)} rows for {pages} pages")
    t.geist_ok("show", process.pid, "--json").json()
    process.kill()


@test("--stop leaves it stopped", timeout=90)
def stop(t):
    """After --stop the process is stopped and unharmed, and goes on when told; the version runs
    when it is restarted, for it was running when it was taken."""
    wanted, _ = t.undisturbed(MAW)
    process = t.start(MAW)
    process.wait_ready()
    time.sleep(t.rng.uniform(0, 0.3))
    t.checkpoint(process, "--stop")
    wait_for(lambda: state_of(process.pid) == "T", 10, "stop")
    before = snapshot.snapshot(process.pid)
    process.go_on()
    t.same_result(process, wanted)
    os.unlink(process.path("go"))
    os.unlink(process.path("result"))
    again = t.restart(process)
    check(state_of(again.pid) != "T", "it was restarted stopped")
    after = snapshot.stop_and_look(again)
    check(before["mappings"] == after["mappings"], "other mappings than before")
    again.go_on()
    t.same_result(again, wanted)


@test("removing what is not needed", timeout=60)
def remove(t):
    """rm asks, and then takes away an application with all its files; what another version builds
    on is not taken away, or that version does not need it any more."""
    process = t.start(MAW)
    process.wait_ready()
    for _ in range(3):
        t.checkpoint(process)
    process.kill()
    t.geist_refuses("yes", "rm", process.pid)
    t.geist("rm", f"{process.pid}@1", "--yes")
    t.geist_ok("verify", process.pid)
    again = t.restart(process)
    again.signal(signal.SIGUSR1)
    again.wait_file("result.verified")
    again.kill()
    t.geist_ok("rm", process.pid, "--yes")
    check(os.listdir(t.store) == [], f"left: {os.listdir(t.store)}")
    check(read(process.path("result")) is None, "it had ended")
