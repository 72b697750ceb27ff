// SPDX-License-Identifier: GPL-2.0

//! An application: its processes and threads, freezing and thawing them.

mod folders;
mod freeze;
pub(crate) mod interval;
mod ledger;
#[allow(dead_code)] // Until everything that sets them is there.
mod stats;
mod tracked;

pub(crate) use folders::settle;
pub(crate) use freeze::Frozen;
pub(crate) use ledger::Changes;
pub(crate) use stats::Stats;
pub(crate) use tracked::{
    adopt, count, find_or_track, of_process, reap_soon, App, Apps, Base, Progress,
};

use crate::image::thread::ThreadState;
use kernel::{prelude::*, sync::aref::ARef, task::Task};

/// A thread that stands still.
pub(crate) struct FrozenThread {
    /// The thread.
    pub(crate) task: ARef<Task>,
    /// Its ID in the pid namespace of the caller.
    pub(crate) tid: u32,
    /// Where it stands.
    pub(crate) state: ThreadState,
}

/// A process whose threads all stand still. Made by [`Frozen`] only.
pub(crate) struct FrozenProcess {
    /// The thread whose ID is that of the process.
    pub(crate) leader: ARef<Task>,
    /// Its ID in the pid namespace of the caller.
    pub(crate) pid: u32,
    /// All threads, the leader first.
    pub(crate) threads: KVVec<FrozenThread>,
}
