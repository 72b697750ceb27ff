// SPDX-License-Identifier: GPL-2.0

//! Interrupted system calls that go on with what is left of their time.

use super::image::{damaged, ProcessImage};
use crate::error::{Context, Outcome};
use crate::image::record::Record;
use crate::image::task::Process;
use crate::image::thread::{clocks, futex_flags, Restart, RestartKind, TT_NATIVE};
use crate::image::Damage;
use crate::sys::restart_task::Continue;
use crate::sys::{clock, restart_mm};
use zerocopy::IntoBytes;

/// No timeout.
const NEVER: u64 = u64::MAX;

/// Units of a timeout in memory, nanoseconds.
const MICROSECOND: u64 = 1000;
const NANOSECOND: u64 = 1;

/// Checks what the kernel believes of a restart block.
pub(super) fn check(call: &Restart) -> Outcome {
    let [first, second, third, fourth] = call.args;
    let small = |value: u64| u32::try_from(value).is_ok();
    let fits = match RestartKind::from_number(call.kind) {
        Some(RestartKind::Nanosleep) => {
            [
                clocks::REALTIME,
                clocks::MONOTONIC,
                clocks::BOOTTIME,
                clocks::TAI,
            ]
            .contains(&call.clock)
                && second <= TT_NATIVE
                && third == 0
                && fourth == 0
        }
        Some(RestartKind::Poll) => {
            call.clock == clocks::MONOTONIC
                && i32::try_from(second).is_ok()
                && third == 0
                && fourth == 0
        }
        Some(RestartKind::Futex) => {
            use futex_flags as flags;
            let known = flags::SIZE_32 | flags::SHARED | flags::REALTIME | flags::TIMEOUT;
            small(second)
                && small(third)
                && third != 0
                && fourth & !known == 0
                && fourth & flags::SIZE_32 != 0
                && first % 4 == 0
        }
        Some(RestartKind::Timeout) => {
            call.clock == clocks::MONOTONIC
                && [MICROSECOND, NANOSECOND].contains(&second)
                && third == 0
                && fourth == 0
        }
        None => false,
    };
    if fits {
        Ok(())
    } else {
        Err(damaged(Damage::Value(Restart::NAME)))
    }
}

/// Whether the call goes on by `restart_syscall(2)`; else it is begun anew.
pub(super) fn continues(call: &Restart) -> bool {
    call.kind != RestartKind::Timeout as u32
}

/// The moment on `clock` that is now as far away as `expires_ns` was at the freeze.
fn shifted(process: &Process, clock: u32, expires_ns: u64) -> i64 {
    let signed = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    let (now, then) = match clock {
        clocks::BOOTTIME => (clock::boottime_ns(), process.boottime_ns),
        // The offset between the two is that between the clocks of any two moments.
        clocks::REALTIME | clocks::TAI => (clock::realtime_ns(), process.realtime_ns),
        _ => (clock::monotonic_ns(), process.monotonic_ns),
    };
    let gone = signed(now).saturating_sub(signed(then));
    signed(expires_ns).saturating_add(gone).max(0)
}

/// Writes what is left of a timeout to where the call, which is begun anew, reads it: seconds, and
/// behind them a number of `unit` nanoseconds. In memory that cannot be written it stays what it was,
/// as the kernel has it.
fn write_left(process: &Process, address: u64, unit: u64, expires_ns: u64) {
    const SECOND: u64 = 1_000_000_000;
    let left = expires_ns.saturating_sub(process.monotonic_ns);
    // Rounded up: never too early.
    let left = left.div_ceil(unit);
    let per_second = SECOND / unit;
    let value = [left / per_second, left % per_second];
    let _ = restart_mm::write_user(address, value.as_bytes());
}

/// Stores what the call of the calling process goes on with.
pub(super) fn set(image: &ProcessImage) -> Outcome {
    let Some(call) = &image.call else {
        return Ok(());
    };
    // Checked: the casts below lose nothing.
    let [first, second, third, fourth] = call.args;
    let expires = shifted(&image.process, call.clock, call.expires_ns);
    let timed = call.expires_ns != NEVER;
    let goes_on = match RestartKind::from_number(call.kind) {
        Some(RestartKind::Nanosleep) => Continue::Nanosleep {
            clock: call.clock,
            kind: second as u32,
            remainder: first,
            expires,
        },
        Some(RestartKind::Poll) => Continue::Poll {
            fds: first,
            count: second as u32,
            expires: timed.then_some(expires),
        },
        Some(RestartKind::Futex) => {
            // A wait until a date waits until that date.
            let realtime = fourth & futex_flags::REALTIME != 0;
            let flags = fourth & !futex_flags::TIMEOUT;
            Continue::Futex {
                address: first,
                value: second as u32,
                flags: (flags | if timed { futex_flags::TIMEOUT } else { 0 }) as u32,
                bitset: third as u32,
                expires: if realtime {
                    i64::try_from(call.expires_ns).unwrap_or(i64::MAX)
                } else {
                    shifted(&image.process, clocks::MONOTONIC, call.expires_ns)
                },
            }
        }
        Some(RestartKind::Timeout) => {
            write_left(&image.process, first, second, call.expires_ns);
            return Ok(());
        }
        None => return Err(damaged(Damage::Value(Restart::NAME))),
    };
    goes_on.set().within(format_args!("{}", Restart::NAME))
}
