// SPDX-License-Identifier: GPL-2.0

//! Work that a task does on its way back to user space, inside `get_signal()`.

use super::helpers;
use kernel::{bindings, error::to_result, prelude::*, task::Task, types::Opaque};

/// Something to be done once.
pub(crate) trait Work: Send + 'static {
    /// Does it. Runs in the task that queued it: inside `get_signal()`, or, when the task was
    /// killed before, while it exits and has no address space any more. May sleep.
    fn run(self);
}

#[pin_data]
struct Queued<T> {
    #[pin]
    head: Opaque<bindings::callback_head>,
    work: T,
}

/// Makes the calling task do `work` before it returns to user space. The module stays loaded until
/// it is done. `ENOMEM`, `ESRCH` (the task exits). Process context.
pub(crate) fn queue_on_current<T: Work>(work: T) -> Result {
    let queued = KBox::pin_init(
        pin_init!(Queued {
            head <- Opaque::ffi_init(|slot: *mut bindings::callback_head| {
                // SAFETY: the slot is valid memory for the structure.
                unsafe {
                    slot.write(bindings::callback_head {
                        next: core::ptr::null_mut(),
                        func: Some(run::<T>),
                    })
                }
            }),
            work,
        }),
        GFP_KERNEL,
    )?;
    // SAFETY: the module is alive, since this code runs. `run` gives the reference up.
    if !unsafe { helpers::geist_try_module_get() } {
        return Err(ENODEV);
    }
    // SAFETY: the memory is moved only by `run`, which takes it back as the kernel is done with it.
    let queued = KBox::into_raw(unsafe { Pin::into_inner_unchecked(queued) });
    // SAFETY: the head stays valid until `run` was called.
    let result = to_result(unsafe {
        bindings::task_work_add(
            Task::current_raw(),
            (*queued).head.get(),
            bindings::task_work_notify_mode_TWA_SIGNAL,
        )
    });
    if result.is_err() {
        // SAFETY: the work was not queued, so nobody else has the memory or the reference.
        unsafe {
            drop(KBox::from_raw(queued));
            helpers::geist_module_put();
        }
    }
    result
}

/// Called by `task_work_run()`.
///
/// # Safety
///
/// `head` is that of a `Queued<T>` that `queue_on_current` queued, and which nobody uses any more.
unsafe extern "C" fn run<T: Work>(head: *mut bindings::callback_head) {
    // SAFETY: `queue_on_current` made the box and gave it away; see above.
    let queued = unsafe {
        KBox::from_raw(kernel::container_of!(Opaque::cast_from(head), Queued<T>, head).cast_mut())
    };
    let Queued { work, .. } = KBox::into_inner(queued);
    work.run();
    // SAFETY: gives up the reference that `queue_on_current` took. What is left of this function
    // runs before the module's text goes: unloading waits for it (`park::wait_for_works`).
    unsafe { helpers::geist_module_put() }
}
