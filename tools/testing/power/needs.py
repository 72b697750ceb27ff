# SPDX-License-Identifier: GPL-2.0
"""Which files the versions of an application need, read from the files themselves."""

import os
import re
import struct

# Bytes of header and trailer around the body of a file (Documentation/format.md).
HEADER, TRAILER = 64, 16


def body(directory, name):
    """What a file holds between its header and its trailer."""
    with open(os.path.join(directory, name), "rb") as file:
        return file.read()[HEADER:-TRAILER]


def needed(directory, app, version):
    """Names of the files that a version needs to be restarted."""
    name = f"global_v{version}.bin"
    names = {name}
    stored_as, = struct.unpack_from("<Q", body(directory, name), 48)
    number = stored_as or version
    names |= {f"description_v{number}.txt", f"node_0_v{number}.bin", f"task_{app}_v{number}.bin",
              f"task_mm_{app}_v{number}.bin"}
    base = number
    while base:
        control = f"control_{app}_v{base}.bin"
        names.add(control)
        content = body(directory, control)
        base, extents = struct.unpack_from("<QQ", content, 24)
        for row in range(extents):
            holder, = struct.unpack_from("<Q", content, 40 + 32 * row + 16)
            if holder:
                names.add(f"task_mm_{app}_v{holder}.bin")
    return names


def superfluous(directory, app):
    """Names of files that no version needs."""
    there = set(os.listdir(directory)) - {"instance"}
    versions = [int(found.group(1)) for name in there if (found := re.fullmatch(r"global_v(\d+)\.bin", name))]
    return sorted(there.difference(*(needed(directory, app, version) for version in versions)))
