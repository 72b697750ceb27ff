// SPDX-License-Identifier: GPL-2.0

//! Capture of what the threads of a process share, but for its files and memory.

use super::creds::CredsState;
use super::directories::DirectoryState;
use super::limits::LimitState;
use super::signals::{HandlerState, PendingAndTimers};
use crate::app::FrozenProcess;
use crate::error::{Context, Outcome};
use crate::ghost::{Export, RecordWriter};
use crate::image::task::{Process, PROCESS_NO_NEW_PRIVS, PROCESS_STOPPED, PROCESS_SUBREAPER};
use crate::sys::{clock, process, signal};
use kernel::prelude::*;

/// The process record and everything that stands before the files.
pub(crate) struct ProcessState<'a>(pub(crate) &'a FrozenProcess);

impl ProcessState<'_> {
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

    fn export_all(&self, out: &mut RecordWriter<'_>) -> Outcome {
        let leader = &self.0.leader;
        out.record(&self.record()?)?;
        CredsState(leader).export(out)?;
        LimitState(leader).export(out)?;
        HandlerState(leader).export(out)?;
        PendingAndTimers(leader).export(out)?;
        DirectoryState(self.0).export(out)
    }
}

impl Export for ProcessState<'_> {
    fn export(&self, out: &mut RecordWriter<'_>) -> Outcome {
        self.export_all(out)
            .within(format_args!("pid {}", self.0.pid))
    }
}
