// SPDX-License-Identifier: GPL-2.0

//! Records of a thread: registers, signal mask, scheduling, what the kernel keeps for libc.

use super::record::record;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where a thread was at the freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ThreadState {
    /// On its way back to user space: its registers are final.
    User = 1,
    /// Asleep in a system call, which is begun anew (or continued, see [`Restart`]).
    Syscall = 2,
    /// Stopped by a signal.
    Stopped = 3,
}

impl ThreadState {
    /// The one with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::User, Self::Syscall, Self::Stopped]
            .into_iter()
            .find(|one| *one as u32 == number)
    }
}

/// The thread. Its other records follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Thread {
    /// Thread ID.
    pub tid: u32,
    /// A [`ThreadState`].
    pub state: u32,
    /// Name, filled up with zeros.
    pub comm: [u8; 16],
    /// Blocked signals, those that a waiting `sigsuspend` or `ppoll` replaced put back.
    pub blocked: u64,
    /// `sigaltstack(2)`: address.
    pub altstack_sp: u64,
    /// `sigaltstack(2)`: bytes.
    pub altstack_size: u64,
    /// `sigaltstack(2)`: flags.
    pub altstack_flags: u32,
    /// `PR_GET_PDEATHSIG`.
    pub pdeath_signal: u32,
    /// `set_robust_list(2)`.
    pub robust_list: u64,
    /// `set_tid_address(2)`.
    pub clear_child_tid: u64,
    /// `rseq(2)`: address, 0 when not registered.
    pub rseq: u64,
    /// `rseq(2)`: bytes.
    pub rseq_len: u32,
    /// `rseq(2)`: signature.
    pub rseq_signature: u32,
    /// The pointer to the critical section in the area at `rseq`, which registering clears.
    pub rseq_cs: u64,
    /// `PR_GET_TIMERSLACK`, nanoseconds.
    pub timer_slack_ns: u64,
    /// User time that the thread had used, nanoseconds.
    pub utime_ns: u64,
    /// System time that the thread had used, nanoseconds.
    pub stime_ns: u64,
}
record!(Thread, 32, "the thread record", 0);

/// Values of [`Thread::altstack_flags`].
pub mod altstack_flags {
    /// `SS_ONSTACK`
    pub const ON_STACK: u32 = 1;
    /// `SS_DISABLE`
    pub const DISABLE: u32 = 2;
    /// `SS_AUTODISARM`
    pub const AUTO_DISARM: u32 = 1 << 31;
    /// Every flag that there is.
    pub const ALL: u32 = ON_STACK | DISABLE | AUTO_DISARM;
}

/// General registers. The tail is `struct user_regs_struct` (`NT_PRSTATUS`), raw: `orig_ax` and
/// `ax` are those of the interrupted system call, fs and gs base included.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Registers {
    /// Bytes of the tail.
    pub length: u64,
}
record!(Registers, 33, "the registers", 27 * 8);

/// Floating point and vector registers. The tail is what `NT_X86_XSTATE` gives.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Xstate {
    /// Bytes of the tail.
    pub length: u64,
}
record!(Xstate, 34, "the vector registers", 65536);

/// Scheduling of a thread. The tail is the affinity mask (`sched_setaffinity(2)`), `u64` each.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Scheduling {
    /// `SCHED_*`.
    pub policy: u32,
    /// -20 to 19.
    pub nice: i32,
    /// 1 to 99 for real-time policies, else 0.
    pub priority: u32,
    /// `ioprio_get(2)`.
    pub ioprio: u32,
    /// The thread resets its policy on fork.
    pub reset_on_fork: u32,
    /// Bytes of the tail; 0: every CPU is allowed.
    pub affinity_bytes: u32,
}
record!(Scheduling, 35, "the scheduling record", 1024);

/// How an interrupted system call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RestartKind {
    /// `nanosleep(2)` and relative `clock_nanosleep(2)`.
    Nanosleep = 1,
    /// `poll(2)`.
    Poll = 2,
    /// `futex(2)` wait with a timeout.
    Futex = 3,
    /// `select(2)`, `pselect(2)`, `ppoll(2)`: begun anew, with what is left written to where its
    /// caller's timeout lies, as the kernel does it when a signal interrupts them.
    Timeout = 4,
}

impl RestartKind {
    /// The one with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Nanosleep, Self::Poll, Self::Futex, Self::Timeout]
            .into_iter()
            .find(|one| *one as u32 == number)
    }
}

/// The state of a system call that continues with what is left of its time.
///
/// Absent for a call that is begun anew with its own arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Restart {
    /// A [`RestartKind`].
    pub kind: u32,
    /// Clock of the expiry (`CLOCK_*`).
    pub clock: u32,
    /// Absolute expiry on that clock, nanoseconds; `u64::MAX`: no timeout.
    pub expires_ns: u64,
    /// Arguments by kind. Nanosleep: address of the remainder and its `enum timespec_type`.
    /// Poll: address and number of descriptors. Futex: address, value, bitset, flags. Timeout: its
    /// address, and the nanoseconds of the unit behind its seconds: 1000 in a `struct timeval`, 1 in
    /// a `struct timespec`.
    pub args: [u64; 4],
}
record!(Restart, 36, "the interrupted system call", 0);

/// Values of [`Restart::clock`].
pub mod clocks {
    /// `CLOCK_REALTIME`
    pub const REALTIME: u32 = 0;
    /// `CLOCK_MONOTONIC`
    pub const MONOTONIC: u32 = 1;
    /// `CLOCK_BOOTTIME`
    pub const BOOTTIME: u32 = 7;
    /// `CLOCK_TAI`
    pub const TAI: u32 = 11;
}

/// `TT_NATIVE` of `enum timespec_type`: the remainder of a nanosleep is a `struct timespec` of a
/// 64-bit program.
pub const TT_NATIVE: u64 = 1;

/// Flags of a futex wait, from `kernel/futex/futex.h`.
pub mod futex_flags {
    /// `FLAGS_SIZE_32`, which every wait has.
    pub const SIZE_32: u64 = 0x02;
    /// `FLAGS_SHARED`
    pub const SHARED: u64 = 0x10;
    /// `FLAGS_CLOCKRT`
    pub const REALTIME: u64 = 0x20;
    /// `FLAGS_HAS_TIMEOUT`
    pub const TIMEOUT: u64 = 0x40;
}
