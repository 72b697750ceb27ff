// SPDX-License-Identifier: GPL-2.0

//! Checkpoint: freeze, capture, thaw, write, commit.
//!
//! One file a kind of state. Each writes its records to a ghost in memory while the process is
//! frozen; files are written after the thaw.

pub(crate) mod syscall;

mod capture;
mod changes;
mod creds;
mod directories;
mod files;
mod held;
mod kinds;
mod limits;
mod locks;
mod memfd;
mod mm;
mod object;
mod pages;
mod paranoid;
mod pipes;
mod process;
mod regs;
mod restart;
mod scheduling;
mod settle;
mod signals;
mod stored;
mod support;
mod task_mm;
mod text;
mod thread;
mod unsupported;
mod version;

pub(crate) use mm::{mark_clean, Expected};
pub(crate) use paranoid::Seen;
pub(crate) use settle::Losses;

use crate::app::{self, App, Base, Changes, Progress};
use crate::error::{fail, Context, Outcome};
use crate::image::{name::Name, FileKind};
use crate::sys::file::Directory;
use crate::sys::mm::AddressSpace;
use crate::sys::task::{self, Kind};
use capture::{freeze_and_capture, Captured, Subject};
use core::cell::Cell;
use held::Held;
use kernel::{
    prelude::*,
    sync::aref::ARef,
    task::Task,
    time::{Instant, Monotonic},
};

/// What the caller asks for.
pub(crate) struct Order<'a> {
    /// The process, in the pid namespace of the caller.
    pub(crate) pid: i32,
    /// Application ID.
    pub(crate) app: u32,
    /// Version to make.
    pub(crate) version: u64,
    /// Directory of the application in the store.
    pub(crate) directory: &'a Directory,
    /// Description, ASCII.
    pub(crate) description: &'a [u8],
    /// How.
    pub(crate) options: Options,
}

/// How a checkpoint is taken.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// A complete version, whatever could be built on.
    pub(crate) full: bool,
    /// Descriptors that cannot be checkpointed are left out.
    pub(crate) ignore_unsupported_files: bool,
    /// Signal that the process gets once the version is committed.
    pub(crate) kill: Option<u32>,
    /// The process is stopped where it was captured.
    pub(crate) stop: bool,
    /// Files are on the disk when the version is committed.
    pub(crate) durable: bool,
    /// How long threads may take to be stilled, milliseconds.
    pub(crate) timeout_ms: u32,
}

/// What a checkpoint took. Times in microseconds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Figures {
    /// Pages in the `task_mm` file.
    pub(crate) pages: u64,
    /// Bytes of all files.
    pub(crate) bytes: u64,
    /// Bytes of the control file.
    pub(crate) control_bytes: u64,
    /// Freeze to thaw.
    pub(crate) pause_us: u64,
    /// Capture.
    pub(crate) capture_us: u64,
    /// Writing.
    pub(crate) write_us: u64,
    /// Flushing and renaming.
    pub(crate) commit_us: u64,
    /// Everything.
    pub(crate) total_us: u64,
    /// Descriptors left out.
    pub(crate) left_out: u32,
    /// Version that this one builds on; 0: it is complete.
    pub(crate) parent: u64,
}

fn micros(since: Instant<Monotonic>) -> u64 {
    u64::try_from(since.elapsed().as_micros_ceil()).unwrap_or(0)
}

/// Takes one version of a process. It runs on, whatever happens, unless the order says otherwise
/// and the version is committed. May sleep.
///
/// The process is tracked from its first version on, so that the next one can be an increment.
pub(crate) fn checkpoint(order: &Order<'_>) -> Outcome<Figures> {
    let leader = find(order.pid)?;
    let app = app::find_or_track(&leader, order.app)?;
    let mut progress = app.progress.lock();
    take(&app, &mut progress, order)
}

/// The process `pid` of the caller's pid namespace, if it is one that can be checkpointed and the
/// caller may do so.
pub(crate) fn find(pid: i32) -> Outcome<ARef<Task>> {
    let Ok(task) = task::find(pid) else {
        fail!(ESRCH, "there is no process with pid {pid}");
    };
    admit(&task, pid)?;
    Ok(task)
}

/// Takes one version of a tracked application, whose progress is locked. As [`checkpoint`].
pub(crate) fn take(app: &App, progress: &mut Progress, order: &Order<'_>) -> Outcome<Figures> {
    take_version(app, progress, order).inspect_err(|failure| {
        if failure.errno == paranoid::MISSED {
            pr_err!("{}\n", format_args!("{failure}"));
            app.stats.missed();
        }
        app.stats.failed(failure);
    })
}

