// SPDX-License-Identifier: GPL-2.0

//! New processes with a given pid.

use super::check;
use std::io;

/// `struct clone_args` of `clone3(2)` up to `set_tid_size`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
}

/// Makes a copy of this process with the pid `pid`, as `fork(2)` does. Returns whether this is the
/// copy.
///
/// Refused when this process has more than one thread, since locks of the others would stay taken
/// in the copy.
pub fn fork_with_pid(pid: i32) -> io::Result<bool> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("this process has more than one thread"));
    }
    let args = CloneArgs {
        exit_signal: libc::SIGCHLD as u64,
        set_tid: &raw const pid as u64,
        set_tid_size: 1,
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a valid `clone_args` of the size given, `set_tid` points to one pid. No
    // flag shares memory with the copy, and there is no other thread whose state it could miss.
    let result = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const args,
            size_of::<CloneArgs>() as libc::size_t,
        )
    })?;
    Ok(result == 0)
}

/// Ends this process at once, without flushing or unwinding anything.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` takes any status and does not return.
    unsafe { libc::_exit(status) }
}
