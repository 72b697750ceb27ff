// SPDX-License-Identifier: GPL-2.0

//! What the calling process does to itself while it is restarted.
//!
//! Nothing here touches another task, unless it is handed one.

use super::helpers;
use kernel::{bindings, error::to_result, fs::File, prelude::*, task::Task};

/// Why the calling process cannot become a process of an image: words, or `None` when it can.
pub(crate) fn skeleton_unfit() -> Option<&'static str> {
    // SAFETY: called in a system call of a process.
    let unfit = unsafe { helpers::geist_skeleton_unfit() };
    [
        (helpers::GEIST_UNFIT_32BIT, "it makes 32-bit system calls"),
        (helpers::GEIST_UNFIT_THREADS, "it has more than one thread"),
        (
            helpers::GEIST_UNFIT_MEMORY,
            "another task uses its address space",
        ),
        (
            helpers::GEIST_UNFIT_FILES,
            "another process shares its file descriptors",
        ),
        (
            helpers::GEIST_UNFIT_SIGNALS,
            "it has not blocked all signals",
        ),
        (helpers::GEIST_UNFIT_SHADOW_STACK, "it has a shadow stack"),
    ]
    .into_iter()
    .find_map(|(bit, words)| (unfit & bit != 0).then_some(words))
}

/// Process ID of the calling process in its own pid namespace.
pub(crate) fn own_pid() -> i32 {
    // SAFETY: always callable in process context.
    unsafe { helpers::geist_current_tgid() }
}

/// Whether `task` is exiting or has exited.
pub(crate) fn is_exiting(task: &Task) -> bool {
    // SAFETY: the task is valid.
    unsafe { helpers::geist_task_is_exiting(task.as_ptr()) }
}

/// Whether the calling task is exiting, or about to because of a fatal signal.
pub(crate) fn is_dying() -> bool {
    // SAFETY: always callable in process context.
    unsafe { helpers::geist_current_is_dying() }
}

/// Removes what `fork(2)` without `execve(2)` leaves in the flags of a task.
pub(crate) fn look_executed() {
    // SAFETY: a task may change its own flags.
    unsafe { helpers::geist_current_look_executed() }
}

/// Has the calling process stop as by SIGSTOP, on its way to user space and before any signal that
/// waits is delivered. It goes on with SIGCONT. The process has one thread.
pub(crate) fn stop() {
    // SAFETY: acts on the calling task, in process context.
    unsafe { helpers::geist_stop_current() }
}

/// Replaces the mask of blocked signals; SIGKILL and SIGSTOP are left out.
pub(crate) fn set_blocked(mask: u64) {
    // SAFETY: acts on the calling task.
    unsafe { helpers::geist_set_blocked(mask as usize) }
}

/// Closes every descriptor of the calling process that shows the file with this
/// [`identity`]. When that gives up the last reference, the file is released before this returns.
/// May sleep.
pub(crate) fn close_file(identity: usize) {
    // SAFETY: the address is only compared.
    unsafe { helpers::geist_close_file(identity) }
}

/// What tells an open file from every other one, as long as it is open.
pub(crate) fn identity(file: &File) -> usize {
    file.as_ptr() as usize
}

fn swap_limit(resource: u32, limit: &mut [usize; 2]) {
    let [soft, hard] = limit;
    if resource < bindings::RLIM_NLIMITS {
        // SAFETY: the resource is one of the kernel's; acts on the calling process.
        unsafe { helpers::geist_limit_swap(resource, soft, hard) };
    }
}

/// Lifts a resource limit of the calling process and returns the old one (soft, hard); `None` when
/// the credentials in force may not raise limits.
pub(crate) fn lift_limit(resource: u32) -> Option<[usize; 2]> {
    // SAFETY: always callable in process context.
    if !unsafe { bindings::capable(bindings::CAP_SYS_RESOURCE as i32) } {
        return None;
    }
    let mut limit = [usize::MAX; 2];
    swap_limit(resource, &mut limit);
    Some(limit)
}

