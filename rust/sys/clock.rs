// SPDX-License-Identifier: GPL-2.0

//! Clocks and dates.

use kernel::{
    bindings,
    time::{BootTime, Monotonic, RealTime},
};

fn nanoseconds<C: kernel::time::ClockSource>() -> u64 {
    u64::try_from(C::ktime_get()).unwrap_or(0)
}

/// `CLOCK_REALTIME`, nanoseconds since 1970.
pub(crate) fn realtime_ns() -> u64 {
    nanoseconds::<RealTime>()
}

/// `CLOCK_MONOTONIC`, nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    nanoseconds::<Monotonic>()
}

/// `CLOCK_BOOTTIME`, nanoseconds.
pub(crate) fn boottime_ns() -> u64 {
    nanoseconds::<BootTime>()
}

/// A date and time, UTC.
pub(crate) struct Date {
    /// Year, such as 2026.
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: i32,
    /// 1 to 31.
    pub(crate) day: i32,
    /// 0 to 23.
    pub(crate) hour: i32,
    /// 0 to 59.
    pub(crate) minute: i32,
    /// 0 to 60.
    pub(crate) second: i32,
}

/// The date at `realtime_ns` nanoseconds since 1970 (`time64_to_tm()`).
pub(crate) fn date(realtime_ns: u64) -> Date {
    let mut tm = bindings::tm::default();
    // SAFETY: the structure is filled by the call.
    unsafe { bindings::time64_to_tm((realtime_ns / 1_000_000_000) as i64, 0, &mut tm) };
    Date {
        year: tm.tm_year as i64 + 1900,
        month: tm.tm_mon + 1,
        day: tm.tm_mday,
        hour: tm.tm_hour,
        minute: tm.tm_min,
        second: tm.tm_sec,
    }
}
