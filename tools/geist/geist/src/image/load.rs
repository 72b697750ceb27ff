// SPDX-License-Identifier: GPL-2.0

//! Loads versions and checks them file by file.

use super::chain::{Chain, Tables};
use super::pages::{self, Page, Pages};
use super::{crc32c, cross, Damaged, Task};
use crate::output::Progress;
use crate::store::App;
use geist_image::control::{self, ControlHeader, Extent};
use geist_image::global::{self, Global, ManifestEntry, NodeTask, VersionKind};
use geist_image::name::Name;
use geist_image::{description, frame, Damage, FileKind, Trailer, CRC_START};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

/// What is known of a version without reading its pages.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Application ID.
    pub app: u32,
    /// Body of its `global` file.
    pub global: Global,
    /// Its files but the `global` one.
    pub manifest: Vec<ManifestEntry>,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Bytes of its control files.
    pub control_bytes: u64,
    /// The user's text.
    pub text: String,
    /// The whole description file.
    pub description: String,
    /// Its processes.
    pub nodes: Vec<NodeTask>,
    /// The state of its processes, in the same order.
    pub tasks: Vec<Task>,
}

impl Summary {
    /// Name of the first process.
    pub fn command(&self) -> String {
        self.tasks.first().map(Task::comm).unwrap_or_default()
    }

    /// `full` or `increment`.
    pub fn kind(&self) -> &'static str {
        match self.global.kind == VersionKind::Full as u32 {
            true => "full",
            false => "increment",
        }
    }
}

/// A process of a version, with its memory.
#[derive(Debug)]
pub struct Process {
    /// Its entry in the `node` file.
    pub node: NodeTask,
    /// Its state.
    pub task: Task,
    /// Header of its control file.
    pub control: ControlHeader,
    /// Where the content of its pages lies, in the files with which numbers.
    pub extents: Vec<Extent>,
    /// Pages in the `task_mm` files with these numbers, by offset.
    pub stored: BTreeMap<u64, Rc<Vec<Page>>>,
}

impl Process {
    /// Pages in the `task_mm` file with this number.
    pub fn pages(&self, number: u64) -> &[Page] {
        self.stored.get(&number).map_or(&[], |pages| pages)
    }
}

/// Header and rows of a control file.
pub type Control = (ControlHeader, Vec<Extent>);

/// A version that was read whole.
#[derive(Debug)]
pub struct Image {
    /// What is known without its pages.
    pub summary: Summary,
    /// Its processes.
    pub processes: Vec<Process>,
}

/// Reads the files of one version.
pub struct Reader<'a> {
    /// The application.
    pub app: &'a App,
    /// The version.
    pub version: u64,
    /// Number of its files.
    pub number: u64,
}

impl<'a> Reader<'a> {
    /// Reads files with this number, of whichever version they are or were.
    pub fn of_number(app: &'a App, number: u64) -> Self {
        Self {
            app,
            version: number,
            number,
        }
    }

    /// Reads the files of a version that was read so far.
    pub fn of(app: &'a App, global: &Global) -> Self {
        Self {
            app,
            version: global.version,
            number: global.number(),
        }
    }

    /// The damage of a file.
    pub fn damaged(&self, name: &Name, why: &dyn std::fmt::Display) -> Damaged {
        Damaged::new(self.app.id, self.version, name, why)
    }

    /// The name of a file.
    pub fn name(&self, kind: FileKind, pid: u32) -> Name {
        Name::new(kind, pid, self.number_of(kind))
    }

    fn number_of(&self, kind: FileKind) -> u64 {
        match kind {
            FileKind::Global => self.version,
            _ => self.number,
        }
    }

    fn unreadable(&self, name: &Name, error: &io::Error) -> Damaged {
        match error.kind() {
            io::ErrorKind::NotFound => self.damaged(name, &"it is missing"),
            _ => self.damaged(name, &format_args!("it cannot be read: {error}")),
        }
    }

    fn read(&self, name: &Name) -> Result<Vec<u8>, Damaged> {
        let read = self.app.read_file(name.as_str());
        read.map_err(|error| self.unreadable(name, &error))
    }

