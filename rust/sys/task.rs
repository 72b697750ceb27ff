// SPDX-License-Identifier: GPL-2.0

//! Tasks: finding them, their threads, whether they sleep, who may look into them.

use super::helpers;
use core::ptr::NonNull;
use kernel::{bindings, error::to_result, prelude::*, sync::aref::ARef, task::Task};

/// More threads than this are an application that geist does not take on.
pub(crate) const MAX_THREADS: usize = 4096;

/// The process or thread with this ID in the pid namespace of the caller. `ESRCH`.
pub(crate) fn find(pid: i32) -> Result<ARef<Task>> {
    // SAFETY: any number may be given.
    let task = NonNull::new(unsafe { helpers::geist_task_find(pid) }).ok_or(ESRCH)?;
    // SAFETY: the helper took a reference, which the `ARef` owns; `Task` is a transparent
    // `task_struct`.
    Ok(unsafe { ARef::from_raw(task.cast()) })
}

/// All living threads of the process of `task`. `E2BIG` above [`MAX_THREADS`].
pub(crate) fn threads(task: &Task) -> Result<KVVec<ARef<Task>>> {
    let mut raw = KVVec::from_elem(
        core::ptr::null_mut::<bindings::task_struct>() as usize,
        16,
        GFP_KERNEL,
    )?;
    loop {
        // SAFETY: the task is valid, the buffer has room for as many pointers as it says.
        let found = unsafe {
            helpers::geist_task_threads(task.as_ptr(), raw.as_mut_ptr().cast(), raw.len() as u32)
        } as usize;
        let fits = found <= raw.len();
        let mut threads = KVVec::with_capacity(found, GFP_KERNEL);
        for address in raw.iter().take(found) {
            let task = NonNull::new(*address as *mut Task).ok_or(ESRCH)?;
            // SAFETY: the helper took a reference to each task that it stored.
            let task = unsafe { ARef::from_raw(task) };
            if let Ok(threads) = &mut threads {
                // Cannot fail: the capacity was reserved.
                let _ = threads.push(task, GFP_KERNEL);
            }
        }
        if fits {
            return Ok(threads?);
        }
        if found > MAX_THREADS {
            return Err(E2BIG);
        }
        raw.resize(found + 16, 0, GFP_KERNEL)?;
    }
}

/// How a thread sleeps, as the scheduler sees it at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SleepState {
    /// `task->__state`.
    pub(crate) state: u32,
    /// It runs, or waits for a CPU.
    pub(crate) runs: bool,
    /// How often it was switched out so far.
    pub(crate) switches: u64,
}

impl SleepState {
    /// The state of `task` now.
    pub(crate) fn of(task: &Task) -> Self {
        let mut raw = helpers::geist_sleep_state {
            state: 0,
            on_cpu: false,
            switches: 0,
        };
        // SAFETY: the task is valid; the helper fills the structure.
        unsafe { helpers::geist_task_sleep_state(task.as_ptr(), &mut raw) };
        Self {
            state: raw.state,
            runs: raw.on_cpu,
            switches: raw.switches as u64,
        }
    }
}

/// Whether the caller may look into and change `task`, as `ptrace(2)` would let it attach.
pub(crate) fn may_access(task: &Task) -> bool {
    // SAFETY: the task is valid.
    unsafe { helpers::geist_ptrace_may_access(task.as_ptr()) }
}

/// The name of a function of the kernel.
pub(crate) struct Place([u8; 64]);

impl Place {
    /// The one that `task` waits in, past the scheduler (what `/proc/<pid>/wchan` shows).
    pub(crate) fn of(task: &Task) -> Self {
        let mut name = [0; 64];
        // SAFETY: the task is valid, and the buffer has room for what the helper writes at most.
        unsafe {
            helpers::geist_task_place(task.as_ptr(), name.as_mut_ptr().cast(), name.len());
        }
        Self(name)
    }

    /// The name; empty where there is none.
    pub(crate) fn name(&self) -> &str {
        let name = self.0.split(|byte| *byte == 0).next();
        name.and_then(|name| core::str::from_utf8(name).ok())
            .unwrap_or("")
    }
}

/// The ID of `task` in the pid namespace of the caller.
pub(crate) fn id_of(task: &Task) -> u32 {
    // SAFETY: the task is valid.
    unsafe { helpers::geist_task_id(task.as_ptr()) as u32 }
}

/// The ID of `task` in the first pid namespace.
pub(crate) fn global_id_of(task: &Task) -> u32 {
    // SAFETY: the task is valid; the field never changes.
    unsafe { (*task.as_ptr()).pid as u32 }
}

/// The system call that `task`, which sleeps, is in; `None` when it came into the kernel otherwise.
/// Only of a task that has a queued work at a closed gate: its stack stays.
pub(crate) fn system_call(task: &Task) -> Option<u64> {
    // SAFETY: the task is valid, and its stack stays, as the caller says; the value is only a hint
    // should the task wake meanwhile, which the caller notices.
    let number = unsafe {
        (&raw const (*helpers::geist_task_pt_regs(task.as_ptr())).orig_ax).read_volatile()
    };
    (number as i64 >= 0).then_some(number as u64)
}

/// What kind of task this is, as far as a checkpoint must know before it looks closer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A thread of a user process.
    User,
    /// A thread of the kernel.
    Kernel,
    /// It is exiting or a zombie.
    Exiting,
}

/// The [`Kind`] of `task`.
pub(crate) fn kind_of(task: &Task) -> Kind {
    // SAFETY: the task is valid; the flags are read once.
    let flags = unsafe { (&raw const (*task.as_ptr()).flags).read_volatile() };
    if flags & (bindings::PF_KTHREAD | bindings::PF_USER_WORKER) != 0 {
        Kind::Kernel
    } else if flags & bindings::PF_EXITING != 0 {
        Kind::Exiting
    } else {
        Kind::User
    }
}

/// Whether the process of `task` is on its way to its end: it was killed, dumps core or exits. Nothing
/// takes that back. Its threads may still stand in the middle of it, with their registers saved.
pub(crate) fn is_ending(task: &Task) -> bool {
    // SAFETY: the task is valid, and its `signal_struct` lives as long; the flags are read once.
    let flags = unsafe { (&raw const (*(*task.as_ptr()).signal).flags).read_volatile() };
    flags & bindings::SIGNAL_GROUP_EXIT != 0 || kind_of(task) == Kind::Exiting
}

/// The thread whose ID is that of the process of `task`.
pub(crate) fn leader_of(task: &Task) -> ARef<Task> {
    // SAFETY: the task is valid; the helper took a reference to its leader, which is not null.
    unsafe {
        let leader = helpers::geist_task_leader(task.as_ptr());
        ARef::from_raw(NonNull::new_unchecked(leader.cast()))
    }
}

/// Sends `signal` (1 to 64) to the process of `task`, as the kernel. `EINVAL`, `ESRCH`.
pub(crate) fn send_signal(task: &Task, signal: u32) -> Result {
    // SAFETY: the task is valid; the kernel checks the number.
    to_result(unsafe { helpers::geist_send_signal(task.as_ptr(), signal as i32) })
}

/// `SIGSTOP`.
pub(crate) const SIGSTOP: u32 = bindings::SIGSTOP;

/// Whether `task` belongs to the calling process.
pub(crate) fn is_own_process(task: &Task) -> bool {
    task.tgid() == kernel::current!().tgid()
}
