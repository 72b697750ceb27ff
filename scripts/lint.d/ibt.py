# SPDX-License-Identifier: GPL-2.0
"""Functions that the kernel does not export are called directly: on a CPU with indirect branch tracking an indirect call of one
that the kernel sealed traps. Reads the symbols of the built module: ibt.py MODULE

Each symbol of rust/sys/c/symbols.c has its static call, which is patched to a direct call, and its address, which is
a number in between, goes nowhere else: nothing but the function that sets it touches the key of a static call, or takes its address.
"""

import re
import subprocess
import sys

SOURCE = "rust/sys/c/symbols.c"
SETTER = "geist_symbol_set"
FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
RELOCATION = re.compile(r"\bR_X86_64_\w+\s+([\w.]+)")

with open(SOURCE, encoding="utf-8") as file:
    names = re.findall(r"^DEFINE_STATIC_CALL_NULL\((\w+),", file.read(), re.MULTILINE)
if not names:
    sys.exit(f"{SOURCE}: no static call was found")
listing = subprocess.run(["objdump", "-dr", "--no-show-raw-insn", sys.argv[1]], stdout=subprocess.PIPE, text=True,
                         check=True).stdout
calls = dict.fromkeys(names, 0)
found, function, instruction = [], None, ""
for line in listing.splitlines():
    if match := FUNCTION.match(line):
        function = match.group(1)
    elif match := RELOCATION.search(line):
        symbol = match.group(1)
        name = symbol[len("__SCT__"):]
        if symbol.startswith("__SCT__") and name in calls:
            if re.search(r"\t(call|jmp) ", instruction):
                calls[name] += 1
            elif function != SETTER:
                found.append(f"{function}: takes the address of the static call {name}: {instruction.strip()}")
        elif symbol.startswith("__SCK__") and symbol[len("__SCK__"):] in calls and function != SETTER:
            found.append(f"{function}: reads the address of {symbol[len('__SCK__'):]}, perhaps to call it: {instruction.strip()}")
    else:
        instruction = line
found += [f"{name}: no direct call of it is in {sys.argv[1]}" for name, count in calls.items() if not count]
print("\n".join(found))
sys.exit(bool(found))
