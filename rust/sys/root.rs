// SPDX-License-Identifier: GPL-2.0

//! From where a task sees the system: its root directory and its namespaces.
//!
//! A thread of the kernel has an empty root of its own. To name files as a user does, it takes on
//! the root that this user had.

use super::helpers;
use core::ptr::NonNull;
use kernel::{bindings, prelude::*};

/// The root directory of a task, kept.
pub(crate) struct KeptRoot(NonNull<bindings::fs_struct>);

// SAFETY: the structure is changed by nobody, and its paths may be used and released by any task.
unsafe impl Send for KeptRoot {}
// SAFETY: as above.
unsafe impl Sync for KeptRoot {}

impl KeptRoot {
    /// The root directory of the calling task. May sleep.
    pub(crate) fn of_caller() -> Result<Self> {
        // SAFETY: callable in process context.
        let fs = unsafe { helpers::geist_root_keep() };
        Ok(Self(NonNull::new(fs).ok_or(ENOMEM)?))
    }

    /// The calling thread of the kernel sees the system from this root as long as the value lives.
    pub(crate) fn enter(&self) -> InRoot<'_> {
        // SAFETY: the structure outlives the value, whose drop puts the old one back.
        let old = unsafe { helpers::geist_root_enter(self.0.as_ptr()) };
        InRoot { old, _root: self }
    }
}

impl Drop for KeptRoot {
    fn drop(&mut self) {
        // SAFETY: made by `geist_root_keep`; no task is in it, since `InRoot` borrows it.
        unsafe { helpers::geist_root_drop(self.0.as_ptr()) }
    }
}

/// See [`KeptRoot::enter`].
pub(crate) struct InRoot<'a> {
    old: *mut bindings::fs_struct,
    _root: &'a KeptRoot,
}

impl Drop for InRoot<'_> {
    fn drop(&mut self) {
        // SAFETY: `old` is what this task had before. The value cannot have moved to another task,
        // since it holds a pointer and so is not `Send`.
        unsafe { helpers::geist_root_leave(self.old) }
    }
}

/// Whether the calling task is in the namespaces that the system began with, as threads of the
/// kernel are.
pub(crate) fn in_first_namespaces() -> bool {
    // SAFETY: callable in process context.
    unsafe { helpers::geist_in_first_namespaces() }
}
