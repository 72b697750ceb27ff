// SPDX-License-Identifier: GPL-2.0

//! Signals of another task: handlers, masks, pending signals, and the timers that send them.

use super::helpers;
use core::mem::size_of;
use core::ptr::addr_of;
use kernel::{bindings, container_of, prelude::*, task::Task};

/// Bytes of a `siginfo_t`.
pub(crate) const SIGINFO_BYTES: usize = 128;

/// A `siginfo_t` as user space sees it.
pub(crate) type Siginfo = [u8; SIGINFO_BYTES];

/// Number of signals.
const SIGNALS: usize = 64;

/// A tick of the scheduler's clock at least, for a CPU timer that is about to fire, nanoseconds.
const TICK_NS: u64 = 1_000_000;

/// The lock of the signal state of a task, held with interrupts off: nothing here may sleep.
struct Siglock<'a> {
    task: &'a Task,
    flags: usize,
}

impl<'a> Siglock<'a> {
    /// Takes the lock. `ESRCH` when the task is gone.
    fn take(task: &'a Task) -> Result<Self> {
        let mut flags = 0;
        // SAFETY: the task is valid.
        if !unsafe { helpers::geist_sighand_lock(task.as_ptr(), &mut flags) } {
            return Err(ESRCH);
        }
        Ok(Self { task, flags })
    }

    fn sighand(&self) -> *mut bindings::sighand_struct {
        // SAFETY: the task is valid, and the lock keeps the pointer.
        unsafe { (*self.task.as_ptr()).sighand }
    }

    fn signal(&self) -> *mut bindings::signal_struct {
        // SAFETY: the task is valid; its `signal_struct` lives as long as the task itself.
        unsafe { (*self.task.as_ptr()).signal }
    }

    fn pending(&self, scope: Scope) -> *mut bindings::sigpending {
        match scope {
            // SAFETY: the task is valid.
            Scope::Thread => unsafe { &raw mut (*self.task.as_ptr()).pending },
            // SAFETY: as for `signal()`.
            Scope::Process => unsafe { &raw mut (*self.signal()).shared_pending },
        }
    }

    /// The bits of the pending signals.
    fn pending_bits(&self, scope: Scope) -> u64 {
        // SAFETY: the lock keeps the set.
        unsafe { (*self.pending(scope)).signal.sig[0] as u64 }
    }
}

impl Drop for Siglock<'_> {
    fn drop(&mut self) {
        // SAFETY: the lock is held by this value.
        unsafe { helpers::geist_sighand_unlock(self.task.as_ptr(), self.flags) }
    }
}

/// Whom a pending signal is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// One thread.
    Thread,
    /// Any thread of the process.
    Process,
}

/// Calls `visit` for every signal, from 0, with its handler, flags, restorer and mask, as
/// `rt_sigaction(2)` takes them, while they do not change; it must not sleep. `ESRCH`.
pub(crate) fn actions(task: &Task, mut visit: impl FnMut(usize, [u64; 4])) -> Result {
    // The words of a `struct k_sigaction` are those four, in this order.
    const { assert!(size_of::<bindings::k_sigaction>() == size_of::<[u64; 4]>()) };
    let lock = Siglock::take(task)?;
    // SAFETY: the lock keeps the handlers, which are plain words.
    let actions = unsafe { &*addr_of!((*lock.sighand()).action).cast::<[[u64; 4]; SIGNALS]>() };
    for (number, action) in actions.iter().enumerate() {
        visit(number, *action);
    }
    Ok(())
}

/// The signals that are pending for the thread `task`, in the order in which they were sent.
/// `ESRCH`.
pub(crate) fn pending_of_thread(task: &Task) -> Result<KVVec<Siginfo>> {
    Ok(pending_and(task, Scope::Thread, |_| ())?.0)
}

/// The signals that are pending for the process of `task`, and its [`Timers`], at one moment: a
/// timer that has expired is in one or in the other. `ESRCH`.
pub(crate) fn pending_and_timers(task: &Task) -> Result<(KVVec<Siginfo>, Timers)> {
    pending_and(task, Scope::Process, interval_timers)
}

