# SPDX-License-Identifier: GPL-2.0
"""The symbols that the module looks up, and those that the documentation gives a reason for, are the same."""

import os
import re
import sys

CODE = "rust/sys/symbols.rs"
PAGE = "Documentation/unexported-symbols.rst"

for needed in (CODE, PAGE):
    if not os.path.exists(needed):
        sys.exit(f"{needed} is missing")
with open(CODE, encoding="utf-8") as file:
    used = set(re.findall(r'\bc"(\w+)"', file.read()))
with open(PAGE, encoding="utf-8") as file:
    entries = re.findall(r"^- ``(\w+)``:[ \t]*(\S?)", file.read(), re.MULTILINE)
listed = {name for name, _ in entries}

found = [f"{PAGE}: {name}, which {CODE} looks up, is missing" for name in sorted(used - listed)]
found += [f"{PAGE}: {name} is listed, but {CODE} does not look it up" for name in sorted(listed - used)]
found += [f"{PAGE}: {name} has no reason" for name, reason in entries if not reason]
print("\n".join(found))
sys.exit(bool(found))