    /// The file of `kind` with header and trailer, whose body `parse` takes apart.
    fn framed<T>(
        &self,
        kind: FileKind,
        pid: u32,
        manifest: &[ManifestEntry],
        parse: impl FnOnce(&[u8]) -> Result<T, Damage>,
    ) -> Result<(T, u64), Damaged> {
        let name = self.name(kind, pid);
        let bytes = self.read(&name)?;
        let parsed = (|| {
            let number = self.number_of(kind);
            let body = frame::body(&bytes, kind, self.app.id, pid, number, crc32c)?;
            let crc = Trailer::new(0, crc32c(CRC_START, body)).crc;
            if kind != FileKind::Global {
                expect(manifest, kind, pid, bytes.len() as u64, crc)?;
            }
            parse(body)
        })();
        let parsed = parsed.map_err(|damage| self.damaged(&name, &damage))?;
        Ok((parsed, bytes.len() as u64))
    }

    /// The numbers of the files must be no other version's.
    fn check_number(&self, global: &Global) -> Result<(), Damaged> {
        if global.stored_as == 0 {
            return Ok(());
        }
        let name = self.name(FileKind::Global, 0);
        let files = self
            .app
            .files()
            .map_err(|error| self.damaged(&name, &format_args!("{error:#}")))?;
        for (_, parsed) in files {
            let other = parsed.version;
            if parsed.kind != FileKind::Global || parsed.uncommitted || other == self.version {
                continue;
            }
            let taken = other == global.stored_as
                || read_global(self.app, other)
                    .is_ok_and(|read| read.global.stored_as == global.stored_as);
            if taken {
                let why = format!("the number of its files is that of version {other}");
                return Err(self.damaged(&name, &why));
            }
        }
        Ok(())
    }

    /// The processes.
    pub fn nodes(&self, manifest: &[ManifestEntry]) -> Result<Vec<NodeTask>, Damaged> {
        let nodes = self.framed(FileKind::Node, 0, manifest, |body| {
            let (_, tasks) = global::parse_node(body)?;
            Ok(tasks.collect::<Vec<_>>())
        });
        Ok(nodes?.0)
    }

    /// The manifest must name exactly the files that the processes need, each of them once.
    fn check_manifest(&self, entries: &[ManifestEntry], nodes: &[NodeTask]) -> Result<(), Damaged> {
        let kinds = [FileKind::Task, FileKind::TaskMm, FileKind::Control];
        let own = |node: &NodeTask| kinds.map(|kind| (kind as u32, node.pid));
        let mut wanted: Vec<(u32, u32)> = nodes.iter().flat_map(own).collect();
        wanted.push((FileKind::Node as u32, 0));
        wanted.push((FileKind::Description as u32, 0));
        let mut found: Vec<(u32, u32)> = entries.iter().map(|e| (e.kind, e.pid)).collect();
        wanted.sort_unstable();
        found.sort_unstable();
        match wanted == found && !nodes.is_empty() {
            true => Ok(()),
            false => Err(self.damaged(
                &self.name(FileKind::Global, 0),
                &Damage::Value("the list of files"),
            )),
        }
    }

    fn description(&self, manifest: &[ManifestEntry]) -> Result<String, Damaged> {
        let name = self.name(FileKind::Description, 0);
        let bytes = self.read(&name)?;
        let length = bytes.len() as u64;
        let crc = crc32c(CRC_START, &bytes);
        expect(manifest, FileKind::Description, 0, length, crc)
            .map_err(|damage| self.damaged(&name, &damage))?;
        String::from_utf8(bytes).map_err(|_| self.damaged(&name, &"it is no text"))
    }

    fn task(&self, node: &NodeTask, manifest: &[ManifestEntry]) -> Result<Task, Damaged> {
        let (task, _) = self.framed(FileKind::Task, node.pid, manifest, Task::parse)?;
        let process = &task.process;
        if (process.pid, process.ppid, process.threads) != (node.pid, node.ppid, node.threads) {
            let name = self.name(FileKind::Task, node.pid);
            return Err(self.damaged(&name, &Damage::Identity));
        }
        Ok(task)
    }