fn pending_and<T>(
    task: &Task,
    scope: Scope,
    more: impl Fn(&Siglock<'_>) -> T,
) -> Result<(KVVec<Siginfo>, T)> {
    // Mostly there are none.
    let mut found = KVVec::new();
    loop {
        let lock = Siglock::take(task)?;
        let wanted = collect(&lock, scope, &mut found);
        let more = more(&lock);
        drop(lock);
        if wanted <= found.capacity() {
            return Ok((found, more));
        }
        found.clear();
        found.reserve(wanted.checked_add(SIGNALS).ok_or(E2BIG)?, GFP_KERNEL)?;
    }
}

/// Whether a SIGSTOP waits for the thread `task` or for its process: it stops as soon as it runs.
/// `ESRCH`.
pub(crate) fn is_about_to_stop(task: &Task) -> Result<bool> {
    let lock = Siglock::take(task)?;
    let waiting = lock.pending_bits(Scope::Thread) | lock.pending_bits(Scope::Process);
    Ok(waiting & bit_of(bindings::SIGSTOP) != 0)
}

/// Stores as many as there is room for; returns how many there are. SIGSTOP is none of them: who is to be stopped counts
/// as stopped ([`is_about_to_stop`]), since nothing could hold that signal back in a process that is restarted.
fn collect(lock: &Siglock<'_>, scope: Scope, found: &mut KVVec<Siginfo>) -> usize {
    let pending = lock.pending(scope);
    let mut count = 0;
    let left_out = bit_of(bindings::SIGKILL) | bit_of(bindings::SIGSTOP);
    let mut done = left_out;
    let mut store = |info: Siginfo| {
        count += 1;
        // Without room for it the caller asks again.
        let _ = found.push_within_capacity(info);
    };
    // SAFETY: the lock keeps the list.
    let head = unsafe { &raw mut (*pending).list };
    // SAFETY: as above.
    let mut entry = unsafe { (*head).next };
    while entry != head {
        // SAFETY: every entry but the head is the first field of a queued signal.
        let queue = unsafe { container_of!(entry, bindings::sigqueue, list) };
        let mut info = [0; SIGINFO_BYTES];
        // SAFETY: the kernel's structure is plain data, and shorter than the user's, whose
        // beginning it is (`copy_siginfo_to_external`).
        unsafe {
            core::ptr::copy_nonoverlapping(
                addr_of!((*queue).info).cast::<u8>(),
                info.as_mut_ptr(),
                size_of::<bindings::kernel_siginfo>().min(SIGINFO_BYTES),
            )
        };
        let bit = bit_of(number_of(&info));
        done |= bit;
        if bit & left_out == 0 {
            store(info);
        }
        // SAFETY: the entry is valid under the lock.
        entry = unsafe { (*entry).next };
    }
    // A signal for which there was no memory has its bit only, and counts as sent by nobody.
    let bare = lock.pending_bits(scope) & !done;
    for number in 1..=SIGNALS as u32 {
        if bare & bit_of(number) != 0 {
            let mut info = [0; SIGINFO_BYTES];
            let [first, second, third, fourth, ..] = &mut info;
            for (to, from) in [first, second, third, fourth]
                .into_iter()
                .zip(number.to_ne_bytes())
            {
                *to = from;
            }
            store(info);
        }
    }
    count
}

/// The signal's number: the first word of its `siginfo_t`.
fn number_of(info: &Siginfo) -> u32 {
    let [a, b, c, d, ..] = *info;
    u32::from_ne_bytes([a, b, c, d])
}

/// The signal's bit in a mask.
fn bit_of(number: u32) -> u64 {
    number
        .checked_sub(1)
        .and_then(|shift| 1u64.checked_shl(shift))
        .unwrap_or(0)
}

/// The masks of blocked signals that a thread has.
pub(crate) struct Masks {
    /// The one in force.
    pub(crate) blocked: u64,
    /// The one that a system call will put back on its way out, where it has said so.
    pub(crate) restored: Option<u64>,
    /// What `rt_sigsuspend(2)` replaced; valid only inside such a call.
    pub(crate) saved: u64,
    /// What `rt_sigtimedwait(2)` replaced; valid only inside such a call.
    pub(crate) real: u64,
}

/// The [`Masks`] of `task`. `ESRCH`.
pub(crate) fn masks(task: &Task) -> Result<Masks> {
    let lock = Siglock::take(task)?;
    let raw = lock.task.as_ptr();
    // SAFETY: the task is valid, and only it changes these, under the lock.
    unsafe {
        let saved = (*raw).saved_sigmask.sig[0] as u64;
        Ok(Masks {
            blocked: (*raw).blocked.sig[0] as u64,
            restored: helpers::geist_restores_sigmask(raw).then_some(saved),
            saved,
            real: (*raw).real_blocked.sig[0] as u64,
        })
    }
}

/// The interval timers of a process: real, virtual, profiling; nanoseconds until it expires (0: off)
/// and interval.
pub(crate) type Timers = [[u64; 2]; 3];

/// Like `getitimer(2)`, for another process.
fn interval_timers(lock: &Siglock<'_>) -> Timers {
    let signal = lock.signal();
    // SAFETY: the lock keeps the timers of the process.
    let (interval, profiling, virtual_) = unsafe {
        (
            u64::try_from((*signal).it_real_incr).unwrap_or(0),
            cpu_timer(signal, 0),
            cpu_timer(signal, 1),
        )
    };
    [[real_timer(lock, interval), interval], virtual_, profiling]
}

/// Nanoseconds until the real timer fires, or 0.
fn real_timer(lock: &Siglock<'_>, interval: u64) -> u64 {
    let signal = lock.signal();
    // SAFETY: the lock keeps the timer and the signals.
    let (timer, waiting) = unsafe {
        (
            &raw const (*signal).real_timer,
            (*signal).shared_pending.signal.sig[0] as u64,
        )
    };
    // SAFETY: as above.
    let (left, active) = unsafe {
        (
            bindings::__hrtimer_get_remaining(timer, true),
            bindings::hrtimer_active(timer),
        )
    };
    // It counts as active until it is through, when it has sent its signal already.
    let fired = left <= 0 && waiting & bit_of(bindings::SIGALRM) != 0;
    if active && !fired {
        return u64::try_from(left).unwrap_or(0).max(1000);
    }
    if interval == 0 {
        return 0;
    }
    // It has fired, and goes on when its signal is taken: at the next multiple of its interval.
    let late = left.unsigned_abs() % interval;
    if left > 0 {
        left as u64
    } else {
        interval - late
    }
}

/// # Safety
///
/// The caller holds the siglock of the process of `signal`.
unsafe fn cpu_timer(signal: *mut bindings::signal_struct, clock: usize) -> [u64; 2] {
    // SAFETY: the lock keeps the timers; there are two.
    let (timer, used) = unsafe {
        let used = &raw const (*signal).cputimer.cputime_atomic;
        let user = (&raw const (*used).utime.counter).read_volatile() as u64;
        let system = (&raw const (*used).stime.counter).read_volatile() as u64;
        match clock {
            0 => ((*signal).it[0], user.wrapping_add(system)),
            _ => ((*signal).it[1], user),
        }
    };
    let left = match timer.expires {
        0 => 0,
        expires => expires
            .checked_sub(used)
            .filter(|left| *left > 0)
            .unwrap_or(TICK_NS),
    };
    [left, timer.incr]
}
