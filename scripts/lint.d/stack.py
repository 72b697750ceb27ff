# SPDX-License-Identifier: GPL-2.0
"""No function of the module takes more than a quarter of the kernel's stack of 16 KiB: an ioctl is several of geist's deep
before it comes to the file system and the disk, and an interrupt wants room, too. stack.py MODULE"""

import re
import subprocess
import sys

LIMIT = 4096

FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
FRAME = re.compile(r"\tsub +\$0x([0-9a-f]{1,8}),%rsp")

listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", sys.argv[1]], stdout=subprocess.PIPE, text=True,
                         check=True).stdout
function, frames = None, {}
for line in listing.splitlines():
    if found := FUNCTION.match(line):
        function = found.group(1)
    elif found := FRAME.search(line):
        frames[function] = max(frames.get(function, 0), int(found.group(1), 16))
if not frames:
    sys.exit(f"{sys.argv[1]}: no function was found")
large = {name: size for name, size in frames.items() if size > LIMIT}
for name, size in sorted(large.items(), key=lambda one: -one[1]):
    print(f"{name} takes {size} bytes of the stack, more than {LIMIT}; what is large belongs into a KBox or a KVec, what"
          " many branches need into functions that are not inlined")
sys.exit(bool(large))
