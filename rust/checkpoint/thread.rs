// SPDX-License-Identifier: GPL-2.0

//! Capture of what a thread is.

use super::syscall::{RT_SIGSUSPEND, RT_SIGTIMEDWAIT};
use crate::app::FrozenThread;
use crate::error::{Context, Outcome};
use crate::ghost::{Export, RecordWriter};
use crate::image::thread::{Thread, ThreadState as State};
use crate::sys::process;
use crate::sys::regset::Entry;
use crate::sys::signal;

/// The thread itself: the record behind which all others of the thread stand.
pub(super) struct ThreadState;

/// A thread that is looked at.
struct Look<'a>(&'a FrozenThread);

impl Look<'_> {
    /// The blocked signals, as they are outside of a call that changes them for its own time.
    fn blocked(&self) -> Outcome<u64> {
        let masks = signal::masks(&self.0.task)?;
        if let Some(mask) = masks.restored {
            return Ok(mask);
        }
        if self.0.state == State::Syscall {
            match u64::try_from(Entry::of(&self.0.task).number) {
                Ok(RT_SIGSUSPEND) => return Ok(masks.saved),
                Ok(RT_SIGTIMEDWAIT) => return Ok(masks.real),
                _ => {}
            }
        }
        Ok(masks.blocked)
    }

    fn record(&self) -> Outcome<Thread> {
        let fields = process::thread_fields(&self.0.task);
        let (rseq, rseq_len, rseq_signature) = fields.rseq;
        let rseq_cs = match rseq {
            0 => 0,
            rseq => process::rseq_critical_section(&self.0.task, rseq)
                .within(format_args!("its rseq area at {rseq:#x}"))?,
        };
        let (altstack_sp, altstack_size, altstack_flags) = fields.altstack;
        let [utime_ns, stime_ns] = process::times(&self.0.task);
        Ok(Thread {
            tid: self.0.tid,
            state: self.0.state as u32,
            comm: fields.comm,
            blocked: self.blocked()?,
            altstack_sp,
            altstack_size,
            altstack_flags,
            pdeath_signal: fields.pdeath_signal,
            robust_list: fields.robust_list,
            clear_child_tid: fields.clear_child_tid,
            rseq,
            rseq_len,
            rseq_signature,
            rseq_cs,
            timer_slack_ns: fields.timer_slack_ns,
            utime_ns,
            stime_ns,
        })
    }
}

impl Export<FrozenThread> for ThreadState {
    fn export(thread: &FrozenThread, out: &mut RecordWriter<'_>) -> Outcome {
        out.record(&Look(thread).record()?)
    }
}
