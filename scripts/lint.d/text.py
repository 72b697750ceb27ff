# SPDX-License-Identifier: GPL-2.0
"""Reads file names; what no file of the repository may have in it."""

import os
import re
import sys
from urllib.parse import urlparse

LONGEST = 600
# Made by programs, or by others.
NOT_OURS = ("LICENSE", "Cargo.lock")
CORPUS = "tools/testing/fuzz/corpus/"
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
ADDRESS = re.compile(r"\bhttps?://(?!(www\.)?(kernel|docs\.kernel|example)\.(org|com)\b)", re.IGNORECASE)
HOME = re.compile(r"(?<![\w$}])/(home/\w|root/\.|Users/\w)")
SOURCES = (".rs", ".c", ".h", ".py", ".sh")

# Of this machine: they are not named in here, but found when the check is run.
machine = [path for path in os.environ["LINT_PATHS"].split(":") if len(path) > 4]
mirror = urlparse(os.environ["LINT_MIRROR"]).hostname


def problems(path):
    """What is wrong in a file."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except UnicodeDecodeError:
        return
    if len(lines) >= LONGEST:
        yield f"{path}: {len(lines)} lines; a file has fewer than {LONGEST}"
    script = bool(lines) and lines[0].startswith("#!")
    if (script or path.endswith(SOURCES)) and not any("SPDX-License-Identifier:" in line for line in lines[:3]):
        yield f"{path}: no SPDX-License-Identifier in the first lines"
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        if UNFINISHED.search(line):
            yield f"{where}: unfinished work: {line.strip()}"
        if HOME.search(line) or any(name in line for name in machine):
            yield f"{where}: a path of one machine: {line.strip()}"
        if ADDRESS.search(line) or (mirror and mirror in line):
            yield f"{where}: an address of a server: {line.strip()}"
        if line != line.rstrip():
            yield f"{where}: blanks at the end of the line"


names = [name for name in sys.stdin.read().split("\n") if name and os.path.basename(name) not in NOT_OURS
         and not name.startswith(CORPUS)]
found = [problem for name in names for problem in problems(name)]
print("\n".join(found))
sys.exit(bool(found))
