// SPDX-License-Identifier: GPL-2.0

//! Capture of open files: descriptors, the files that mappings show, locks.

use super::locks::export_locks;
use super::memfd::export_contents;
use super::mm::Shown;
use super::object::Object;
use super::pipes::Pipes;
use super::text::Text;
use crate::app::FrozenProcess;
use crate::error::{fail, Context, Failure, Outcome};
use crate::ghost::RecordWriter;
use crate::image::files::{
    Descriptor, FileLock, LeftOut, ObjectKind, DESCRIPTOR_CLOEXEC, OBJECT_MAPPED_ONLY,
    OBJECT_UNCHANGED,
};
use crate::image::record::Record;
use crate::sys::fd::{self, FileRef, Root};
use core::fmt;
use kernel::{bindings, prelude::*, rbtree::RBTree};

/// `F_SEAL_FUTURE_WRITE`.
const F_SEAL_FUTURE_WRITE: u32 = 0x10;

/// How a file object is known again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// An open file description.
    Description(usize),
    /// A memfd or shared anonymous memory, whoever shows it.
    Memory(usize),
    /// The inode of a file that is mapped, and whether mappings may write to it.
    Mapped(usize, bool),
}

/// A memfd or shared anonymous memory of the process.
pub(super) struct Memory {
    /// Its file object.
    pub(super) object: u32,
    /// What it is.
    pub(super) kind: ObjectKind,
    /// An open file that shows it.
    pub(super) file: FileRef,
}

/// The file objects of a process, numbered in the order in which they are met. To be dropped
/// before the process goes on: it holds memfds.
pub(crate) struct FileTable {
    last: u32,
    known: RBTree<Key, (u32, ObjectKind)>,
    memory: KVVec<Memory>,
    root: Option<Root>,
    /// Known from the first pipe on.
    pipes: Option<Pipes>,
}

/// Records that stand behind all file objects.
struct Later {
    descriptors: KVVec<Descriptor>,
    locks: KVVec<FileLock>,
    left_out: KVVec<(u32, Failure)>,
}

impl FileTable {
    /// A table without objects.
    pub(crate) fn new() -> Self {
        Self {
            last: 0,
            known: RBTree::new(),
            memory: KVVec::new(),
            root: None,
            pipes: None,
        }
    }

    /// Writes the descriptors of the process: their objects, themselves, locks. Returns how many
    /// were left out, which is 0 unless `ignore_unsupported`. `EOPNOTSUPP` and a sentence for one
    /// that geist cannot checkpoint. May sleep.
    pub(crate) fn export_descriptors(
        &mut self,
        process: &FrozenProcess,
        ignore_unsupported: bool,
        out: &mut RecordWriter<'_>,
    ) -> Outcome<u32> {
        let pid = process.pid;
        self.root = Some(fd::directories(&process.leader)?.root);
        let mut later = Later {
            descriptors: KVVec::new(),
            locks: KVVec::new(),
            left_out: KVVec::new(),
        };
        let mut from = 0;
        while let Some((number, file)) = FileRef::next(&process.leader, from) {
            match self.describe(process, file, &mut later, out) {
                Ok(object) => {
                    let cloexec = fd::is_close_on_exec(&process.leader, number);
                    let descriptor = Descriptor {
                        fd: number,
                        object,
                        flags: if cloexec { DESCRIPTOR_CLOEXEC } else { 0 },
                        reserved: 0,
                    };
                    later.descriptors.push(descriptor, GFP_KERNEL)?;
                }
                Err(what) if what.errno != EOPNOTSUPP => {
                    return Err(what.within(format_args!("pid {pid}: fd {number}")))
                }
                Err(what) if ignore_unsupported => {
                    later.left_out.push((number, what), GFP_KERNEL)?
                }
                Err(what) => fail!(
                    EOPNOTSUPP,
                    "pid {pid}: fd {number} is {what}, which geist cannot checkpoint yet"
                ),
            }
            let Some(next) = number.checked_add(1) else {
                break;
            };
            from = next;
        }
        later.export(out)
    }

    /// The object of a descriptor's file; written when it is new.
    fn describe(
        &mut self,
        process: &FrozenProcess,
        file: FileRef,
        later: &mut Later,
        out: &mut RecordWriter<'_>,
    ) -> Outcome<u32> {
        let key = Key::Description(file.description());
        if let Some((object, _)) = self.known.get(&key) {
            return Ok(*object);
        }
        let pipe = file.pipe();
        if let Some(pipe) = &pipe {
            if self.pipes.is_none() {
                self.pipes = Some(Pipes::of(process)?);
            }
            if let Some(pipes) = &self.pipes {
                pipes.refuse_others(&file, pipe)?;
            }
        }
        let object = Object::of_description(&file, pipe, self.root()?)?;
        if matches!(object.kind, ObjectKind::Memfd | ObjectKind::SharedAnonymous)
            && self.known.get(&Key::Memory(file.inode())).is_some()
        {
            fail!(
                EOPNOTSUPP,
                "a second open file of the memfd {}",
                Text(&object.tail)
            );
        }
        let number = self.write(key, object, out)?;
        export_locks(&process.leader, &file, number.0, &mut later.locks)?;
        self.remember_memory(file, number, true)?;
        Ok(number.0)
    }

