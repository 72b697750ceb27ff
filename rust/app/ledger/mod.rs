// SPDX-License-Identifier: GPL-2.0

//! Which versions a watched application keeps, and which of its files can be removed.
//!
//! Removing `global_vX.bin` drops version X; before that nothing of it is touched. What else it has
//! is removed with it, but for the pages and the control file as long as a kept version needs them.
//! So after a crash at any moment every version whose `global` file is there is whole, and what is
//! left of others is what the client removes as leftovers.

#[allow(unreachable_pub)] // Shared with the tools.
mod accounts;
#[allow(unreachable_pub)] // What takes its place in the tools is public there.
mod list;

pub(crate) use accounts::Changes;

use super::Base;
use crate::error::{Failure, Outcome};
use crate::image::name::Name;
use crate::image::FileKind;
use crate::sys::file::Directory;
use crate::uapi::{self, WatchFile};
use accounts::{Accounts, Known, Part, Refusal};
use kernel::prelude::*;

/// Most versions that are dropped with one new version, where more than one are too many.
const VERSIONS_AT_ONCE: u64 = 64;
/// Most files that are removed with one new version.
const FILES_AT_ONCE: usize = 512;

/// The versions of an application in one directory of the store, which nobody else changes.
pub(crate) struct Ledger {
    accounts: Accounts,
    /// Device and inode number.
    directory: (u64, u64),
    /// A `global` file was removed, and the directory not flushed since.
    unflushed: bool,
    /// An error was logged, and none of its kind has gone since.
    complained: bool,
}

/// What came of a collection.
#[derive(Default)]
pub(crate) struct Collected {
    /// Why something could not be removed; the next collection tries again.
    pub(crate) failure: Option<Failure>,
    /// There is more to remove, which was not tried yet.
    pub(crate) more: bool,
}

impl Ledger {
    /// A ledger of the files in `directory`, of which the newest `keep` versions are kept (0: all).
    pub(crate) fn new(files: &[WatchFile], keep: u32, directory: &Directory) -> Outcome<Self> {
        let odd =
            |file: &&WatchFile| file.flags & !uapi::WATCH_FILE_COMMITTED != 0 || file.reserved != 0;
        if let Some(file) = files.iter().find(odd) {
            return Err(Failure::new(
                EINVAL,
                format_args!(
                    "this geist module does not know a flag of the files of version {}",
                    file.version
                ),
            ));
        }
        let known = files.iter().map(|file| Known {
            version: file.version,
            needed_by: file.needed_by,
            committed: file.flags & uapi::WATCH_FILE_COMMITTED != 0,
        });
        Ok(Self {
            accounts: Accounts::new(known, keep)?,
            directory: directory.identity(),
            unflushed: false,
            complained: false,
        })
    }

    /// Learns what `base` needs, which the next version is to be an increment on. Where files of it
    /// are not in the directory, the next version will be complete.
    pub(crate) fn adopt(&mut self, base: &Base) {
        let extents = base.tree.extents();
        let tree = extents.map(|extent| (extent.version, extent.offset, extent.pages));
        // Then the ledger describes no version, and nothing is built on one.
        let _ = self
            .accounts
            .adopt(base.version, base.number, tree, &base.chain);
    }

    /// Changes how many versions are kept; 0: all.
    pub(crate) fn set_keep(&mut self, keep: u32) {
        self.accounts.set_keep(keep);
    }

    /// The highest number of which there may be files: the next version has a higher one.
    pub(crate) fn newest(&self) -> u64 {
        self.accounts.newest()
    }

    /// Whether so little of what lies in the directory is needed that the next version should be
    /// complete.
    pub(crate) fn wants_complete(&self) -> bool {
        self.accounts.wants_complete()
    }

    /// Whether this is the ledger of `directory`.
    pub(crate) fn is_of(&self, directory: &Directory) -> bool {
        self.directory == directory.identity()
    }

    /// Whether the next version can be an increment on `version`.
    pub(crate) fn describes(&self, version: u64) -> bool {
        self.accounts.describes(version)
    }

