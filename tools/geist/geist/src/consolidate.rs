// SPDX-License-Identifier: GPL-2.0

//! `geist consolidate`
//!
//! All files of the version are written anew under a number that nobody has; then a new `global`
//! file, which says so, takes the place of the old one. That rename is the moment from which on the
//! version needs no other. What is cut off before it leaves files of no version, what is cut off
//! behind it the old files: the next occasion frees either.

use crate::cli::{Common, ConsolidateArgs};
use crate::image::write::{self, Owner, PagesWriter};
use crate::image::{self, crc32c, Chain, Damaged, Image, Process, StoredPages};
use crate::output::{self, Progress};
use crate::store::{App, Change, Freeing, Store};
use anyhow::{bail, Context as _, Result};
use geist_image::control::{ControlHeader, Extent};
use geist_image::global::{Global, ManifestEntry, VersionKind};
use geist_image::name::Name;
use geist_image::{FileKind, CRC_START, PAGE_SIZE};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::Write as _;
use zerocopy::IntoBytes as _;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    app: u32,
    version: u64,
    /// Whether it is only said what would be done.
    dry_run: bool,
    /// Whether it needed other versions.
    changed: bool,
    /// Number of its files.
    number: u64,
    /// Pages in them.
    pages: u64,
    /// Bytes of all of them.
    bytes: u64,
    freed_files: u64,
    freed_bytes: u64,
}

/// Makes one version complete.
pub fn run(common: &Common, args: &ConsolidateArgs) -> Result<()> {
    let store = Store::open(&common.store)?;
    let app = store.app(args.version.app)?;
    app.lock(true)?;
    let Some(version) = args.version.version else {
        bail!(
            "say which version of application {id}, for example {id}@{newest}",
            id = app.id,
            newest = app.newest()?
        );
    };
    if !app.numbers()?.contains(&version) {
        bail!(
            "application {} has no version {version}; `geist list` shows which it has",
            app.id
        );
    }
    let report = match args.dry_run {
        true => foresee(&app, version)?,
        false => consolidate(&app, &app, version)?,
    };
    if args.json {
        return output::print_json(&report);
    }
    let what = format!("version {version} of application {}", app.id);
    output::print(&match (report.changed, report.dry_run) {
        (false, _) => format!("{what} needs no other version; nothing to do\n"),
        (true, true) => format!(
            "{what} would become complete: {} pages in files with number {}; {} in {} files would be freed\n",
            report.pages,
            report.number,
            output::bytes(report.freed_bytes),
            report.freed_files
        ),
        (true, false) => format!(
            "{what} is complete: {} pages, {}, in files with number {}; {} in {} files freed\n",
            report.pages,
            output::bytes(report.bytes),
            report.number,
            output::bytes(report.freed_bytes),
            report.freed_files
        ),
    })
}

/// The version, verified whole, and whether it needs files of others.
fn read(app: &App, version: u64) -> Result<(Image, bool)> {
    let mut chain = Chain::new(app);
    let image = image::check(&mut chain, version).map_err(|mut damages| damages.remove(0))?;
    let own = image.summary.global.number();
    let needs = image.processes.iter().any(|process| {
        let others = process.extents.iter().any(|extent| extent.version != own);
        process.control.base != 0 || others
    });
    Ok((image, needs))
}

impl Report {
    /// The version as it is, before anything is done.
    fn of(app: &App, image: &Image, changed: bool, dry_run: bool) -> Self {
        let summary = &image.summary;
        let global = &summary.global;
        Self {
            app: app.id,
            version: global.version,
            dry_run,
            changed,
            number: global.number(),
            pages: global.pages,
            bytes: summary.bytes,
            freed_files: 0,
            freed_bytes: 0,
        }
    }
}

fn pages_of(image: &Image) -> u64 {
    let extents = image.processes.iter().flat_map(|one| &one.extents);
    extents.map(|extent| extent.pages).sum()
}

/// What consolidating would do.
fn foresee(app: &App, version: u64) -> Result<Report> {
    let (image, changed) = read(app, version)?;
    let mut report = Report::of(app, &image, changed, true);
    if changed {
        let freed = freed(&Freeing::plan(app, &BTreeSet::from([version]))?);
        report.number = app.next_number()?;
        report.pages = pages_of(&image);
        // The `global` file is replaced, not freed.
        let others: u64 = image.summary.manifest.iter().map(|e| e.bytes).sum();
        let global = image.summary.bytes - others;
        (report.freed_files, report.freed_bytes) = (freed.0 - 1, freed.1 - global);
    }
    Ok(report)
}

fn freed(freeing: &Freeing) -> (u64, u64) {
    let remains = freeing.remains.values();
    remains.fold((0, 0), |(files, bytes), one| {
        (files + one.files, bytes + one.freed)
    })
}

/// Makes `version` complete, so that it needs no other; the lock for writing must be held.
pub fn consolidate(app: &App, change: &dyn Change, version: u64) -> Result<Report> {
    app.clean(change)?;
    let (image, changed) = read(app, version)?;
    let mut report = Report::of(app, &image, changed, false);
    if !changed {
        return Ok(report);
    }
    report.number = app.next_number()?;
    report.pages = pages_of(&image);
    let mut writing = Writing {
        app,
        change,
        number: report.number,
        made: Vec::new(),
        manifest: Vec::new(),
    };
    let written = writing.files(&image).and_then(|()| writing.commit(&image));
    if let Err(error) = written {
        for name in writing.made.iter().rev() {
            // What cannot be removed now is removed at the next occasion.
            let _ = change.unlink(name);
        }
        return Err(error);
    }
    report.bytes = written?;
    match Freeing::plan(app, &BTreeSet::new()) {
        Err(error) if error.is::<Damaged>() => {
            output::note(&format!("the old files stay: {error:#}"));
        }
        freeing => {
            let freeing = freeing?;
            freeing.carry_out(change)?;
            (report.freed_files, report.freed_bytes) = freed(&freeing);
        }
    }
    Ok(report)
}

