// SPDX-License-Identifier: GPL-2.0

//! Capture of what a process is.

use crate::app::FrozenProcess;
use crate::error::Outcome;
use crate::ghost::{Export, RecordWriter};
use crate::image::task::{Process, PROCESS_NO_NEW_PRIVS, PROCESS_STOPPED, PROCESS_SUBREAPER};
use crate::sys::{clock, process, signal};
use kernel::prelude::*;

/// The process itself: the first record of all.
pub(super) struct ProcessState;

/// A process that is looked at.
struct Look<'a>(&'a FrozenProcess);

impl Look<'_> {
    fn record(&self) -> Result<Process> {
        let identity = process::identity(&self.0.leader);
        let mut stopped = identity.stopped;
        let mut times = identity.ended_ns;
        for thread in self.0.threads.iter() {
            stopped |= signal::is_about_to_stop(&thread.task)?;
            for (sum, used) in times.iter_mut().zip(process::times(&thread.task)) {
                *sum = sum.saturating_add(used);
            }
        }
        let flags = [
            (stopped, PROCESS_STOPPED),
            (identity.no_new_privs, PROCESS_NO_NEW_PRIVS),
            (identity.subreaper, PROCESS_SUBREAPER),
        ];
        let [utime_ns, stime_ns] = times;
        Ok(Process {
            pid: self.0.pid,
            ppid: identity.ppid,
            pgid: identity.pgid,
            sid: identity.sid,
            threads: self.0.threads.len() as u32,
            flags: flags
                .into_iter()
                .filter(|(set, _)| *set)
                .fold(0, |all, (_, flag)| all | flag),
            personality: identity.personality,
            dumpable: identity.dumpable,
            start_time_ns: identity.start_ns,
            monotonic_ns: clock::monotonic_ns(),
            realtime_ns: clock::realtime_ns(),
            boottime_ns: clock::boottime_ns(),
            utime_ns,
            stime_ns,
            oom_score_adj: identity.oom_score_adj,
            reserved: 0,
        })
    }
}

impl Export<FrozenProcess> for ProcessState {
    fn export(process: &FrozenProcess, out: &mut RecordWriter<'_>) -> Outcome {
        out.record(&Look(process).record()?)
    }
}
