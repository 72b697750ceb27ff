// SPDX-License-Identifier: GPL-2.0

//! Parking threads on their way to user space.
//!
//! A parked thread is inside a task work that was queued with `TWA_RESUME`: all its registers are
//! saved, and it runs no user code until the gate opens. A thread that sleeps in a system call is
//! not woken; should it wake meanwhile, it parks before it reaches user space.
//!
//! The death of a thread with a queued work waits at the gate as well, so its stack, and what the
//! kernel keeps of it, stay while the gate is closed.

use super::helpers;
use super::latch::Latch;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::{
    bindings,
    prelude::*,
    sync::{aref::ARef, new_condvar, new_mutex, Arc, CondVar, Mutex},
    task::Task,
    time::msecs_to_jiffies,
    types::Opaque,
};

/// What the threads of an application park at.
#[pin_data]
pub(crate) struct Gate {
    /// Opens at the end of the capture. Death waits for it, too.
    #[pin]
    captured: Latch,
    /// Opens when the threads may go on. Death does not wait for it.
    #[pin]
    released: Latch,
    /// Number of arrivals so far.
    #[pin]
    arrivals: Mutex<usize>,
    #[pin]
    arrived: CondVar,
}

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                captured <- Latch::new(),
                released <- Latch::new(),
                arrivals <- new_mutex!(0),
                arrived <- new_condvar!(),
            }),
            GFP_KERNEL,
        )
    }

    /// The capture is over: threads that are being killed may die.
    pub(crate) fn capture_done(&self) {
        self.captured.open();
    }

    /// Opens the gate.
    pub(crate) fn open(&self) {
        self.captured.open();
        self.released.open();
    }

    /// Waits until a thread arrives, at most `milliseconds`. `EINTR` when a signal is pending.
    pub(crate) fn wait_for_arrival(&self, seen: usize, milliseconds: u32) -> Result<usize> {
        let mut arrivals = self.arrivals.lock();
        if *arrivals == seen {
            let timeout = msecs_to_jiffies(milliseconds);
            use kernel::sync::CondVarTimeoutResult::*;
            if let Signal { .. } = self
                .arrived
                .wait_interruptible_timeout(&mut arrivals, timeout)
            {
                return Err(EINTR);
            }
        }
        Ok(*arrivals)
    }
}

/// The work that parks one thread.
#[pin_data]
struct Work {
    #[pin]
    head: Opaque<bindings::callback_head>,
    gate: Arc<Gate>,
    parked: AtomicBool,
}

// SAFETY: the head is touched by `task_work_add`, `task_work_cancel` and the kernel's running of
// works only, which synchronise among themselves; the rest is `Sync`.
unsafe impl Send for Work {}
// SAFETY: as above.
unsafe impl Sync for Work {}

/// A thread for which a work was queued. Dropping it withdraws a work that has not begun.
pub(crate) struct ParkedThread {
    task: ARef<Task>,
    work: Arc<Work>,
}

impl ParkedThread {
    /// Makes `task` park at `gate` as soon as it comes back to user space. Does not wait. `ESRCH`
    /// when it is exiting. Process context.
    pub(crate) fn queue(task: ARef<Task>, gate: Arc<Gate>) -> Result<Self> {
        let work = Arc::pin_init(
            pin_init!(Work {
                head <- Opaque::ffi_init(|slot: *mut bindings::callback_head| {
                    // SAFETY: the slot is valid memory for the structure.
                    unsafe {
                        slot.write(bindings::callback_head {
                            next: core::ptr::null_mut(),
                            func: Some(park),
                        })
                    }
                }),
                gate,
                parked: AtomicBool::new(false),
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: the module is alive, since this code runs. The reference is given up when the
        // work has run or was withdrawn.
        if !unsafe { helpers::geist_try_module_get() } {
            return Err(ENODEV);
        }
        let head = work.head.get();
        let queued = Arc::into_raw(work.clone());
        // SAFETY: the head stays valid until the work has run or was withdrawn: the queue owns the
        // reference `queued`.
        let result = unsafe {
            bindings::task_work_add(
                task.as_ptr(),
                head,
                bindings::task_work_notify_mode_TWA_RESUME,
            )
        };
        if result != 0 {
            // SAFETY: the work was not queued, so its reference is given back, and that of the
            // module with it.
            unsafe {
                drop(Arc::from_raw(queued));
                helpers::geist_module_put();
            }
            return Err(Error::from_errno(result));
        }
        Ok(Self { task, work })
    }

    /// The thread.
    pub(crate) fn task(&self) -> &ARef<Task> {
        &self.task
    }

    /// Whether it stands at the gate.
    pub(crate) fn is_parked(&self) -> bool {
        self.work.parked.load(Ordering::Acquire)
    }
}

impl Drop for ParkedThread {
    fn drop(&mut self) {
        // SAFETY: task and work are valid. Where the work was withdrawn, nobody else will give up
        // the references that the queue had.
        unsafe {
            if helpers::geist_task_work_cancel(self.task.as_ptr(), self.work.head.get()) {
                drop(Arc::from_raw(Arc::as_ptr(&self.work)));
                helpers::geist_module_put();
            }
        }
    }
}

/// Runs in the thread that parks, in `task_work_run()`.
///
/// # Safety
///
/// Called by the kernel, once, with the head of a [`Work`] that was queued.
unsafe extern "C" fn park(head: *mut bindings::callback_head) {
    // SAFETY: `head` is the field of a `Work` whose reference the queue owned and which is taken
    // over here.
    let work = unsafe {
        let head: *const Opaque<bindings::callback_head> = Opaque::cast_from(head);
        let work: *const Work = kernel::container_of!(head.cast_mut(), Work, head);
        Arc::from_raw(work)
    };
    work.parked.store(true, Ordering::Release);
    *work.gate.arrivals.lock() += 1;
    work.gate.arrived.notify_all();
    work.gate.captured.wait();
    // A fatal signal ends the wait, which is what it is for.
    let _ = work.gate.released.wait_killable();
    drop(work);
    // SAFETY: gives up the reference that was taken when the work was queued. What is left of this
    // function runs before the module's text goes: unloading waits for it ([`Works`]).
    unsafe { helpers::geist_module_put() }
}

/// All works of the module. Dropped when it is unloaded, after the last reference to it is gone.
pub(crate) struct Works;

impl Drop for Works {
    fn drop(&mut self) {
        // SAFETY: unloading may sleep. A task that was in the last instructions of a work has
        // passed a voluntary switch or user space when this returns.
        unsafe { helpers::geist_synchronize_rcu_tasks() }
    }
}
