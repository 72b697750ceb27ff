// SPDX-License-Identifier: GPL-2.0

//! The timer that a sleeping task waits for, and what the kernel keeps of interrupted calls.

use super::helpers;
use kernel::{bindings, task::Task};

/// A timer that will wake a task.
#[derive(Clone, Copy)]
pub(crate) struct Sleeper {
    /// `CLOCK_*`.
    pub(crate) clock: u32,
    /// When, on that clock, nanoseconds. Does not contain the timer slack.
    pub(crate) expires_ns: u64,
}

/// Finds the timer that `task` sleeps for (`nanosleep`, `poll`, `futex` and their like). Takes the
/// locks of the high resolution timers, one CPU's after the other.
pub(crate) fn find(task: &Task) -> Option<Sleeper> {
    let mut raw = helpers::geist_sleeper {
        clock: 0,
        expires: 0,
    };
    // SAFETY: the task is valid; its address is only compared.
    unsafe { helpers::geist_sleeper_find(task.as_ptr(), &mut raw) }.then(|| Sleeper {
        clock: raw.clock as u32,
        expires_ns: u64::try_from(raw.expires).unwrap_or(0),
    })
}

/// What `restart_syscall(2)` of a task will do.
#[derive(Clone, Copy)]
pub(crate) enum RestartBlock {
    /// Sleep on: clock, expiry in nanoseconds, address of the remainder, `enum timespec_type`.
    Nanosleep(u32, u64, u64, u64),
    /// Poll on: descriptors, their number, expiry in nanoseconds of `CLOCK_MONOTONIC` if any.
    Poll(u64, u64, Option<u64>),
    /// Wait on: address, value, bitset, flags, expiry in nanoseconds.
    Futex(u64, u64, u64, u64, u64),
    /// Nothing: the last one is over, or goes on right now.
    Nothing,
    /// Something that geist does not know.
    Other,
}

impl RestartBlock {
    /// That of a task that does not run.
    pub(crate) fn of(task: &Task) -> Self {
        // SAFETY: the task is valid, and only it changes the block, while it runs.
        let kind = unsafe { helpers::geist_restart_kind(task.as_ptr()) };
        // SAFETY: as above.
        unsafe { Self::read(task, kind) }
    }

    /// That of a `futex(2)` wait, which does not name itself while it goes on.
    pub(crate) fn of_futex(task: &Task) -> Self {
        // SAFETY: as in `of`; the fields are plain integers whatever the last call was.
        unsafe { Self::read(task, helpers::geist_restart_kind_GEIST_RESTART_FUTEX) }
    }

    /// # Safety
    ///
    /// The task does not run. The fields of the block are integers and addresses that are not
    /// followed, so that a wrong `kind` gives wrong numbers only.
    unsafe fn read(task: &Task, kind: helpers::geist_restart_kind) -> Self {
        // SAFETY: the task is valid; see above.
        let block = unsafe { &(*task.as_ptr()).restart_block.__bindgen_anon_1 };
        match kind {
            helpers::geist_restart_kind_GEIST_RESTART_NANOSLEEP => {
                // SAFETY: see above.
                let sleep = unsafe { block.nanosleep };
                // SAFETY: see above.
                let rmtp = unsafe { sleep.__bindgen_anon_1.rmtp };
                Self::Nanosleep(
                    sleep.clockid as u32,
                    u64::try_from(sleep.expires).unwrap_or(0),
                    rmtp as u64,
                    u64::from(sleep.type_),
                )
            }
            helpers::geist_restart_kind_GEIST_RESTART_POLL => {
                // SAFETY: see above.
                let poll = unsafe { block.poll };
                let expires = (poll.has_timeout != 0).then(|| nanoseconds(&poll.end_time));
                Self::Poll(poll.ufds as u64, u64::from(poll.nfds as u32), expires)
            }
            helpers::geist_restart_kind_GEIST_RESTART_FUTEX => {
                // SAFETY: see above.
                let futex = unsafe { block.futex };
                Self::Futex(
                    futex.uaddr as u64,
                    u64::from(futex.val),
                    u64::from(futex.bitset),
                    u64::from(futex.flags),
                    u64::try_from(futex.time).unwrap_or(0),
                )
            }
            helpers::geist_restart_kind_GEIST_RESTART_NOTHING => Self::Nothing,
            _ => Self::Other,
        }
    }
}

fn nanoseconds(time: &bindings::timespec64) -> u64 {
    u64::try_from(time.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec as u64)
}
