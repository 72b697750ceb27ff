// SPDX-License-Identifier: GPL-2.0

//! The list of all kinds of records that the module needs to restart a process: the mirror of
//! `checkpoint/kinds.rs`. The other records are for the client, which acts on them with system calls.

use super::image::{damaged, Mapping};
use crate::error::Outcome;
use crate::ghost::{import, GhostRead, Import, Importer, RecordReader};
use crate::image::files::FileObject;
use crate::image::mm::{AddressSpace, GuardPages, Vma, VmaKind};
use crate::image::record::Record;
use crate::image::task::{IntervalTimers, Process, Rlimits};
use crate::image::thread::{Registers, Restart, Thread, Xstate};
use crate::image::{values, Damage};
use kernel::prelude::*;

/// In any order: a record says what it is.
static KINDS: [Importer<Found>; 11] = [
    import::<Found, Process>,
    import::<Found, Rlimits>,
    import::<Found, IntervalTimers>,
    import::<Found, FileObject>,
    import::<Found, AddressSpace>,
    import::<Found, Vma>,
    import::<Found, GuardPages>,
    import::<Found, Thread>,
    import::<Found, Registers>,
    import::<Found, Xstate>,
    import::<Found, Restart>,
];

/// The records of a `task` file, as they come.
#[derive(Default)]
pub(super) struct Found {
    pub(super) process: Option<Process>,
    pub(super) thread: Option<Thread>,
    pub(super) registers: Option<KVVec<u8>>,
    pub(super) xstate: Option<KVVec<u8>>,
    pub(super) call: Option<Restart>,
    pub(super) timers: Option<IntervalTimers>,
    pub(super) limits: Option<Rlimits>,
    pub(super) space: Option<AddressSpace>,
    pub(super) mappings: KVVec<Mapping>,
    pub(super) guards: KVVec<GuardPages>,
    pub(super) objects: KVVec<FileObject>,
}

/// Reads all records of a ghost. May sleep.
#[inline(never)]
pub(super) fn read(ghost: &mut dyn GhostRead) -> Outcome<KBox<Found>> {
    let mut found = KBox::new(Found::default(), GFP_KERNEL)?;
    let mut records = RecordReader::new(ghost);
    while let Some(record) = records.next()? {
        values::check(&record).map_err(damaged)?;
        for import in &KINDS {
            if import(&record, &mut found)? {
                break;
            }
        }
    }
    Ok(found)
}

/// Takes what may stand there once only.
fn once<T>(place: &mut Option<T>, value: T) -> Outcome {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(damaged(Damage::Value("the number of records of a kind"))),
    }
}

fn bytes(tail: &[u8], length: u64, name: &'static str) -> Outcome<KVVec<u8>> {
    if tail.len() as u64 != length {
        return Err(damaged(Damage::Value(name)));
    }
    let mut copy = KVVec::new();
    copy.extend_from_slice(tail, GFP_KERNEL)?;
    Ok(copy)
}

/// Kinds that stand there once at most and are kept as they are.
macro_rules! single {
    ($($kind:ty => $place:ident),* $(,)?) => {$(
        impl Import<Found> for $kind {
            fn import(self, _tail: &[u8], into: &mut Found) -> Outcome {
                once(&mut into.$place, self)
            }
        }
    )*};
}
single! {
    Process => process,
    Rlimits => limits,
    IntervalTimers => timers,
    AddressSpace => space,
    Thread => thread,
    Restart => call,
}

impl Import<Found> for Registers {
    fn import(self, tail: &[u8], into: &mut Found) -> Outcome {
        once(
            &mut into.registers,
            bytes(tail, self.length, Registers::NAME)?,
        )
    }
}

impl Import<Found> for Xstate {
    fn import(self, tail: &[u8], into: &mut Found) -> Outcome {
        once(&mut into.xstate, bytes(tail, self.length, Xstate::NAME)?)
    }
}

impl Import<Found> for Vma {
    fn import(self, tail: &[u8], into: &mut Found) -> Outcome {
        let Some(kind) = VmaKind::from_number(self.kind) else {
            return Err(damaged(Damage::Value(Vma::NAME)));
        };
        let mut name = KVec::new();
        name.extend_from_slice(tail, GFP_KERNEL)?;
        let mapping = Mapping {
            vma: self,
            kind,
            name,
        };
        Ok(into.mappings.push(mapping, GFP_KERNEL)?)
    }
}

impl Import<Found> for GuardPages {
    fn import(self, _tail: &[u8], into: &mut Found) -> Outcome {
        Ok(into.guards.push(self, GFP_KERNEL)?)
    }
}

impl Import<Found> for FileObject {
    fn import(self, _tail: &[u8], into: &mut Found) -> Outcome {
        if self.object == 0 || !super::insert_sorted(&mut into.objects, self, |one| one.object)? {
            return Err(damaged(Damage::Value(FileObject::NAME)));
        }
        Ok(())
    }
}
