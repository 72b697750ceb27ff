// SPDX-License-Identifier: GPL-2.0

//! A completion of the kernel, as something that opens once.

use super::helpers;
use kernel::{bindings, error::to_result, prelude::*, types::Opaque};

/// Opens once, and lets everybody pass from then on.
#[pin_data]
pub(crate) struct Latch {
    #[pin]
    completion: Opaque<bindings::completion>,
}

// SAFETY: a completion may be used by any number of tasks.
unsafe impl Send for Latch {}
// SAFETY: as above.
unsafe impl Sync for Latch {}

impl Latch {
    /// A closed one.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            completion <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: the slot is valid memory for a completion, which stays where it is.
                unsafe { bindings::init_completion(slot) }
            }),
        })
    }

    /// Opens it. Any context.
    pub(crate) fn open(&self) {
        // SAFETY: the completion is initialised.
        unsafe { bindings::complete_all(self.completion.get()) }
    }

    /// Waits until it is open. Nothing ends the wait before.
    pub(super) fn wait(&self) {
        // SAFETY: the completion is initialised; the caller may sleep.
        unsafe { bindings::wait_for_completion(self.completion.get()) }
    }

    /// Waits until it is open or the calling task is being killed (`EINTR`). The wait may be frozen.
    pub(crate) fn wait_killable(&self) -> Result {
        // SAFETY: the completion is initialised; the caller may sleep.
        to_result(unsafe { helpers::geist_wait_killable(self.completion.get()) }).map_err(|_| EINTR)
    }
}