    /// The object of a file that a mapping shows, or that is the executable; written when it is
    /// new. `writable_shared`: the mapping is shared and may be written. `what` names it in
    /// messages: `the mapping at 0x7f...`. May sleep.
    pub(crate) fn mapped_object(
        &mut self,
        file: &FileRef,
        writable_shared: bool,
        pid: u32,
        what: fmt::Arguments<'_>,
        out: &mut RecordWriter<'_>,
    ) -> Outcome<(u32, ObjectKind)> {
        match self.find_mapped(file, writable_shared, out) {
            Err(found) if found.errno == EOPNOTSUPP => fail!(
                EOPNOTSUPP,
                "pid {pid}: {what} is {found}, which geist cannot checkpoint yet"
            ),
            result => result.within(format_args!("pid {pid}: {what}")),
        }
    }

    fn find_mapped(
        &mut self,
        file: &FileRef,
        writable_shared: bool,
        out: &mut RecordWriter<'_>,
    ) -> Outcome<(u32, ObjectKind)> {
        let memory = file.is_internal_shmem();
        let key = if memory {
            Key::Memory(file.inode())
        } else {
            Key::Mapped(file.inode(), writable_shared)
        };
        if memory && writable_shared && file.seals() & F_SEAL_FUTURE_WRITE != 0 {
            fail!(
                EOPNOTSUPP,
                "a memfd that was sealed against writing (F_SEAL_FUTURE_WRITE) with a writable mapping"
            );
        }
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let mut object = Object::of(file, self.root()?)?;
        object.record.flags = OBJECT_MAPPED_ONLY;
        if !memory {
            object.record.position = 0;
            object.record.open_flags = bindings::O_RDONLY;
            if writable_shared {
                object.record.open_flags = bindings::O_RDWR;
            } else if object.kind == ObjectKind::Regular {
                object.record.flags |= OBJECT_UNCHANGED;
            }
        }
        let number = self.write(key, object, out)?;
        if memory {
            self.remember_memory(file.clone(), number, false)?;
        }
        Ok(number)
    }

    /// Writes the content of memfds that no mapping shows: what `covered` does not list, in
    /// mappings. May sleep.
    pub(crate) fn export_memfd_contents(
        &self,
        process: &FrozenProcess,
        covered: &[Shown],
        out: &mut RecordWriter<'_>,
    ) -> Outcome {
        for memory in self.memory.iter() {
            export_contents(memory, covered, out)
                .within(format_args!("pid {}: a memfd", process.pid))?;
        }
        Ok(())
    }

    fn root(&self) -> Outcome<&Root> {
        match &self.root {
            Some(root) => Ok(root),
            None => fail!(EINVAL, "mappings were captured before descriptors"),
        }
    }

    /// Gives `object` its number and writes it.
    fn write(
        &mut self,
        key: Key,
        mut object: Object,
        out: &mut RecordWriter<'_>,
    ) -> Outcome<(u32, ObjectKind)> {
        let Some(number) = self.last.checked_add(1) else {
            fail!(E2BIG, "it has too many files");
        };
        object.record.object = number;
        out.record_with_tail(&object.record, &object.tail)?;
        self.last = number;
        let value = (number, object.kind);
        self.known.try_create_and_insert(key, value, GFP_KERNEL)?;
        Ok(value)
    }

    /// Keeps `file` if it is a memfd or shared anonymous memory.
    fn remember_memory(
        &mut self,
        file: FileRef,
        (object, kind): (u32, ObjectKind),
        by_descriptor: bool,
    ) -> Outcome {
        if !matches!(kind, ObjectKind::Memfd | ObjectKind::SharedAnonymous) {
            return Ok(());
        }
        if by_descriptor {
            let key = Key::Memory(file.inode());
            self.known
                .try_create_and_insert(key, (object, kind), GFP_KERNEL)?;
        }
        let memory = Memory { object, kind, file };
        Ok(self.memory.push(memory, GFP_KERNEL)?)
    }
}

impl Later {
    fn export(&self, out: &mut RecordWriter<'_>) -> Outcome<u32> {
        for descriptor in self.descriptors.iter() {
            out.record(descriptor)?;
        }
        for lock in self.locks.iter() {
            out.record(lock)?;
        }
        for (number, what) in self.left_out.iter() {
            let words = what.sentence();
            let words = words.get(..LeftOut::MAX_TAIL).unwrap_or(words);
            let record = LeftOut {
                fd: *number,
                reserved: 0,
            };
            out.record_with_tail(&record, words)?;
        }
        Ok(self.left_out.len() as u32)
    }
}
