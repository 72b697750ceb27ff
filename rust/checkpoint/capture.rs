// SPDX-License-Identifier: GPL-2.0

//! Freeze and capture: what is done while the process stands still.

use super::mm::{self, Expected};
use super::pages::{Gathered, Wanted};
use super::{files, kinds, micros, support, Figures, Options};
use crate::app::{Base, Frozen, FrozenProcess};
use crate::error::{fail, Failure, Outcome};
use crate::ghost::{MemoryGhost, RecordWriter};
use crate::sys::clock;
use crate::sys::mm::AddressSpace;
use crate::track::DirtySet;
use core::cell::Cell;
use kernel::{
    prelude::*,
    sync::aref::ARef,
    task::Task,
    time::{Instant, Monotonic},
};

/// How often a capture is repeated when a thread woke during it.
const ATTEMPTS: u32 = 100;

/// Most pages that room is made for before it is known how many there are.
const MOST_EXPECTED: usize = 1 << 16;

/// Everything that one capture of a process gave.
pub(super) struct Captured {
    pub(super) state: MemoryGhost,
    pub(super) memory: KBox<mm::Memory>,
    pub(super) left_out: u32,
    pub(super) threads: u32,
    pub(super) realtime_ns: u64,
}

/// What is captured.
pub(super) struct Subject<'a> {
    pub(super) leader: &'a ARef<Task>,
    pub(super) pid: u32,
    pub(super) space: &'a AddressSpace,
    pub(super) set: &'a DirtySet,
    pub(super) options: &'a Options,
    /// What was taken from the dirty set counts only if this checkpoint succeeds.
    pub(super) lost: Cell<bool>,
}

/// Freezes and captures; returns also when the first freeze began. When a sleeping thread woke in
/// between, what was captured is kept, and what changed since is captured on top of it.
pub(super) fn freeze_and_capture(
    subject: &Subject<'_>,
    base: &mut Option<Base>,
    expected: &mut Expected,
    figures: &mut Figures,
) -> Outcome<(Frozen, Instant<Monotonic>, Captured)> {
    let pid = subject.pid;
    let mut kept: Option<KBox<mm::Memory>> = None;
    let mut freezing = None;
    for _ in 0..ATTEMPTS {
        // What can be done before the process stands still.
        let mut state = MemoryGhost::new();
        state.reserve(expected.state)?;
        let expected_pages = expected.pages + expected.pages / 4;
        let room = Gathered::with_room_for(expected_pages.min(MOST_EXPECTED))?;
        let freezing = *freezing.get_or_insert_with(Instant::now);
        let frozen = Frozen::freeze(subject.leader, pid, subject.options.timeout_ms)?;
        let capturing = Instant::now();
        let mut wanted = match (&mut kept, &mut *base) {
            (Some(memory), _) => {
                let memory: &mut mm::Memory = memory;
                Wanted::Changed(subject.set, &mut memory.layout, memory.seen.as_ref())
            }
            (None, Some(base)) => {
                Wanted::Changed(subject.set, &mut base.layout, base.seen.as_ref())
            }
            (None, None) => Wanted::All(Some(subject.set)),
        };
        subject.lost.set(false);
        let captured = capture(
            frozen.process(),
            subject,
            (&mut wanted, room),
            state,
            expected,
        );
        let taken = subject.lost.get();
        subject.lost.set(taken || kept.is_some());
        let still = frozen.stood_still();
        // What was killed meanwhile has the signal among those that wait.
        frozen.refuse_ending()?;
        match captured {
            Ok(mut captured) => {
                if let Some(before) = kept.take() {
                    captured.memory = mm::Memory::of_both(before, captured.memory)?;
                }
                if still {
                    figures.capture_us = micros(capturing);
                    frozen.capture_done();
                    return Ok((frozen, freezing, captured));
                }
                kept = Some(captured.memory);
            }
            Err(Spoilt { failure, memory }) => {
                if let Some(memory) = memory {
                    kept = Some(match kept.take() {
                        Some(before) => mm::Memory::of_both(before, memory)?,
                        None => memory,
                    });
                } else if taken {
                    // Only a complete version can follow on what nobody knows any more.
                    kept = None;
                    *base = None;
                }
                if still {
                    return Err(failure);
                }
            }
        }
    }
    fail!(
        EAGAIN,
        "pid {pid}: its threads woke during each of {ATTEMPTS} captures; try again"
    )
}

/// A capture that failed.
struct Spoilt {
    failure: Failure,
    /// What was taken from the dirty set is in here, if the memory was captured.
    memory: Option<KBox<mm::Memory>>,
}

impl From<Failure> for Spoilt {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            memory: None,
        }
    }
}

/// Captures a frozen process into memory.
fn capture(
    process: &FrozenProcess,
    subject: &Subject<'_>,
    wanted: (&mut Wanted<'_>, Gathered),
    mut state: MemoryGhost,
    expected: &mut Expected,
) -> Result<Captured, Spoilt> {
    support::refuse_unsupported(process)?;
    let mut out = RecordWriter::new(&mut state);
    kinds::export_process(process, &mut out)?;
    let mut table = files::FileTable::new();
    let ignore = subject.options.ignore_unsupported_files;
    let left_out = table.export_descriptors(process, ignore, &mut out)?;
    subject.lost.set(true);
    let vdso = &mut expected.vdso;
    let memory = mm::capture(process, subject.space, wanted, vdso, &mut table, &mut out)?;
    if let Err(failure) = capture_threads(process, &memory, &mut table, out) {
        return Err(Spoilt {
            failure,
            memory: Some(memory),
        });
    }
    expected.state = state.as_bytes().len();
    expected.pages = memory.pages.len();
    Ok(Captured {
        state,
        memory,
        left_out,
        threads: process.threads.len() as u32,
        realtime_ns: clock::realtime_ns(),
    })
}

/// The second half of a capture: what follows the memory.
fn capture_threads(
    process: &FrozenProcess,
    memory: &mm::Memory,
    table: &mut files::FileTable,
    mut out: RecordWriter<'_>,
) -> Outcome {
    table.export_memfd_contents(process, &memory.shown, &mut out)?;
    for thread in process.threads.iter() {
        kinds::export_thread(thread, &mut out)?;
    }
    out.finish()?;
    Ok(())
}