fn take_version(app: &App, progress: &mut Progress, order: &Order<'_>) -> Outcome<Figures> {
    let begun = Instant::now();
    let mut figures = Figures::default();
    let leader = app.leader();
    let pid = order.pid as u32;
    // It may have become another program since it was looked at last.
    admit(leader, order.pid)?;
    let space = AddressSpace::of(leader).within(format_args!("pid {pid}"))?;
    if let Some(ledger) = progress.ledger_of(order.directory) {
        ledger.prepare(order.version)?;
    }
    let renewed = progress.tracker.renew(&space)?;
    let mut base = progress
        .base
        .take()
        .filter(|base| renewed.is_none() && builds_on(order, progress, base));
    let tracker = renewed.as_ref().unwrap_or(&progress.tracker);

    let subject = Subject {
        leader,
        pid,
        space: &space,
        set: tracker.set(),
        options: &order.options,
        lost: Cell::new(false),
    };
    if renewed.is_some() {
        progress.expected = Expected::default();
    }
    let mut expected = progress.expected;
    let found = freeze_and_capture(&subject, &mut base, &mut expected, &mut figures);
    progress.expected = expected;
    let (frozen, freezing, captured) = match found {
        Ok(found) => found,
        Err(failure) => {
            // As long as nothing was taken from the dirty set, the next version can build on what
            // this one could have built on. (What was unmapped is cut out of the base's layout.)
            if !subject.lost.get() {
                progress.base = base;
            }
            return Err(failure);
        }
    };
    if order.options.stop {
        task::send_signal(leader, task::SIGSTOP).within(format_args!("pid {pid}"))?;
    }
    let to_the_end = order.options.kill.is_some();
    let mut held = Held::new(&app.stats, &space, frozen, freezing, to_the_end);
    held.left(captured.memory.pages.len() + captured.memory.shared.len());
    figures.left_out = captured.left_out;
    drop(space);
    if let Some(tracker) = renewed {
        app.stats.tracked_by(tracker.counter());
        progress.tracker = tracker;
    }

    let Captured {
        state,
        mut memory,
        threads,
        realtime_ns,
        ..
    } = captured;
    let writing = Instant::now();
    let shared_files = core::mem::take(&mut memory.shared_files);
    let mut settled = settle::settle(pid, memory, base, order.version, order.directory)?;
    held.relieve(&mut settled.pages);
    held.left(settled.pages.len());
    figures.parent = settled.parent;
    let lost = core::mem::take(&mut settled.lost);
    let changes = Changes {
        version: order.version,
        parent: settled.parent,
        control_complete: settled.control_base == 0,
        pages: settled.pages.len() as u64,
        lost: &lost,
    };
    let written = version::Version {
        order,
        state,
        threads,
        realtime_ns,
        shared_files,
        settled,
    }
    .write(writing, &mut held, &mut figures);
    let ledger = progress.ledger_of(order.directory);
    match written {
        Ok(next) => {
            if let Some(ledger) = ledger {
                ledger.committed(&changes);
            }
            progress.base = Some(next);
            progress.directory = order.directory.identity();
            app.stats.committed(&figures, order.version);
        }
        Err(failed) => {
            if let Some(ledger) = ledger.filter(|_| failed.leftovers) {
                ledger.failed(order.version);
            }
            // Without memory for that, the next version is complete.
            progress.base = failed
                .settled
                .undone(progress.tracker.set())
                .unwrap_or(None);
            return Err(failed.failure);
        }
    }
    if let Some(signal) = order.options.kill {
        // The version exists; it fails only for a process that has ended by itself meanwhile.
        let _ = task::send_signal(leader, signal);
    }
    drop(held);
    if let Some(ledger) = progress.ledger_of(order.directory) {
        let collected = ledger.collect(order.directory, pid, order.options.durable);
        collected
            .failure
            .inspect(|failure| app.stats.failed(failure));
    }
    figures.total_us = micros(begun);
    Ok(figures)
}

/// Whether the version that is ordered can be an increment on `base`.
fn builds_on(order: &Order<'_>, progress: &mut Progress, base: &Base) -> bool {
    let global = Name::new(FileKind::Global, 0, base.version);
    let known = progress
        .ledger_of(order.directory)
        .is_none_or(|ledger| ledger.describes(base.version));
    known
        && !order.options.full
        && !progress.tracker.set().has_overflowed()
        && progress.directory == order.directory.identity()
        && base.number < order.version
        && base.global.is_some()
        && order.directory.incarnation_of(&global).ok() == base.global
}

/// Refuses a task that is no process that can be checkpointed, or that the caller may not look into.
fn admit(task: &ARef<Task>, pid: i32) -> Outcome {
    let leader = task::leader_of(task);
    if leader.as_ptr() != task.as_ptr() {
        fail!(
            EINVAL,
            "pid {pid} is a thread of process {}; checkpoint that",
            task::id_of(&leader)
        );
    }
    match task::kind_of(task) {
        Kind::Kernel => fail!(
            EINVAL,
            "pid {pid} is a kernel thread, which geist cannot checkpoint"
        ),
        Kind::Exiting => fail!(ESRCH, "pid {pid} has exited"),
        Kind::User => {}
    }
    if task::is_own_process(task) {
        fail!(
            EINVAL,
            "pid {pid} is the process that asks; a process cannot checkpoint itself"
        );
    }
    if !task::may_access(task) {
        fail!(
            EPERM,
            "pid {pid}: you may not checkpoint this process (the rights of ptrace are needed)"
        );
    }
    Ok(())
}
