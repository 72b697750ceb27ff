# SPDX-License-Identifier: GPL-2.0
"""/dev/geist by ioctl: what the module does by itself, without what the client looks at before."""

import contextlib
import ctypes
import fcntl
import os

from harness import Failed

IGNORE_UNSUPPORTED_FILES = 1 << 2   # GEIST_CHECKPOINT_IGNORE_UNSUPPORTED_FILES
FULL = 1 << 3                       # GEIST_CHECKPOINT_FULL
MESSAGE_BYTES = 1024


class Checkpoint(ctypes.Structure):
    """struct geist_checkpoint"""
    _fields_ = [
        ("size", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("pid", ctypes.c_int32),
        ("dir_fd", ctypes.c_int32), ("app", ctypes.c_uint32), ("signal", ctypes.c_uint32),
        ("version", ctypes.c_uint64), ("durability", ctypes.c_uint32),
        ("timeout_ms", ctypes.c_uint32), ("description", ctypes.c_uint64),
        ("description_len", ctypes.c_uint32), ("message_len", ctypes.c_uint32),
        ("message", ctypes.c_uint64), ("pages", ctypes.c_uint64), ("bytes", ctypes.c_uint64),
        ("control_bytes", ctypes.c_uint64), ("pause_us", ctypes.c_uint64),
        ("capture_us", ctypes.c_uint64), ("write_us", ctypes.c_uint64),
        ("commit_us", ctypes.c_uint64), ("total_us", ctypes.c_uint64),
        ("parent", ctypes.c_uint64), ("left_out", ctypes.c_uint32), ("reserved", ctypes.c_uint32),
    ]


class RestartPrepare(ctypes.Structure):
    """struct geist_restart_prepare"""
    _fields_ = [
        ("size", ctypes.c_uint32), ("dir_fd", ctypes.c_int32), ("app", ctypes.c_uint32),
        ("message_len", ctypes.c_uint32), ("version", ctypes.c_uint64),
        ("message", ctypes.c_uint64), ("files", ctypes.c_uint64), ("file_count", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    ]


class Watch(ctypes.Structure):
    """struct geist_watch"""
    _fields_ = [
        ("size", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("pid", ctypes.c_int32),
        ("dir_fd", ctypes.c_int32), ("app", ctypes.c_uint32), ("durability", ctypes.c_uint32),
        ("version", ctypes.c_uint64), ("interval_us", ctypes.c_uint64), ("keep", ctypes.c_uint32),
        ("full_every", ctypes.c_uint32), ("timeout_ms", ctypes.c_uint32),
        ("file_count", ctypes.c_uint32), ("files", ctypes.c_uint64),
        ("description", ctypes.c_uint64), ("description_len", ctypes.c_uint32),
        ("message_len", ctypes.c_uint32), ("message", ctypes.c_uint64),
    ]


# The number of each call.
CALLS = {Checkpoint: 1, RestartPrepare: 2, Watch: 5}


class Refused(Failed):
    """The module refuses; the text is its sentence."""


class Device:
    """/dev/geist and the directory of one application in a store."""

    def __init__(self, store, app):
        self.app = app
        self.fd = os.open("/dev/geist", os.O_RDWR | os.O_CLOEXEC)
        self.directory = os.open(os.path.join(store, str(app)), os.O_RDONLY | os.O_DIRECTORY)

    def close(self):
        """Closes both."""
        os.close(self.fd)
        os.close(self.directory)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @contextlib.contextmanager
    def locked(self):
        """The directory is this one's, as the module wants it of who writes to it."""
        fcntl.flock(self.directory, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.directory, fcntl.LOCK_UN)

    def call(self, kind, **fields):
        """Makes the call of a structure; the structure with what it answers."""
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        call = kind(size=ctypes.sizeof(kind), dir_fd=self.directory,
                    message=ctypes.addressof(message), message_len=MESSAGE_BYTES, **fields)
        command = 0xb7 << 8 | CALLS[kind]
        try:
            fcntl.ioctl(self.fd, command, call)
        except OSError as error:
            raise Refused(message.value.decode() or str(error)) from None
        return call

    def checkpoint(self, version, flags=0, app=None):
        """Takes a version, without flushing it to the disk."""
        with self.locked():
            return self.call(Checkpoint, flags=flags, pid=self.app, app=app or self.app,
                             version=version)

    def watch(self, app):
        """Begins to watch the process as an application. The directory stays locked."""
        fcntl.flock(self.directory, fcntl.LOCK_EX)
        return self.call(Watch, pid=self.app, app=app, version=1)

    def prepare(self, version, files=()):
        """Has a version read and checked, as the beginning of a restart with these files: pairs of the
        number of a file object and a descriptor."""
        rows = (ctypes.c_int32 * (2 * len(files)))(*(number for row in files for number in row))
        return self.call(RestartPrepare, app=self.app, version=version,
                         files=ctypes.addressof(rows), file_count=len(files))
