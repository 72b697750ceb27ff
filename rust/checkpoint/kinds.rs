// SPDX-License-Identifier: GPL-2.0

//! The list of all kinds of state that a process and its threads have.
//!
//! A kind is a small type in a file of its own that implements [`Export`], and a line here. Its mirror is a
//! line in `restart/kinds.rs` where the module restores it, or in the list of steps of the client's skeleton
//! (`tools/geist/geist/src/restart/skeleton.rs`) where a system call does. Only files and memory are no lines
//! here: what they export is more than records, and they share a table of files.

use super::creds::CredsState;
use super::directories::DirectoryState;
use super::limits::LimitState;
use super::process::ProcessState;
use super::regs::RegisterState;
use super::restart::RestartState;
use super::scheduling::SchedulingState;
use super::signals::{HandlerState, PendingAndTimers, PendingState};
use super::thread::ThreadState;
use crate::app::{FrozenProcess, FrozenThread};
use crate::error::{Context, Outcome};
use crate::ghost::{Export, Exporter, RecordWriter};

/// What all threads of a process share, but for its files and memory, in the order of the records.
static OF_PROCESS: [Exporter<FrozenProcess>; 6] = [
    ProcessState::export,
    CredsState::export,
    LimitState::export,
    HandlerState::export,
    PendingAndTimers::export,
    DirectoryState::export,
];

/// What each thread has, in the order of the records. They stand behind all of the process's.
static OF_THREAD: [Exporter<FrozenThread>; 5] = [
    ThreadState::export,
    RegisterState::export,
    SchedulingState::export,
    PendingState::export,
    RestartState::export,
];

/// Writes all that the threads of `process` share, but for files and memory. May sleep.
pub(super) fn export_process(process: &FrozenProcess, out: &mut RecordWriter<'_>) -> Outcome {
    OF_PROCESS
        .iter()
        .try_for_each(|export| export(process, out))
        .within(format_args!("pid {}", process.pid))
}

/// Writes all of `thread`. May sleep.
pub(super) fn export_thread(thread: &FrozenThread, out: &mut RecordWriter<'_>) -> Outcome {
    OF_THREAD
        .iter()
        .try_for_each(|export| export(thread, out))
        .within(format_args!("thread {}", thread.tid))
}
