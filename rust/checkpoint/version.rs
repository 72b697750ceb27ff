// SPDX-License-Identifier: GPL-2.0

//! Writing a version, and committing it by renaming its `global` file into place.

use super::held::Held;
use super::settle::Settled;
use super::task_mm::Pages;
use super::{micros, Figures, Order};
use crate::app::Base;
use crate::error::{Context, Failure, Outcome};
use crate::ghost::{FileWriter, GhostWrite, MemoryGhost, RecordReader, Summary};
use crate::image::control::ControlHeader;
use crate::image::files::LeftOut;
use crate::image::frame::FileHeader;
use crate::image::global::{Global, ManifestEntry, Node, NodeTask, VersionKind};
use crate::image::name::Name;
use crate::image::task::Process;
use crate::image::{FileKind, CRC_START};
use crate::sys::clock;
use crate::sys::crc32c::crc32c;
use crate::sys::fd::FileRef;
use crate::sys::file::{Directory, Incarnation, OpenFile};
use crate::sys::host;
use core::fmt::Write;
use kernel::{
    prelude::*,
    time::{Instant, Monotonic},
};

/// The files of a version that is not committed yet.
struct Files<'a> {
    directory: &'a Directory,
    made: KVec<Name>,
    manifest: KVec<ManifestEntry>,
}

/// A version that failed.
pub(super) struct Failed {
    /// Why.
    pub(super) failure: Failure,
    /// What it would have stored.
    pub(super) settled: Settled,
    /// Files of it were left, because they could not be removed.
    pub(super) leftovers: bool,
}

impl Files<'_> {
    /// Makes the file `name`. One that is there already is none of this version, whatever error
    /// comes. Where there was none, an error may have come when it was made and could not be opened:
    /// it is removed with the others.
    fn create(&mut self, name: Name) -> Outcome<OpenFile> {
        let free = self.directory.is_free(&name);
        if !free.within(format_args!("{name}"))? {
            return Err(EEXIST).within(format_args!("{name}"));
        }
        self.made.push(name, GFP_KERNEL)?;
        let made = self.directory.create(&name);
        if matches!(&made, Err(error) if *error == EEXIST) {
            self.made.pop();
        }
        made.within(format_args!("{name}"))
    }

    /// Notes a finished file.
    fn finished(&mut self, kind: FileKind, pid: u32, summary: Summary) -> Outcome {
        let entry = ManifestEntry {
            kind: kind as u32,
            pid,
            bytes: summary.bytes,
            crc: summary.crc,
            reserved: 0,
        };
        Ok(self.manifest.push(entry, GFP_KERNEL)?)
    }

    /// Bytes of all finished files.
    fn bytes(&self) -> u64 {
        self.manifest.iter().map(|entry| entry.bytes).sum()
    }
}

impl Files<'_> {
    /// Removes them, the last made first: should the version have its name already, nothing that it
    /// needs goes before that. Returns whether some are left.
    fn remove(&self) -> bool {
        for name in self.made.iter().rev() {
            match self.directory.remove(name) {
                Ok(()) => {}
                Err(error) if error == ENOENT => {}
                Err(error) => {
                    pr_warn!(
                        "{} of a version that was not committed cannot be removed (error {})\n",
                        name.as_str(),
                        error.to_errno()
                    );
                    return true;
                }
            }
        }
        false
    }
}

/// A version about to be written.
pub(super) struct Version<'a> {
    pub(super) order: &'a Order<'a>,
    pub(super) state: MemoryGhost,
    pub(super) threads: u32,
    pub(super) realtime_ns: u64,
    /// Files that it maps shared and may write to.
    pub(super) shared_files: KVec<FileRef>,
    pub(super) settled: Settled,
}

