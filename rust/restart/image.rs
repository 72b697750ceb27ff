// SPDX-License-Identifier: GPL-2.0

//! A process of an image, read and checked.
//!
//! Nothing in an image is believed: numbers that later steps rely on are checked here, the rest by
//! the system calls through which it goes.

use super::kinds::{self, Found};
use super::pages::Pages;
use crate::error::{fail, Context, Failure, Outcome};
use crate::ghost::FileReader;
use crate::image::files::{FileObject, ObjectKind};
use crate::image::mm::{AddressSpace, GuardPages, Vma, VmaKind};
use crate::image::name::Name;
use crate::image::record::Record;
use crate::image::task::{IntervalTimers, Process, Rlimits};
use crate::image::thread::{Registers, Restart, Thread, Xstate};
use crate::image::{Damage, FileKind};
use crate::sys::file::Directory;
use core::mem;
use kernel::prelude::*;

/// A mapping and the name that `PR_SET_VMA_ANON_NAME` gave it.
pub(super) struct Mapping {
    /// The record.
    pub(super) vma: Vma,
    /// What it is.
    pub(super) kind: VmaKind,
    /// The name, without a final zero; empty: none.
    pub(super) name: KVec<u8>,
}

impl Mapping {
    /// Bytes.
    pub(super) fn length(&self) -> u64 {
        self.vma.end.saturating_sub(self.vma.start)
    }
}

/// What a restart needs of a `task` file, and where its pages lie.
pub(super) struct ProcessImage {
    /// Process ID.
    pub(super) pid: u32,
    /// The process.
    pub(super) process: Process,
    /// Its thread.
    pub(super) thread: Thread,
    /// General registers, `struct user_regs_struct`.
    pub(super) registers: KVVec<u8>,
    /// Vector registers, an XSAVE area.
    pub(super) xstate: KVVec<u8>,
    /// The system call that goes on with what is left of its time.
    pub(super) call: Option<Restart>,
    /// Interval timers.
    pub(super) timers: Option<IntervalTimers>,
    /// Resource limits.
    pub(super) limits: Rlimits,
    /// Fields of the address space.
    pub(super) space: AddressSpace,
    /// Mappings, ascending.
    pub(super) mappings: KVVec<Mapping>,
    /// Guard pages.
    pub(super) guards: KVVec<GuardPages>,
    /// File objects, ascending by number.
    pub(super) objects: KVVec<FileObject>,
    /// Content of the memory.
    pub(super) pages: Pages,
}

/// Bytes that are no valid image, as a failure.
pub(super) fn damaged(damage: Damage) -> Failure {
    Failure::new(EBADMSG, format_args!("{damage}"))
}

/// The record, which must be there.
fn required<T>(found: Option<T>, name: &'static str) -> Outcome<T> {
    found.ok_or_else(|| damaged(Damage::Missing(name)))
}

impl ProcessImage {
    /// Reads the `task` and `control` files of process `pid` with this number and opens the
    /// `task_mm` files that they need. May sleep.
    pub(super) fn read(directory: &Directory, app: u32, pid: u32, number: u64) -> Outcome<Self> {
        let name = Name::new(FileKind::Task, pid, number);
        let mut file = FileReader::open(directory, FileKind::Task, app, pid, number)?;
        let found = kinds::read(&mut file).within(format_args!("{name}"))?;
        drop(file);
        let pages = Pages::open(directory, app, pid, number)?;
        let image = Self::assemble(pid, found, pages).within(format_args!("{name}"))?;
        super::check::check(&image).within(format_args!("{name}"))?;
        super::check::check_pages(&image).within(format_args!(
            "{}",
            Name::new(FileKind::Control, pid, number)
        ))?;
        Ok(image)
    }

    #[inline(never)]
    fn assemble(pid: u32, mut found: KBox<Found>, pages: Pages) -> Outcome<Self> {
        let process = required(found.process.take(), Process::NAME)?;
        if process.pid != pid {
            return Err(damaged(Damage::Identity));
        }
        if process.threads != 1 {
            fail!(
                EOPNOTSUPP,
                "pid {pid} has {} threads; geist restarts processes of one thread only yet",
                process.threads
            );
        }
        let thread = required(found.thread.take(), Thread::NAME)?;
        if thread.tid != pid {
            return Err(damaged(Damage::Value(Thread::NAME)));
        }
        Ok(Self {
            pid,
            process,
            thread,
            registers: required(found.registers.take(), Registers::NAME)?,
            xstate: required(found.xstate.take(), Xstate::NAME)?,
            call: found.call.take(),
            timers: found.timers.take(),
            limits: required(found.limits.take(), Rlimits::NAME)?,
            space: required(found.space.take(), AddressSpace::NAME)?,
            mappings: mem::take(&mut found.mappings),
            guards: mem::take(&mut found.guards),
            objects: mem::take(&mut found.objects),
            pages,
        })
    }

    /// The file object with this number.
    pub(super) fn object(&self, number: u32) -> Option<&FileObject> {
        let index = self
            .objects
            .binary_search_by_key(&number, |object| object.object)
            .ok()?;
        self.objects.get(index)
    }

    /// What the file object with this number is.
    pub(super) fn object_kind(&self, number: u32) -> Option<ObjectKind> {
        ObjectKind::from_number(self.object(number)?.kind)
    }
}