    /// Makes room for a version, which must be newer than all others.
    pub(crate) fn prepare(&mut self, version: u64) -> Outcome {
        Ok(self.accounts.prepare(version)?)
    }

    /// Enters a committed version, for which room was made.
    pub(crate) fn committed(&mut self, changes: &Changes<'_>) {
        self.accounts.committed(changes);
    }

    /// Enters a version that failed and left files, for which room was made.
    pub(crate) fn failed(&mut self, version: u64) {
        self.accounts.failed(version);
    }

    /// Drops the oldest of too many versions and removes files that nothing needs any more, so many
    /// that it does not take long. With `durable` versions are gone for good before anything that
    /// they need is. May sleep.
    pub(crate) fn collect(&mut self, directory: &Directory, pid: u32, durable: bool) -> Collected {
        let mut collected = Collected::default();
        let failed = |name: &Name, error: Error| {
            Failure::from(error).within(format_args!("{name} cannot be removed"))
        };
        for dropped in 0.. {
            let Ok(Some(version)) = self.accounts.surplus() else {
                break;
            };
            if dropped == VERSIONS_AT_ONCE {
                collected.more = true;
                break;
            }
            let global = Name::new(FileKind::Global, 0, version);
            if let Err(error) = remove(directory, &global) {
                return self.complain(failed(&global, error));
            }
            self.accounts.dropped();
            self.unflushed = true;
        }
        if durable && self.unflushed {
            if let Err(error) = directory.sync() {
                return self.complain(Failure::from(error).within(format_args!("the store")));
            }
        }
        self.unflushed = false;
        let mut failure = None;
        collected.more |= self.accounts.sweep(FILES_AT_ONCE, |version, part| {
            let name = name_of(part, pid, version);
            let result = remove(directory, &name);
            if let Err(error) = result {
                failure.get_or_insert_with(|| failed(&name, error));
            }
            result.is_ok()
        });
        match failure {
            Some(failure) => self.complain(failure),
            None => {
                self.complained = false;
                collected
            }
        }
    }

    /// Logs the first of many failures.
    fn complain(&mut self, failure: Failure) -> Collected {
        if !core::mem::replace(&mut self.complained, true) {
            pr_warn!(
                "{}; the next version tries again\n",
                core::str::from_utf8(failure.sentence()).unwrap_or("(not UTF-8)")
            );
        }
        Collected {
            failure: Some(failure),
            more: false,
        }
    }
}

/// Removes a file, if it is there.
fn remove(directory: &Directory, name: &Name) -> Result {
    match directory.remove(name) {
        Err(error) if error == ENOENT => Ok(()),
        result => result,
    }
}

fn name_of(part: Part, pid: u32, version: u64) -> Name {
    let kind = match part {
        Part::Uncommitted => return Name::uncommitted_global(version),
        Part::Node => FileKind::Node,
        Part::Task => FileKind::Task,
        Part::Description => FileKind::Description,
        Part::TaskMm => FileKind::TaskMm,
        Part::Control => FileKind::Control,
    };
    Name::new(kind, pid, version)
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Order(version) => Self::new(
                EINVAL,
                format_args!("the files of version {version} are not listed in ascending order"),
            ),
            Refusal::OwnNeed(version) => Self::new(
                EINVAL,
                format_args!("version {version} is committed, and said not to need its own files"),
            ),
            Refusal::NeededBy(version, by) => Self::new(
                EINVAL,
                format_args!(
                    "the files of version {version} are said to be needed by version {by}, which is not committed"
                ),
            ),
            Refusal::Base(version) => Self::new(
                ESTALE,
                format_args!("version {version}, the last one, is not in the store any more"),
            ),
            Refusal::Missing(version) => Self::new(
                ESTALE,
                format_args!(
                    "files of version {version}, which the last version needs, are not in the store"
                ),
            ),
            Refusal::Taken(version) => Self::new(
                EEXIST,
                format_args!("the store holds files of version {version} already, and the next has a higher number"),
            ),
            Refusal::NoMemory => ENOMEM.into(),
        }
    }
}
