// SPDX-License-Identifier: GPL-2.0

//! Locks and leases on files.

use super::fd::FileRef;
use super::helpers;
use crate::image::files::LockKind;
use kernel::{prelude::*, task::Task};

/// A lock.
#[derive(Clone, Copy)]
pub(crate) struct Lock {
    /// Kind.
    pub(crate) kind: LockKind,
    /// A write lock.
    pub(crate) exclusive: bool,
    /// First byte.
    pub(crate) start: u64,
    /// Last byte; `i64::MAX`: to the end of the file.
    pub(crate) end: u64,
}

/// The locks that `task` holds by the open file `file`. May sleep.
pub(crate) fn held(task: &Task, file: &FileRef) -> Result<KVVec<Lock>> {
    // SAFETY: the task is valid and stands still; the pointer is only compared.
    let files = unsafe { (*task.as_ptr()).files }.cast_const().cast();
    let mut raw: KVVec<helpers::geist_lock> = KVVec::new();
    loop {
        let room = raw.capacity();
        // SAFETY: the file is open, and the buffer has room for so many.
        let count = unsafe {
            helpers::geist_file_locks(file.as_ptr(), files, raw.as_mut_ptr(), room as u32)
        } as usize;
        if count <= room {
            // SAFETY: the helper stored so many.
            let stored = unsafe { core::slice::from_raw_parts(raw.as_ptr(), count) };
            let mut locks = KVVec::with_capacity(count, GFP_KERNEL)?;
            for lock in stored {
                locks.push(Lock::from(lock), GFP_KERNEL)?;
            }
            return Ok(locks);
        }
        raw.reserve(count.checked_add(8).ok_or(E2BIG)?, GFP_KERNEL)?;
    }
}

impl From<&helpers::geist_lock> for Lock {
    fn from(raw: &helpers::geist_lock) -> Self {
        Self {
            kind: match raw.kind {
                helpers::geist_lock_kind_GEIST_LOCK_OFD => LockKind::Ofd,
                helpers::geist_lock_kind_GEIST_LOCK_FLOCK => LockKind::Flock,
                _ => LockKind::Posix,
            },
            exclusive: raw.exclusive,
            start: raw.start as u64,
            end: raw.end as u64,
        }
    }
}

/// A lease was taken through `file` (`F_SETLEASE`).
pub(crate) fn has_lease(file: &FileRef) -> bool {
    // SAFETY: the file is open.
    unsafe { helpers::geist_file_has_lease(file.as_ptr()) }
}