/// Files being written.
struct Writing<'a> {
    app: &'a App,
    change: &'a dyn Change,
    number: u64,
    made: Vec<String>,
    manifest: Vec<ManifestEntry>,
}

impl Writing<'_> {
    fn owner(&self, pid: u32) -> Owner {
        Owner {
            app: self.app.id,
            pid,
            number: self.number,
        }
    }

    /// Makes one file; `write` returns its manifest entry.
    fn create(
        &mut self,
        name: Name,
        write: &mut dyn FnMut(&mut std::fs::File) -> Result<ManifestEntry>,
    ) -> Result<ManifestEntry> {
        let mut entry = None;
        // It may be there before this fails.
        self.made.push(name.as_str().to_owned());
        self.change.create(name.as_str(), &mut |file| {
            entry = Some(write(file)?);
            Ok(())
        })?;
        entry.context("the file was not written")
    }

    fn add(
        &mut self,
        kind: FileKind,
        pid: u32,
        write: &mut dyn FnMut(&mut std::fs::File) -> Result<ManifestEntry>,
    ) -> Result<()> {
        let entry = self.create(Name::new(kind, pid, self.number), write)?;
        self.manifest.push(entry);
        Ok(())
    }

    /// All files but the `global` one.
    fn files(&mut self, image: &Image) -> Result<()> {
        let summary = &image.summary;
        let text = summary.description.as_bytes();
        self.add(FileKind::Description, 0, &mut |file| {
            file.write_all(text)?;
            let crc = crc32c(CRC_START, text);
            Ok(write::entry(
                FileKind::Description,
                0,
                text.len() as u64,
                crc,
            ))
        })?;
        self.copy(image, FileKind::Node, 0)?;
        for process in &image.processes {
            self.copy(image, FileKind::Task, process.node.pid)?;
            self.memory(process)?;
        }
        self.change.sync()
    }

    /// A file that only gets another number.
    fn copy(&mut self, image: &Image, kind: FileKind, pid: u32) -> Result<()> {
        let body = image::body(self.app, &image.summary, kind, pid)?;
        let owner = self.owner(pid);
        self.add(kind, pid, &mut |file| {
            write::framed(file, kind, owner, &body)
        })
    }

    /// All pages of a process, and the table of them.
    fn memory(&mut self, process: &Process) -> Result<()> {
        let pid = process.node.pid;
        let pages: u64 = process.extents.iter().map(|extent| extent.pages).sum();
        let what = format!("writing {pages} pages of process {pid}");
        let mut progress = Progress::new(&what, pages * PAGE_SIZE as u64);
        let (app, owner) = (self.app, self.owner(pid));
        self.add(FileKind::TaskMm, pid, &mut |file| {
            let mut stored = StoredPages::new(app);
            let mut writer = PagesWriter::begin(file, owner)?;
            for extent in &process.extents {
                for n in 0..extent.pages {
                    let address = extent.address + n * PAGE_SIZE as u64;
                    let (mut page, content) =
                        stored.content(pid, extent.version, extent.offset + n, address)?;
                    page.protection = process.task.protection(address);
                    writer.add(&page, &content)?;
                    progress.advance(PAGE_SIZE as u64);
                }
            }
            writer.finish()
        })?;
        let extents = self.extents(process);
        let header = ControlHeader {
            vma_count: process.control.vma_count,
            address_count: pages,
            app: app.id,
            reserved: 0,
            base: 0,
            extents: extents.len() as u64,
        };
        let body = [header.as_bytes(), extents.as_bytes()].concat();
        self.add(FileKind::Control, pid, &mut |file| {
            write::framed(file, FileKind::Control, owner, &body)
        })
    }

    /// The table: the pages lie behind each other in the order of their addresses.
    fn extents(&self, process: &Process) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        let mut offset = 0;
        for extent in &process.extents {
            match extents.last_mut() {
                Some(last) if last.end() == Some(extent.address) => last.pages += extent.pages,
                _ => extents.push(Extent {
                    address: extent.address,
                    pages: extent.pages,
                    version: self.number,
                    offset,
                }),
            }
            offset += extent.pages;
        }
        extents
    }

    /// Puts the new `global` file in the place of the old one; bytes of all files of the version.
    fn commit(&mut self, image: &Image) -> Result<u64> {
        let version = image.summary.global.version;
        let global = Global {
            kind: VersionKind::Full as u32,
            parent: 0,
            stored_as: self.number,
            pages: pages_of(image),
            files: self.manifest.len() as u32,
            ..image.summary.global
        };
        let body = [global.as_bytes(), self.manifest.as_bytes()].concat();
        let owner = Owner {
            app: self.app.id,
            pid: 0,
            number: version,
        };
        let new = Name::uncommitted_global(version);
        let entry = self.create(new, &mut |file| {
            write::framed(file, FileKind::Global, owner, &body)
        })?;
        let name = Name::new(FileKind::Global, 0, version);
        self.change.rename(new.as_str(), name.as_str())?;
        // From here on they are the version's.
        self.made.clear();
        self.change.sync()?;
        Ok(entry.bytes + self.manifest.iter().map(|entry| entry.bytes).sum::<u64>())
    }
}
