# SPDX-License-Identifier: GPL-2.0
"""Reads names of the module's Rust files. Unsafe code may only be below rust/sys/, and must say why it is sound:
a block, impl or extern by a SAFETY comment above it or on its line, a function by a Safety section in its docs."""

import re
import sys

ROOM = "rust/sys/"
CODE = re.compile(r'"(?:\\.|[^"\\])*"|//.*')
UNSAFE = re.compile(r"\bunsafe\b(?!_)")


def reason_above(lines, index, words):
    """Whether the comment, attributes and the rest of the statement above a line contain one of the words."""
    above = index - 1
    while above >= 0 and index - above <= 60:
        line = lines[above].strip()
        comment = line.startswith(("//", "#[", "#!["))
        if comment and any(word in line for word in words):
            return True
        # A statement may begin some lines above its unsafe block; a finished one or a blank line ends the search.
        if not comment and (not line or line.endswith((";", "{", "}"))):
            return False
        above -= 1
    return False


def problems(path):
    """What is wrong in a file."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    for index, line in enumerate(lines):
        code = CODE.sub('""', line)
        if not UNSAFE.search(code) or code.strip().startswith(("#[", "#![")):
            continue
        where = f"{path}:{index + 1}"
        if not path.startswith(ROOM):
            yield f"{where}: unsafe outside of {ROOM}: wrap it there"
        elif re.search(r"\bunsafe\s+(extern\s+\"\"\s+)?fn\s+\w", code):
            if not reason_above(lines, index, ("# Safety", "SAFETY:")):
                yield f"{where}: the docs of this unsafe function have no '# Safety' section"
        elif re.search(r":\s*(Option<)?unsafe\b|\btype\b.*=\s*unsafe\b", code):
            continue
        elif "SAFETY:" not in line and not reason_above(lines, index, ("SAFETY:",)):
            yield f"{where}: no '// SAFETY:' comment above this unsafe code"


found = [problem for path in sys.stdin.read().split("\n") if path for problem in problems(path)]
print("\n".join(found))
sys.exit(bool(found))
