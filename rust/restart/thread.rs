// SPDX-License-Identifier: GPL-2.0

//! What only the kernel keeps of a thread, and only it can put back: rseq, timers, signal mask.

use super::image::ProcessImage;
use super::scratch::Scratch;
use crate::error::{Context, Outcome};
use crate::image::task::PROCESS_STOPPED;
use crate::sys::restart_task::{self, Rseq};
use crate::sys::{restart_mm, syscall};
use zerocopy::IntoBytes;

/// Offset of the pointer to the critical section in the area of `rseq(2)`.
const RSEQ_CS: u64 = 8;

/// Gives up the registration of the calling process, which points to memory that is about to go.
pub(super) fn leave_rseq() -> Outcome {
    let own = Rseq::current();
    if own.address == 0 {
        return Ok(());
    }
    syscall::rseq_unregister(own.address, own.length, own.signature)
        .within(format_args!("giving up its own rseq area"))
}

/// Registers the area of the image, whose pages are in.
pub(super) fn enter_rseq(image: &ProcessImage) -> Outcome {
    let thread = &image.thread;
    if thread.rseq == 0 {
        return Ok(());
    }
    syscall::rseq_register(thread.rseq, thread.rseq_len, thread.rseq_signature)
        .within(format_args!("the rseq area at {:#x}", thread.rseq))?;
    if thread.rseq_cs != 0 {
        // Registering cleared it, but the thread may stand in the middle of that section.
        restart_mm::write_user(
            thread.rseq.wrapping_add(RSEQ_CS),
            &thread.rseq_cs.to_le_bytes(),
        )
        .within(format_args!("the rseq area at {:#x}", thread.rseq))?;
        Rseq::interrupted();
    }
    Ok(())
}

/// Starts the interval timers, for the time that was left.
pub(super) fn start_timers(image: &ProcessImage) -> Outcome {
    let Some(timers) = &image.timers else {
        return Ok(());
    };
    if timers.timers.iter().all(|[left, _]| *left == 0) {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    for (which, [left, interval]) in (0u32..).zip(timers.timers) {
        if left == 0 {
            continue;
        }
        // `struct itimerval`: interval and value, seconds and microseconds each.
        let [interval, left] = [interval, left].map(timeval);
        let value = [interval[0], interval[1], left[0], left[1]];
        let address = scratch.write(0, value.as_bytes())?;
        syscall::setitimer(which, address).within(format_args!("interval timer {which}"))?;
    }
    Ok(())
}

/// Seconds and microseconds of a time in nanoseconds, which does not become zero.
fn timeval(nanoseconds: u64) -> [u64; 2] {
    let microseconds = nanoseconds.div_ceil(1000);
    [microseconds / 1_000_000, microseconds % 1_000_000]
}

/// What comes last, and cannot fail: from here on signals reach the process. With `stop` it stops
/// before its first instruction, also where the image does not say so.
pub(super) fn let_signals_in(image: &ProcessImage, stop: bool) {
    restart_task::look_executed();
    if stop || image.process.flags & PROCESS_STOPPED != 0 {
        restart_task::stop();
    }
    restart_task::set_blocked(image.thread.blocked);
}
