// SPDX-License-Identifier: GPL-2.0

//! Capture of how a thread is scheduled.

use crate::app::FrozenThread;
use crate::error::Outcome;
use crate::ghost::{Export, RecordWriter};
use crate::image::thread::Scheduling;
use crate::sys::process;
use zerocopy::IntoBytes;

/// Policy, priorities and CPUs of a thread.
pub(super) struct SchedulingState;

impl Export<FrozenThread> for SchedulingState {
    fn export(thread: &FrozenThread, out: &mut RecordWriter<'_>) -> Outcome {
        let state = process::scheduling(&thread.task);
        let affinity = process::affinity(&thread.task)?.unwrap_or_default();
        let mask = affinity.as_slice().as_bytes();
        let record = Scheduling {
            policy: state.policy,
            nice: state.nice,
            priority: state.priority,
            ioprio: state.ioprio,
            reset_on_fork: u32::from(state.reset_on_fork),
            affinity_bytes: mask.len() as u32,
        };
        out.record_with_tail(&record, mask)
    }
}