    /// The file of a `task_mm` entry must be there with its size.
    fn check_size(&self, entry: &ManifestEntry) -> Result<(), Damaged> {
        let Some(kind) = FileKind::from_number(entry.kind) else {
            return Ok(());
        };
        let name = self.name(kind, entry.pid);
        let length = self
            .app
            .open_file(name.as_str())
            .and_then(|file| file.metadata());
        let length = length
            .map_err(|error| self.unreadable(&name, &error))?
            .len();
        check_length(length, entry.bytes).map_err(|damage| self.damaged(&name, &damage))
    }

    /// A control file, which must be as the manifest says where that names it.
    pub fn control(&self, pid: u32, manifest: &[ManifestEntry]) -> Result<Control, Damaged> {
        let control = self.framed(FileKind::Control, pid, manifest, |body| {
            let (header, extents) = control::parse(body, self.app.id, self.number)?;
            Ok((header, extents.collect::<Vec<_>>()))
        });
        Ok(control?.0)
    }

    /// All pages of a process, checked.
    pub fn pages(&self, pid: u32, progress: &mut Progress) -> Result<Pages, Damaged> {
        let name = self.name(FileKind::TaskMm, pid);
        let file = self.app.open_file(name.as_str());
        let file = file.map_err(|error| self.unreadable(&name, &error))?;
        pages::read(file, self.app.id, pid, self.number, progress)
            .map_err(|failure| self.damaged(&name, &failure))
    }
}

fn check_length(found: u64, wanted: u64) -> Result<(), Damage> {
    match found.cmp(&wanted) {
        std::cmp::Ordering::Less => Err(Damage::Truncated),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(Damage::TrailingBytes),
    }
}

/// A file must be as the manifest says.
fn expect(
    manifest: &[ManifestEntry],
    kind: FileKind,
    pid: u32,
    bytes: u64,
    crc: u32,
) -> Result<(), Damage> {
    let entry = manifest
        .iter()
        .find(|entry| entry.kind == kind as u32 && entry.pid == pid);
    let Some(entry) = entry else {
        // Said by `check_manifest`, once the processes are known.
        return Ok(());
    };
    check_length(bytes, entry.bytes)?;
    match entry.crc == crc {
        true => Ok(()),
        false => Err(Damage::Checksum),
    }
}

/// A `global` file.
pub struct ReadGlobal {
    /// What it says.
    pub global: Global,
    /// The other files of the version.
    pub manifest: Vec<ManifestEntry>,
    /// Its bytes.
    pub bytes: u64,
}

/// Reads the `global` file of a version.
pub fn read_global(app: &App, version: u64) -> Result<ReadGlobal, Damaged> {
    let reader = Reader::of_number(app, version);
    let (read, bytes) = reader.framed(FileKind::Global, 0, &[], |body| {
        let (global, entries) = global::parse(body, app.id, version)?;
        Ok((global, entries.collect::<Vec<_>>()))
    })?;
    let (global, manifest) = read;
    Ok(ReadGlobal {
        global,
        manifest,
        bytes,
    })
}

/// The body of a file of a version.
pub fn body(app: &App, summary: &Summary, kind: FileKind, pid: u32) -> Result<Vec<u8>, Damaged> {
    let reader = Reader::of(app, &summary.global);
    let copy = |body: &[u8]| Ok(body.to_vec());
    Ok(reader.framed(kind, pid, &summary.manifest, copy)?.0)
}

/// The number of a version's files, as far as its `global` file can be read.
pub fn number(app: &App, version: u64) -> u64 {
    read_global(app, version).map_or(version, |read| read.global.number())
}