impl Version<'_> {
    /// Writes and commits it. On failure its files are removed again. Returns what the next version
    /// builds on. `writing` is when writing began.
    pub(super) fn write(
        mut self,
        writing: Instant<Monotonic>,
        held: &mut Held<'_>,
        figures: &mut Figures,
    ) -> core::result::Result<Base, Failed> {
        let mut files = Files {
            directory: self.order.directory,
            made: KVec::new(),
            manifest: KVec::new(),
        };
        match self.write_files(&mut files, writing, held, figures) {
            Ok(global) => Ok(Base {
                durable: self.order.options.durable,
                global,
                ..self.settled.next
            }),
            Err(failure) => Err(Failed {
                failure,
                settled: self.settled,
                leftovers: files.remove(),
            }),
        }
    }

    /// Returns its `global` file; `None`: the next version is complete.
    fn write_files(
        &mut self,
        files: &mut Files<'_>,
        writing: Instant<Monotonic>,
        held: &mut Held<'_>,
        figures: &mut Figures,
    ) -> Outcome<Option<Incarnation>> {
        let order = self.order;
        let pid = order.pid as u32;
        for file in self.shared_files.iter() {
            file.flush()
                .within(format_args!("pid {pid}: a file that it maps shared"))?;
        }
        description(order, files, &mut self.state, self.realtime_ns)?;
        let node = NodeTask {
            pid,
            ppid: parent(&mut self.state)?,
            threads: self.threads,
            reserved: 0,
        };
        stream(order, files, FileKind::Node, 0, |out| {
            out.write(Node { node: 0, tasks: 1 }.as_bytes())?;
            out.write(node.as_bytes())
        })?;
        stream(order, files, FileKind::Task, pid, |out| {
            out.write(self.state.as_bytes())
        })?;
        figures.control_bytes = control(order, files, &self.settled)?.bytes;
        let pages = core::mem::replace(&mut self.settled.pages, Pages::new());
        let parent = self.settled.parent;
        figures.pages = pages.len() as u64;
        let name = Name::new(FileKind::TaskMm, pid, order.version);
        let durable = order.options.durable;
        let file = files.create(name)?;
        let header = FileHeader::new(FileKind::TaskMm, order.app, pid, order.version, crc32c);
        let summary = pages.write(file, name, &header, durable, |pages| held.left(pages))?;
        figures.pause_us = held.pause_us;
        files.finished(FileKind::TaskMm, pid, summary)?;
        figures.write_us = micros(writing);

        let committing = Instant::now();
        let kind = if parent == 0 {
            VersionKind::Full
        } else {
            VersionKind::Increment
        };
        let global = Global {
            app: order.app,
            kind: kind as u32,
            version: order.version,
            parent,
            node_mask: 1,
            realtime_ns: self.realtime_ns,
            booted_ns: self.realtime_ns.saturating_sub(clock::boottime_ns()),
            stored_as: 0,
            kernel: host::kernel_release(),
            pause_us: figures.pause_us,
            pages: figures.pages,
            files: files.manifest.len() as u32,
            left_out: figures.left_out,
        };
        if durable && !self.settled.parent_durable {
            // It needs files that were written without.
            order
                .directory
                .sync_all()
                .within(format_args!("the store"))?;
        }
        figures.bytes = files.bytes() + commit(order, files, &global)?.bytes;
        figures.commit_us = micros(committing);
        Ok(order
            .directory
            .incarnation_of(&Name::new(FileKind::Global, 0, order.version))
            .ok())
    }
}

/// The parent that the captured process had. It may have another one by now, or be gone itself.
fn parent(state: &mut MemoryGhost) -> Outcome<u32> {
    state.rewind();
    let mut records = RecordReader::new(state);
    while let Some(record) = records.next()? {
        if let Some(Ok((process, _))) = record.decode::<Process>() {
            return Ok(process.ppid);
        }
    }
    Err(EINVAL.into())
}

/// Writes one file with header and trailer.
fn stream(
    order: &Order<'_>,
    files: &mut Files<'_>,
    kind: FileKind,
    pid: u32,
    body: impl FnOnce(&mut dyn GhostWrite) -> Outcome,
) -> Outcome<Summary> {
    let name = Name::new(kind, pid, order.version);
    let file = files.create(name)?;
    let mut file = FileWriter::new(file, name, kind, order.app, pid, order.version)?;
    body(&mut file)?;
    let summary = file.finish(order.options.durable)?;
    files.finished(kind, pid, summary)?;
    Ok(summary)
}

