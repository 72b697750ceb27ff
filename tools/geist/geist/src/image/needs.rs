// SPDX-License-Identifier: GPL-2.0

//! Which files the versions of an application need.

use super::chain::{Followed, Tables};
use super::load::{read_global, Reader};
use super::Damaged;
use crate::output::Progress;
use crate::store::App;
use geist_image::global::{ManifestEntry, NodeTask};
use geist_image::name::{self, Name};
use geist_image::FileKind;
use std::collections::{BTreeMap, BTreeSet};

/// Who needs a file.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    /// The newest version that needs it.
    pub by: u64,
    /// It is one version's own.
    pub own: bool,
}

/// The files that versions need, by name: their own, and those with older pages and the tables that
/// their own tables build on.
#[derive(Debug, Default)]
pub struct Needs(BTreeMap<String, Use>);

/// Gathers what versions need. What one needs of others is noted when a later one needs it no longer:
/// so a version costs what it changed, however many files all need.
#[derive(Default)]
pub struct Gathering {
    needs: Needs,
    tables: Tables,
    /// By process, what the last version needs of others.
    last: BTreeMap<u32, Last>,
}

/// What a version needs of others.
#[derive(Default)]
struct Last {
    version: u64,
    stored: BTreeSet<u64>,
    bases: BTreeSet<u64>,
}

impl Gathering {
    /// Adds what a version needs; they must come in ascending order. When it cannot say that, nothing
    /// is added.
    pub fn add(&mut self, app: &App, version: u64) -> Result<(), Damaged> {
        let read = read_global(app, version)?;
        let reader = Reader::of(app, &read.global);
        let followed = self.follow(&reader, &read.manifest);
        // How far the tables came cannot be told.
        let followed = followed.inspect_err(|_| self.begin_anew())?;
        let own = Use {
            by: version,
            own: true,
        };
        self.needs
            .file(Name::new(FileKind::Global, 0, version), own);
        for entry in &read.manifest {
            if let Some(kind) = FileKind::from_number(entry.kind) {
                self.needs.file(reader.name(kind, entry.pid), own);
            }
        }
        for (pid, table) in followed {
            self.replace_last(pid, version, table);
        }
        Ok(())
    }

    /// What the tables of a version name, by process.
    fn follow(
        &mut self,
        reader: &Reader<'_>,
        manifest: &[ManifestEntry],
    ) -> Result<Vec<(u32, Followed)>, Damaged> {
        let mut follow = |node: NodeTask| {
            let control = reader.control(node.pid, manifest)?;
            Ok((node.pid, self.tables.follow(reader, node.pid, control)?))
        };
        reader
            .nodes(manifest)?
            .into_iter()
            .map(&mut follow)
            .collect()
    }

    /// Notes what the last version needs, and knows nothing of tables.
    fn begin_anew(&mut self) {
        self.tables = Tables::default();
        let pids: Vec<u32> = self.last.keys().copied().collect();
        pids.into_iter().for_each(|pid| self.note_last(pid));
    }

    fn replace_last(&mut self, pid: u32, version: u64, table: Followed) {
        if table.anew {
            self.note_last(pid);
        }
        let last = self.last.entry(pid).or_default();
        let bases = std::mem::replace(&mut last.bases, table.bases);
        for number in bases.difference(&last.bases) {
            self.needs
                .other(FileKind::Control, pid, *number, last.version);
        }
        for number in &table.went {
            self.needs
                .other(FileKind::TaskMm, pid, *number, last.version);
            last.stored.remove(number);
        }
        last.stored.extend(&table.came);
        last.version = version;
    }

    /// Notes what the last version with process `pid` needs of others.
    fn note_last(&mut self, pid: u32) {
        let Some(last) = self.last.remove(&pid) else {
            return;
        };
        for number in last.stored {
            self.needs
                .other(FileKind::TaskMm, pid, number, last.version);
        }
        for number in last.bases {
            self.needs
                .other(FileKind::Control, pid, number, last.version);
        }
    }

    /// What all that were added need.
    pub fn finish(mut self) -> Needs {
        self.begin_anew();
        self.needs
    }
}

impl Needs {
    /// What these versions need, which must ascend.
    ///
    /// An error where one of them cannot say what it needs, so that nobody removes that.
    pub fn of(app: &App, versions: &[u64], progress: &mut Progress) -> Result<Self, Damaged> {
        let mut gathering = Gathering::default();
        for version in versions.iter().copied() {
            gathering.add(app, version)?;
            progress.advance(1);
        }
        Ok(gathering.finish())
    }

    fn other(&mut self, kind: FileKind, pid: u32, number: u64, by: u64) {
        self.file(Name::new(kind, pid, number), Use { by, own: false });
    }

    fn file(&mut self, name: Name, user: Use) {
        let noted = self.0.entry(name.as_str().to_owned()).or_insert(user);
        noted.by = noted.by.max(user.by);
        noted.own |= user.own;
    }

    /// The numbers in their names, and the newest version that needs a file with each.
    pub fn numbers(&self) -> BTreeMap<u64, u64> {
        let mut numbers = BTreeMap::new();
        for (name, user) in &self.0 {
            if let Some(parsed) = name::parse(name) {
                let by: &mut u64 = numbers.entry(parsed.version).or_default();
                *by = user.by.max(*by);
            }
        }
        numbers
    }

    /// Who needs the file.
    pub fn get(&self, name: &str) -> Option<Use> {
        self.0.get(name).copied()
    }
}
