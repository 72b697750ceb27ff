// SPDX-License-Identifier: GPL-2.0

//! One piece of work for later, in process context: seeing to it that applications that have ended
//! are forgotten, and their folders gone.

use super::helpers;

/// Has a worker call [`crate::app::settle`] soon. Any context.
pub(crate) fn schedule() {
    // SAFETY: the work is a static of this module, and cancelled before the module goes.
    unsafe { helpers::geist_work_schedule() }
}

/// The same after a while, unless a worker is to call it sooner. Any context.
pub(crate) fn schedule_after(milliseconds: u64) {
    // SAFETY: as above.
    unsafe { helpers::geist_work_schedule_after(milliseconds as u32) }
}

/// Takes the work back, or waits until it is done. May sleep. For unloading.
pub(crate) fn cancel() {
    // SAFETY: as above.
    unsafe { helpers::geist_work_cancel() }
}

/// Called by the worker.
#[no_mangle]
extern "C" fn geist_on_work() {
    crate::app::settle();
}
