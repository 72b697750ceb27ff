// SPDX-License-Identifier: GPL-2.0

//! File locks. Taken last of all work with files: closing any descriptor of a file drops the locks
//! that a process has on it.

use super::check::file_name;
use crate::image::Task;
use crate::sys::locks::lock_range;
use anyhow::{anyhow, bail, Result};
use geist_image::files::{FileLock, LockKind};
use rustix::fs::{flock, FlockOperation};
use std::io;
use std::os::fd::BorrowedFd;

/// Takes every lock of the process; `descriptor` gives one that shows a file object.
pub fn restore(task: &Task, descriptor: impl Fn(u32) -> Option<BorrowedFd<'static>>) -> Result<()> {
    for lock in &task.locks {
        let Some(fd) = descriptor(lock.object) else {
            bail!("a lock of the image is on a file without a descriptor");
        };
        take(lock, fd).map_err(|error| {
            let path = task.object(lock.object).map_or(&[][..], |(_, path)| path);
            let name = file_name(task.process.pid, path);
            match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::PermissionDenied => {
                    anyhow!("{name} is locked by another process")
                }
                _ => anyhow!("{name} cannot be locked: {error}"),
            }
        })?;
    }
    Ok(())
}

fn take(lock: &FileLock, fd: BorrowedFd<'_>) -> io::Result<()> {
    let exclusive = lock.exclusive != 0;
    let start = lock.start as i64;
    let end = (lock.end < i64::MAX as u64).then_some(lock.end as i64);
    match LockKind::from_number(lock.kind) {
        Some(LockKind::Posix) => lock_range(fd, false, exclusive, start, end),
        Some(LockKind::Ofd) => lock_range(fd, true, exclusive, start, end),
        Some(LockKind::Flock) => {
            let operation = match exclusive {
                true => FlockOperation::NonBlockingLockExclusive,
                false => FlockOperation::NonBlockingLockShared,
            };
            Ok(flock(fd, operation)?)
        }
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
