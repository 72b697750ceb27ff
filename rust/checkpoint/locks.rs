// SPDX-License-Identifier: GPL-2.0

//! Capture of file locks.

use crate::error::Outcome;
use crate::image::files::FileLock;
use crate::sys::fd::FileRef;
use crate::sys::lock;
use kernel::{prelude::*, task::Task};

/// Appends the locks that the process of `task` holds by the open file of object `object`.
pub(super) fn export_locks(
    task: &Task,
    file: &FileRef,
    object: u32,
    locks: &mut KVVec<FileLock>,
) -> Outcome {
    for lock in lock::held(task, file)?.iter() {
        let record = FileLock {
            object,
            kind: lock.kind as u32,
            exclusive: u32::from(lock.exclusive),
            reserved: 0,
            start: lock.start,
            end: lock.end,
        };
        locks.push(record, GFP_KERNEL)?;
    }
    Ok(())
}
