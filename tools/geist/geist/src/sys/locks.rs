// SPDX-License-Identifier: GPL-2.0

//! Byte-range locks of `fcntl(2)`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Takes a lock without waiting, on the bytes from `start` to `end` (`None`: to the end of the
/// file): one of the process, or of the open file description (`ofd`).
pub fn lock_range(
    fd: BorrowedFd<'_>,
    ofd: bool,
    exclusive: bool,
    start: i64,
    end: Option<i64>,
) -> io::Result<()> {
    let kind = if exclusive {
        libc::F_WRLCK
    } else {
        libc::F_RDLCK
    };
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: end.map_or(0, |end| end.saturating_sub(start).saturating_add(1)),
        l_pid: 0,
    };
    let command = if ofd {
        libc::F_OFD_SETLK
    } else {
        libc::F_SETLK
    };
    // SAFETY: both commands read a `struct flock`.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw const lock) };
    super::check(result.into()).map(drop)
}