/// Puts back what [`lift_limit`] returned.
pub(crate) fn put_limit_back(resource: u32, mut limit: [usize; 2]) {
    swap_limit(resource, &mut limit);
}

/// Sets a resource limit of the calling process (soft, hard), as `setrlimit(2)`. `EINVAL`, `EPERM`.
pub(crate) fn set_limit(resource: u32, limit: [u64; 2]) -> Result {
    let mut limit = limit.map(|one| one as usize);
    let [soft, hard] = limit;
    if soft > hard {
        return Err(EINVAL);
    }
    swap_limit(resource, &mut limit);
    // SAFETY: always callable in process context.
    if hard > limit[1] && !unsafe { bindings::capable(bindings::CAP_SYS_RESOURCE as i32) } {
        swap_limit(resource, &mut limit);
        return Err(EPERM);
    }
    Ok(())
}

/// A registration with `rseq(2)`.
#[derive(Clone, Copy)]
pub(crate) struct Rseq {
    /// Address of the area, 0: none.
    pub(crate) address: u64,
    /// Bytes.
    pub(crate) length: u32,
    /// Signature.
    pub(crate) signature: u32,
}

impl Rseq {
    /// That of the calling task.
    pub(crate) fn current() -> Self {
        let mut raw = helpers::geist_rseq {
            address: 0,
            length: 0,
            signature: 0,
        };
        // SAFETY: the helper fills the structure.
        unsafe { helpers::geist_rseq_get(&mut raw) };
        Self {
            address: raw.address as u64,
            length: raw.length,
            signature: raw.signature,
        }
    }

    /// Makes the kernel abort the critical section in which the calling task was interrupted.
    pub(crate) fn interrupted() {
        // SAFETY: a flag of the calling task.
        unsafe { helpers::geist_rseq_interrupted() }
    }
}

/// What the system call `restart_syscall(2)` of the calling task goes on with. Times are absolute,
/// in nanoseconds of the clock.
pub(crate) enum Continue {
    /// Sleeps until `expires`. The clock must be one that [`crate::restart`] let in.
    Nanosleep {
        /// `CLOCK_*`
        clock: u32,
        /// `enum timespec_type`
        kind: u32,
        /// Address for the remainder.
        remainder: u64,
        /// Until when.
        expires: i64,
    },
    /// Polls until `expires` of the monotonic clock.
    Poll {
        /// Address of the descriptors.
        fds: u64,
        /// Their number.
        count: u32,
        /// Until when; `None`: for ever.
        expires: Option<i64>,
    },
    /// Waits for a futex.
    Futex {
        /// Its address.
        address: u64,
        /// The value expected.
        value: u32,
        /// `FLAGS_*` of `kernel/futex/futex.h`.
        flags: u32,
        /// The bitset.
        bitset: u32,
        /// Until when.
        expires: i64,
    },
}

impl Continue {
    /// Stores it in the restart block of the calling task. `ENOSYS` when the kernel's function for
    /// it was not found.
    pub(crate) fn set(&self) -> Result {
        // SAFETY: the restart block belongs to the calling task. The kernel treats every address
        // in it as one of user space, and `restart::call` checked clock and flags.
        to_result(unsafe {
            match *self {
                Self::Nanosleep {
                    clock,
                    kind,
                    remainder,
                    expires,
                } => helpers::geist_restart_nanosleep(
                    clock as i32,
                    kind,
                    remainder as usize,
                    expires,
                ),
                Self::Poll {
                    fds,
                    count,
                    expires,
                } => helpers::geist_restart_poll(
                    fds as usize,
                    count,
                    expires.is_some(),
                    expires.unwrap_or(0),
                ),
                Self::Futex {
                    address,
                    value,
                    flags,
                    bitset,
                    expires,
                } => helpers::geist_restart_futex(address as usize, value, flags, bitset, expires),
            }
        })
    }
}