/// Writes the `global` file under its other name, then renames it.
fn commit(order: &Order<'_>, files: &mut Files<'_>, global: &Global) -> Outcome<Summary> {
    let uncommitted = Name::uncommitted_global(order.version);
    let file = files.create(uncommitted)?;
    let mut file = FileWriter::new(
        file,
        uncommitted,
        FileKind::Global,
        order.app,
        0,
        order.version,
    )?;
    file.write(global.as_bytes())?;
    for entry in files.manifest.iter() {
        file.write(entry.as_bytes())?;
    }
    let summary = file.finish(order.options.durable)?;
    let name = Name::new(FileKind::Global, 0, order.version);
    if order.options.durable {
        order.directory.sync().within(format_args!("the store"))?;
    }
    files.made.reserve(1, GFP_KERNEL)?;
    order
        .directory
        .rename(&uncommitted, &name)
        .within(format_args!("{name}"))?;
    files.made.push(name, GFP_KERNEL)?;
    if order.options.durable {
        order.directory.sync().within(format_args!("the store"))?;
    }
    Ok(summary)
}

/// Writes the control file: what changed against the one it builds on, or everything.
fn control(order: &Order<'_>, files: &mut Files<'_>, settled: &Settled) -> Outcome<Summary> {
    let tree = &settled.next.tree;
    let complete = settled.control_base == 0;
    let header = ControlHeader {
        vma_count: settled.next.layout.mappings(),
        address_count: tree.pages(),
        app: order.app,
        reserved: 0,
        base: settled.control_base,
        extents: if complete {
            tree.nodes()
        } else {
            settled.delta.len() as u64
        },
    };
    stream(order, files, FileKind::Control, order.pid as u32, |out| {
        out.write(header.as_bytes())?;
        if complete {
            tree.extents()
                .try_for_each(|extent| out.write(extent.as_bytes()))
        } else {
            out.write(settled.delta.as_slice().as_bytes())
        }
    })
}

/// Text on a ghost; the error is kept for who asks at the end.
struct Text<'a>(&'a mut MemoryGhost, Outcome);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.1 = self.0.write(text.as_bytes());
        self.1.as_ref().map_err(|_| core::fmt::Error).copied()
    }
}

/// Writes `description_vX.txt`: date, version, description, what was left out.
fn description(
    order: &Order<'_>,
    files: &mut Files<'_>,
    state: &mut MemoryGhost,
    realtime_ns: u64,
) -> Outcome {
    let date = clock::date(realtime_ns);
    let mut ghost = MemoryGhost::new();
    let mut text = Text(&mut ghost, Ok(()));
    // An error is in `text.1`.
    let _ = write!(
        text,
        "Date: {}-{:02}-{:02} {:02}:{:02}:{:02} UTC\nVersion: {}\nDescription: ",
        date.year, date.month, date.day, date.hour, date.minute, date.second, order.version
    );
    text.1?;
    ghost.write(order.description)?;
    ghost.write(b"\n")?;
    state.rewind();
    let mut records = RecordReader::new(state);
    while let Some(record) = records.next()? {
        if let Some(Ok((left_out, what))) = record.decode::<LeftOut>() {
            let mut text = Text(&mut ghost, Ok(()));
            // An error is in `text.1`.
            let _ = write!(text, "Left out: fd {}: ", left_out.fd);
            text.1?;
            ghost.write(what)?;
            ghost.write(b"\n")?;
        }
    }

    let name = Name::new(FileKind::Description, 0, order.version);
    let file = files.create(name)?;
    let write_out = || -> Result {
        file.write_at(0, ghost.as_bytes())?;
        if order.options.durable {
            file.sync()?;
        }
        Ok(())
    };
    write_out().within(format_args!("{name}"))?;
    let summary = Summary {
        bytes: ghost.as_bytes().len() as u64,
        crc: crc32c(CRC_START, ghost.as_bytes()),
    };
    files.finished(FileKind::Description, 0, summary)
}
