// SPDX-License-Identifier: GPL-2.0

//! Signals, by the raw system calls: libc keeps two signals and the restorer to itself.

use super::check;
use geist_image::task::SignalAction;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

/// Bytes of the kernel's signal set.
const SET_BYTES: usize = 8;

/// Sets the blocked signals, returns those before.
fn set_blocked(how: i32, set: u64) -> io::Result<u64> {
    let mut old = 0u64;
    // SAFETY: the call reads one set and writes one set of the size given.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            &raw const set,
            &raw mut old,
            SET_BYTES,
        )
    })?;
    Ok(old)
}

/// Blocks every signal.
pub fn block_all() -> io::Result<()> {
    set_blocked(libc::SIG_SETMASK, u64::MAX).map(drop)
}

/// Runs `run` with every signal blocked.
pub fn all_blocked<T>(run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let old = set_blocked(libc::SIG_SETMASK, u64::MAX)?;
    let result = run();
    set_blocked(libc::SIG_SETMASK, old)?;
    result
}

/// Blocks the signals of `set` (bit 0 is signal 1); returns those that were blocked before.
pub fn block(set: u64) -> io::Result<u64> {
    set_blocked(libc::SIG_BLOCK, set)
}

/// Starts a command in which the signals of `blocked` are blocked, and no others.
pub fn spawn(command: &mut Command, blocked: u64) -> io::Result<Child> {
    let set = move || set_blocked(libc::SIG_SETMASK, blocked).map(drop);
    // SAFETY: all that runs between fork and exec is one system call.
    unsafe { command.pre_exec(set) };
    command.spawn()
}

/// Unblocks the signals of `set`.
pub fn unblock(set: u64) -> io::Result<()> {
    set_blocked(libc::SIG_UNBLOCK, set).map(drop)
}

/// Waits for one of the blocked signals in `set`; returns its number and `si_code`.
pub fn wait(set: u64) -> io::Result<(i32, i32)> {
    loop {
        let mut info = [0i32; 32];
        // SAFETY: the call reads a set of the size given and writes 128 bytes of `siginfo_t`.
        let result = check(unsafe {
            libc::syscall(
                libc::SYS_rt_sigtimedwait,
                &raw const set,
                info.as_mut_ptr(),
                std::ptr::null::<libc::timespec>(),
                SET_BYTES,
            )
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(signal) => return Ok((signal as i32, info[2])),
        }
    }
}

/// A descriptor from which [`next`] takes the signals of `set`, which are blocked from now on.
pub fn descriptor(set: u64) -> io::Result<OwnedFd> {
    block(set)?;
    // SAFETY: the call reads a set of the size given.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const set,
            SET_BYTES,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    })?;
    // SAFETY: the call made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The next signal of a [`descriptor`], `None` when none waits.
pub fn next(descriptor: &OwnedFd) -> io::Result<Option<i32>> {
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(descriptor, &mut info) {
        // The structure begins with the number.
        Ok(_) => Ok(Some(i32::from_ne_bytes([
            info[0], info[1], info[2], info[3],
        ]))),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Installs a handler of the process that this one is about to become.
///
/// The handler belongs to memory that does not exist yet, so every signal must be blocked.
pub fn set_action(signal: i32, action: &SignalAction) -> io::Result<()> {
    // SAFETY: `SignalAction` is the kernel's `struct sigaction`. The kernel only stores the
    // addresses; no handler runs, since all signals are blocked until the memory is replaced.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            &raw const *action,
            std::ptr::null_mut::<SignalAction>(),
            SET_BYTES,
        )
    })
    .map(drop)
}

/// The kernel's `stack_t`.
#[repr(C)]
struct Stack {
    sp: u64,
    flags: i32,
    size: u64,
}

/// Sets the alternate signal stack of the process that this one is about to become.
pub fn set_altstack(sp: u64, size: u64, flags: u32) -> io::Result<()> {
    let stack = Stack {
        sp,
        flags: flags as i32,
        size,
    };
    // SAFETY: the call reads a `stack_t`. The kernel only stores the address.
    check(unsafe {
        libc::syscall(
            libc::SYS_sigaltstack,
            &raw const stack,
            std::ptr::null_mut::<Stack>(),
        )
    })
    .map(drop)
}

/// Queues a signal to this process (`thread`: to this thread) with its `siginfo_t`.
pub fn queue(signal: i32, siginfo: &[u8; 128], thread: bool) -> io::Result<()> {
    let pid = std::process::id() as i32;
    let info = siginfo.as_ptr();
    // SAFETY: both calls read 128 bytes of `siginfo_t`.
    check(unsafe {
        if thread {
            libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, pid, signal, info)
        } else {
            libc::syscall(libc::SYS_rt_sigqueueinfo, pid, signal, info)
        }
    })
    .map(drop)
}

/// After `seconds`, interrupts the system call in which this process waits.
pub fn interrupt_after(seconds: u32) -> io::Result<()> {
    interrupt(seconds, 0)
}

/// Interrupts the system call in which this process waits, again and again.
pub fn interrupt_every(seconds: u32) -> io::Result<()> {
    interrupt(seconds, seconds)
}

/// Withdraws what `interrupt_after` or `interrupt_every` began.
pub fn no_interrupt() {
    // Cannot fail: the times are valid.
    let _ = set_timer(0, 0);
}

fn interrupt(first: u32, then: u32) -> io::Result<()> {
    extern "C" fn nothing(_signal: i32) {}
    let handler: extern "C" fn(i32) = nothing;
    // SAFETY: zeros are a valid `sigaction`; the handler does nothing, so it may run anywhere.
    // Without SA_RESTART, calls that it interrupts return.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut())
    };
    check(result.into())?;
    set_timer(first, then)
}

/// SIGALRM after some seconds, and again after some more; 0: not.
fn set_timer(first: u32, then: u32) -> io::Result<()> {
    let time = |seconds: u32| libc::timeval {
        tv_sec: seconds.into(),
        tv_usec: 0,
    };
    let timer = libc::itimerval {
        it_interval: time(then),
        it_value: time(first),
    };
    // SAFETY: the call reads one `itimerval`.
    check(unsafe {
        libc::syscall(
            libc::SYS_setitimer,
            libc::ITIMER_REAL,
            &raw const timer,
            std::ptr::null_mut::<libc::itimerval>(),
        )
    })
    .map(drop)
}
