// SPDX-License-Identifier: GPL-2.0

//! Properties of this process and its only thread.

use super::check;
use std::io;
use std::os::fd::BorrowedFd;

/// A `prctl(2)` whose argument is a plain number.
fn prctl(option: i32, value: u64) -> io::Result<i64> {
    // SAFETY: private to this file, and only called with options that take no addresses.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, value, 0, 0, 0) })
}

/// `PR_SET_NAME`
pub fn set_name(name: &[u8; 16]) -> io::Result<()> {
    let mut name = *name;
    name[15] = 0;
    // SAFETY: the call reads a string of at most 16 bytes that ends with a zero.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) })
        .map(drop)
}

/// `PR_SET_DUMPABLE`
pub fn set_dumpable(value: u32) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, value.into()).map(drop)
}

/// `PR_SET_NO_NEW_PRIVS`: cannot be undone.
pub fn set_no_new_privs() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map(drop)
}

/// Whether `PR_SET_NO_NEW_PRIVS` is on.
pub fn no_new_privs() -> io::Result<bool> {
    Ok(prctl(libc::PR_GET_NO_NEW_PRIVS, 0)? == 1)
}

/// `PR_SET_CHILD_SUBREAPER`
pub fn set_subreaper(on: bool) -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, on.into()).map(drop)
}

/// `PR_SET_TIMERSLACK`, nanoseconds.
pub fn set_timer_slack(ns: u64) -> io::Result<()> {
    prctl(libc::PR_SET_TIMERSLACK, ns).map(drop)
}

/// `PR_SET_PDEATHSIG`
pub fn set_parent_death_signal(signal: u32) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal.into()).map(drop)
}

/// `personality(2)`
pub fn set_personality(personality: u32) -> io::Result<()> {
    // SAFETY: the call takes a plain number.
    check(unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(personality)) })
        .map(drop)
}

/// `set_robust_list(2)` with a list of the memory that this process is about to get.
pub fn set_robust_list(head: u64) -> io::Result<()> {
    const HEAD_BYTES: usize = 24;
    // SAFETY: the kernel only stores the address; it follows the list when the thread ends, with
    // checked accesses that a wrong list makes fail.
    check(unsafe { libc::syscall(libc::SYS_set_robust_list, head, HEAD_BYTES) }).map(drop)
}

/// `set_tid_address(2)` with an address of the memory that this process is about to get.
pub fn set_tid_address(address: u64) {
    // SAFETY: the kernel only stores the address; it writes there when the thread ends while
    // others share its memory, and here nobody does.
    unsafe { libc::syscall(libc::SYS_set_tid_address, address) };
}

/// Policy and real-time priority of this thread.
pub fn scheduler() -> io::Result<(u32, u32)> {
    let mut parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the calls write at most one `sched_param`.
    let policy = check(unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) })?;
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_sched_getparam, 0, &raw mut parameter) })?;
    Ok((policy as u32, parameter.sched_priority as u32))
}

/// `sched_setscheduler(2)`; `policy` may contain `SCHED_RESET_ON_FORK`.
pub fn set_scheduler(policy: u32, priority: u32) -> io::Result<()> {
    let parameter = libc::sched_param {
        sched_priority: priority as i32,
    };
    // SAFETY: the call reads one `sched_param`.
    check(unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            policy,
            &raw const parameter,
        )
    })
    .map(drop)
}

/// `sched_setaffinity(2)`
pub fn set_affinity(mask: &[u8]) -> io::Result<()> {
    // SAFETY: the call reads as many bytes as `mask` has.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, mask.len(), mask.as_ptr()) })
        .map(drop)
}

/// `ioprio_get(2)` of this thread.
pub fn io_priority() -> io::Result<u32> {
    // SAFETY: the call takes plain numbers.
    Ok(check(unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) })? as u32)
}

/// `ioprio_set(2)` of this thread.
pub fn set_io_priority(priority: u32) -> io::Result<()> {
    // SAFETY: the call takes plain numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, priority) }).map(drop)
}

/// `prlimit(2)` of this process.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the call reads one `rlimit64`.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    })
    .map(drop)
}

/// Soft and hard limit of this process.
pub fn limit(resource: u32) -> io::Result<[u64; 2]> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call writes one `rlimit64`.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            std::ptr::null::<libc::rlimit64>(),
            &raw mut limit,
        )
    })?;
    Ok([limit.rlim_cur, limit.rlim_max])
}

/// Closes the descriptors from `first` to `last`.
pub fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: called in a skeleton only, which ends without dropping any owner of a descriptor.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// `dup3(2)` on a number that no owner in this process has.
pub fn dup_to(from: i32, to: i32, close_on_exec: bool) -> io::Result<()> {
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: called in a skeleton only, on numbers that `close_range` freed before.
    check(unsafe { libc::syscall(libc::SYS_dup3, from, to, flags) }).map(drop)
}

/// A descriptor that `dup_to` put into its place.
pub fn placed(fd: i32) -> BorrowedFd<'static> {
    // SAFETY: called in a skeleton only, on numbers of descriptors that stay open until it ends.
    unsafe { BorrowedFd::borrow_raw(fd) }
}
