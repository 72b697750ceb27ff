// SPDX-License-Identifier: GPL-2.0

//! Threads of the kernel that do a job at moments of the monotonic clock.

use super::helpers;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::{
    bindings,
    error::from_err_ptr,
    ffi,
    prelude::*,
    sync::{Arc, Completion},
};

/// What a thread does.
pub(crate) trait Job: Send + Sync + 'static {
    /// Runs in the thread, once, until the thread is to stop. May sleep.
    fn run(&self, thread: &Thread);
}

/// Why a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The time has come.
    Due,
    /// [`Worker::notify`] was called.
    Notified,
    /// The thread is to stop.
    Stop,
}

/// The thread as it sees itself.
pub(crate) struct Thread {
    notified: AtomicBool,
    stopping: AtomicBool,
}

impl Thread {
    /// Sleeps until the monotonic clock says `until_ns` (nanoseconds), without end if that is
    /// `None`, or until somebody wants something of the thread.
    pub(crate) fn sleep_until(&self, until_ns: Option<u64>) -> Woken {
        let until = until_ns.map_or(-1, |until| i64::try_from(until).unwrap_or(i64::MAX));
        loop {
            // SAFETY: between this and the sleep nothing is done that may itself sleep.
            unsafe { helpers::geist_sleep_prepare() };
            let woken = self.wanted(until_ns);
            if let Some(woken) = woken {
                // SAFETY: always callable.
                unsafe { helpers::geist_sleep_cancel() };
                return woken;
            }
            // SAFETY: prepared above; process context.
            unsafe { helpers::geist_sleep_until(until) };
        }
    }

    fn wanted(&self, until_ns: Option<u64>) -> Option<Woken> {
        if self.stopping.load(Ordering::Acquire) {
            return Some(Woken::Stop);
        }
        if self.notified.swap(false, Ordering::AcqRel) {
            return Some(Woken::Notified);
        }
        until_ns
            .is_some_and(|until| super::clock::monotonic_ns() >= until)
            .then_some(Woken::Due)
    }
}

/// What the thread and its [`Worker`] share.
struct Shared<J> {
    job: Arc<J>,
    thread: Thread,
    /// The job is over.
    over: Pin<KBox<Completion>>,
}

/// What the thread gets to know: a function and its argument.
struct Start {
    run: unsafe fn(*const ffi::c_void),
    shared: *const ffi::c_void,
}

/// A thread that does a job, and a reference to the module. Dropping it ends the thread, which may
/// take as long as the job is busy: not in that very thread.
pub(crate) struct Worker<J: Job> {
    task: NonNull<bindings::task_struct>,
    shared: KBox<Shared<J>>,
    _start: KBox<Start>,
}

// SAFETY: a task may be woken and stopped by any other; the job is `Send` and `Sync`.
unsafe impl<J: Job> Send for Worker<J> {}
// SAFETY: as above.
unsafe impl<J: Job> Sync for Worker<J> {}

impl<J: Job> Worker<J> {
    /// Starts a thread with the name `geist/<number>`. May sleep.
    pub(crate) fn start(job: Arc<J>, number: u32) -> Result<Self> {
        let shared = KBox::new(
            Shared {
                job,
                thread: Thread {
                    notified: AtomicBool::new(false),
                    stopping: AtomicBool::new(false),
                },
                over: KBox::pin_init(Completion::new(), GFP_KERNEL)?,
            },
            GFP_KERNEL,
        )?;
        let start = KBox::new(
            Start {
                run: run::<J>,
                shared: (&raw const *shared).cast(),
            },
            GFP_KERNEL,
        )?;
        // SAFETY: the module is alive, since this code runs.
        if !unsafe { helpers::geist_try_module_get() } {
            return Err(ENODEV);
        }
        // SAFETY: `start` and `shared` stay where they are until the thread has ended: dropping
        // the worker waits for that first.
        let task = from_err_ptr(unsafe {
            helpers::geist_thread_start((&raw const *start).cast_mut().cast(), number)
        });
        match task.map(NonNull::new) {
            Ok(Some(task)) => Ok(Self {
                task,
                shared,
                _start: start,
            }),
            Ok(None) | Err(_) => {
                // SAFETY: gives up the reference taken above.
                unsafe { helpers::geist_module_put() };
                Err(task.err().unwrap_or(ENOMEM))
            }
        }
    }

    /// What the thread does.
    pub(crate) fn job(&self) -> &Arc<J> {
        &self.shared.job
    }

    /// Ends the sleep that the thread is in, or the next one, with [`Woken::Notified`].
    pub(crate) fn notify(&self) {
        self.shared.thread.notified.store(true, Ordering::Release);
        // SAFETY: the worker holds a reference to the task.
        unsafe { helpers::geist_thread_wake(self.task.as_ptr()) }
    }
}

impl<J: Job> Drop for Worker<J> {
    fn drop(&mut self) {
        // What the job is at comes to its end first: the kernel's way to stop a thread interrupts it
        // as a signal would.
        self.shared.thread.stopping.store(true, Ordering::Release);
        self.notify();
        self.shared.over.wait_for_completion();
        // SAFETY: the worker gives up its reference to the task, and then that to the module, whose
        // text this task still runs in under another reference: an open device, or a work that
        // unloading waits for.
        unsafe {
            helpers::geist_thread_stop(self.task.as_ptr());
            helpers::geist_module_put();
        }
    }
}

/// Runs a job.
///
/// # Safety
///
/// `shared` is a `Shared<J>` that stays until this returns.
unsafe fn run<J: Job>(shared: *const ffi::c_void) {
    // SAFETY: as the caller says.
    let shared = unsafe { &*shared.cast::<Shared<J>>() };
    shared.job.run(&shared.thread);
    shared.over.complete_all();
}

/// Called by the new thread.
///
/// # Safety
///
/// `start` is what [`Worker::start`] passed.
#[no_mangle]
unsafe extern "C" fn geist_on_thread(start: *mut ffi::c_void) {
    // SAFETY: the worker keeps both until the thread has ended.
    unsafe {
        let start = &*start.cast::<Start>();
        (start.run)(start.shared)
    }
}
