// SPDX-License-Identifier: GPL-2.0

//! Records of a process: identity, credentials, limits, scheduling, signals, timers.
//!
//! Order in a `task` file: [`Process`], then the other records of the process (here, in
//! [`super::files`] and [`super::mm`]), then for every thread a [`super::thread::Thread`] followed
//! by the records of that thread.

use super::record::record;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Longest path in an image, in bytes (`PATH_MAX` without the final zero).
pub const PATH_MAX: usize = 4095;

/// The process was stopped by a signal at the freeze, or a SIGSTOP waited for it.
pub const PROCESS_STOPPED: u32 = 1 << 0;
/// `PR_SET_NO_NEW_PRIVS` was on.
pub const PROCESS_NO_NEW_PRIVS: u32 = 1 << 1;
/// `PR_SET_CHILD_SUBREAPER` was on.
pub const PROCESS_SUBREAPER: u32 = 1 << 2;

/// The process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Process {
    /// Process ID in the pid namespace of the caller.
    pub pid: u32,
    /// Parent.
    pub ppid: u32,
    /// Process group.
    pub pgid: u32,
    /// Session.
    pub sid: u32,
    /// Number of threads that follow.
    pub threads: u32,
    /// `PROCESS_*`.
    pub flags: u32,
    /// `personality(2)`.
    pub personality: u32,
    /// `PR_GET_DUMPABLE`: 0, 1 or 2.
    pub dumpable: u32,
    /// Start of the process, nanoseconds of the boot clock: with the boot ID, its identity.
    pub start_time_ns: u64,
    /// `CLOCK_MONOTONIC` at the freeze, nanoseconds.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME` at the freeze, nanoseconds.
    pub realtime_ns: u64,
    /// `CLOCK_BOOTTIME` at the freeze, nanoseconds.
    pub boottime_ns: u64,
    /// User time that the process had used, nanoseconds.
    pub utime_ns: u64,
    /// System time that the process had used, nanoseconds.
    pub stime_ns: u64,
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
    /// Zero.
    pub reserved: u32,
}
record!(Process, 1, "the process record", 0);

/// Credentials, shared by all threads. The tail is the list of supplementary groups (`u32` each).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Creds {
    /// Real, effective, saved and file system user ID.
    pub uid: [u32; 4],
    /// Real, effective, saved and file system group ID.
    pub gid: [u32; 4],
    /// Inheritable, permitted, effective, bounding and ambient capabilities.
    pub caps: [u64; 5],
    /// `PR_GET_SECUREBITS`.
    pub securebits: u32,
    /// Number of supplementary groups.
    pub groups: u32,
}
record!(Creds, 2, "the credentials", 65536 * 4);

/// Resource limits, in the order of `RLIMIT_*`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Rlimits {
    /// Soft and hard limit; `u64::MAX` is infinity.
    pub limits: [[u64; 2]; 16],
}
record!(Rlimits, 3, "the resource limits", 0);

/// Signal handlers, signals 1 to 64.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SignalHandlers {
    /// As `rt_sigaction(2)` takes them.
    pub actions: [SignalAction; 64],
}
record!(SignalHandlers, 4, "the signal handlers", 0);

/// One `struct kernel_sigaction`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SignalAction {
    /// Handler, or 0 for the default and 1 for ignore.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// `sa_restorer`.
    pub restorer: u64,
    /// Signals blocked while it runs.
    pub mask: u64,
}

/// A pending signal, but SIGKILL and SIGSTOP. Stands behind the process (for all threads) or behind a thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PendingSignal {
    /// `siginfo_t` as user space sees it.
    pub siginfo: [u8; 128],
}
record!(PendingSignal, 5, "a pending signal", 0);

impl PendingSignal {
    /// The number of the signal.
    pub fn number(&self) -> u32 {
        let [a, b, c, d, ..] = self.siginfo;
        u32::from_le_bytes([a, b, c, d])
    }
}

/// The three interval timers of `setitimer(2)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IntervalTimers {
    /// Real, virtual, profiling: nanoseconds until it expires (0: off) and its interval.
    pub timers: [[u64; 2]; 3],
}
record!(IntervalTimers, 6, "the interval timers", 0);
