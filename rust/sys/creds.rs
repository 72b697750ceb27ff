// SPDX-License-Identifier: GPL-2.0

//! Credentials: those of a task, and acting with those of another.

use super::helpers;
use core::ptr::NonNull;
use kernel::{bindings, cred::Credential, prelude::*, sync::aref::ARef};

/// The credentials of the calling task.
pub(crate) fn credentials() -> Result<ARef<Credential>> {
    // SAFETY: always callable in process context.
    let cred = unsafe { helpers::geist_current_cred() };
    let cred = NonNull::new(cred.cast_mut().cast::<Credential>()).ok_or(ESRCH)?;
    // SAFETY: the helper took a reference; `Credential` is a transparent `struct cred`.
    Ok(unsafe { ARef::from_raw(cred) })
}

/// The calling task acts with other credentials as long as the value lives.
pub(crate) struct ActingAs<'a> {
    old: *const bindings::cred,
    _new: &'a Credential,
}

impl<'a> ActingAs<'a> {
    /// Takes on `credentials`. Values must be dropped in the reverse order of their making.
    pub(crate) fn new(credentials: &'a Credential) -> Self {
        // SAFETY: the credentials outlive the value, whose drop puts the old ones back.
        let old = unsafe { helpers::geist_override_creds(credentials.as_ptr()) };
        Self {
            old,
            _new: credentials,
        }
    }
}

impl Drop for ActingAs<'_> {
    fn drop(&mut self) {
        // SAFETY: `old` is what this task had before; its own reference was kept all the while.
        unsafe { helpers::geist_revert_creds(self.old) }
    }
}