/// Whether the version exists: its `global` file was written whole, or is of another format.
pub fn exists(app: &App, version: u64) -> bool {
    let name = Name::new(FileKind::Global, 0, version);
    match app.read_file(name.as_str()) {
        Ok(bytes) => {
            let body = frame::body(&bytes, FileKind::Global, app.id, 0, version, crc32c);
            !matches!(body, Err(Damage::Truncated | Damage::Magic))
        }
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Reads everything of a version but its pages and its control files, of which only the sizes are
/// compared.
pub fn summary(app: &App, version: u64) -> Result<Summary, Damaged> {
    let ReadGlobal {
        global,
        manifest,
        bytes: global_bytes,
    } = read_global(app, version)?;
    let reader = Reader::of(app, &global);
    reader.check_number(&global)?;
    let nodes = reader.nodes(&manifest)?;
    reader.check_manifest(&manifest, &nodes)?;
    let description = reader.description(&manifest)?;
    let tasks = nodes.iter().map(|node| reader.task(node, &manifest));
    let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
    for entry in &manifest {
        reader.check_size(entry)?;
    }
    let sum = |kind: Option<FileKind>| -> u64 {
        let of_kind = |e: &&ManifestEntry| kind.is_none_or(|kind| e.kind == kind as u32);
        manifest.iter().filter(of_kind).map(|e| e.bytes).sum()
    };
    Ok(Summary {
        app: app.id,
        bytes: global_bytes + sum(None),
        control_bytes: sum(Some(FileKind::Control)),
        text: description::text(&description, global.left_out).to_owned(),
        global,
        manifest,
        description,
        nodes,
        tasks,
    })
}

/// The control tables of a version, in the order of its processes.
pub fn controls(app: &App, summary: &Summary) -> Result<Vec<Control>, Damaged> {
    let reader = Reader::of(app, &summary.global);
    let mut tables = Tables::default();
    let mut control = |node: &NodeTask| {
        let control = reader.control(node.pid, &summary.manifest)?;
        tables.resolve(&reader, node.pid, control)
    };
    summary.nodes.iter().map(&mut control).collect()
}

/// Reads and checks a version whole, with what it needs of others. Returns it, or everything that
/// is wrong with it.
pub fn check(chain: &mut Chain<'_>, version: u64) -> Result<Image, Vec<Damaged>> {
    let app = chain.app;
    let summary = summary(app, version).map_err(|damaged| vec![damaged])?;
    let what = format!("checking version {version} of application {}", app.id);
    let mut progress = Progress::new(&what, summary.bytes);
    let reader = Reader::of(app, &summary.global);
    let mut damages = Vec::new();
    let mut processes = Vec::new();
    for (node, task) in summary.nodes.iter().zip(&summary.tasks) {
        let own = own_pages(&reader, chain, node.pid, &summary.manifest, &mut progress);
        damages.extend(own.err());
        let control = reader
            .control(node.pid, &summary.manifest)
            .and_then(|control| chain.tables.resolve(&reader, node.pid, control));
        let (control, extents) = match control {
            Ok(control) => control,
            Err(damaged) => {
                damages.push(damaged);
                continue;
            }
        };
        let mut stored = BTreeMap::new();
        let versions = extents.iter().map(|extent| extent.version);
        for needed in versions.chain([reader.number]).collect::<BTreeSet<u64>>() {
            match chain.pages(node.pid, needed, &mut progress) {
                Ok(pages) => drop(stored.insert(needed, pages)),
                // Of its own pages, it is said already.
                Err(damaged) if needed != reader.number => damages.push(damaged),
                Err(_) => {}
            }
        }
        processes.push(Process {
            node: *node,
            task: task.clone(),
            control,
            extents,
            stored,
        });
    }
    let image = Image { summary, processes };
    if damages.is_empty() {
        damages = cross::check(&image);
    }
    match damages.is_empty() {
        true => Ok(image),
        false => Err(damages),
    }
}

/// The pages that the version itself stores must be as its manifest says.
fn own_pages(
    reader: &Reader<'_>,
    chain: &mut Chain<'_>,
    pid: u32,
    manifest: &[ManifestEntry],
    progress: &mut Progress,
) -> Result<(), Damaged> {
    let (bytes, crc) = chain
        .figures(pid, reader.number, progress)
        .map_err(|damaged| Damaged {
            version: reader.version,
            ..damaged
        })?;
    expect(manifest, FileKind::TaskMm, pid, bytes, crc)
        .map_err(|damage| reader.damaged(&reader.name(FileKind::TaskMm, pid), &damage))
}
