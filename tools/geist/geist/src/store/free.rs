// SPDX-License-Identifier: GPL-2.0

//! Dropping versions, and freeing the files that nothing kept needs.
//!
//! First the `global` files of what is dropped go, and with them the versions; when that is on the
//! disk, their files go, but for those that kept versions need. Whatever is cut off leaves the kept
//! versions whole, and files that the next occasion frees.

use super::{App, Change};
use crate::image::{self, Damaged, Needs};
use crate::output::Progress;
use anyhow::{Context as _, Result};
use geist_image::FileKind;
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of the files with one number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// A version has this number, and exists no longer.
    pub dropped: bool,
    /// Files that nothing kept needs.
    pub files: u64,
    /// Bytes of them.
    pub freed: u64,
    /// Bytes of files that kept versions need.
    pub held: u64,
    /// The newest version that needs them.
    pub needed_by: Option<u64>,
}

/// What is to be dropped and freed.
#[derive(Debug, Default)]
pub struct Freeing {
    /// `global` files: those of the versions that are dropped, and what never was a whole one.
    globals: Vec<String>,
    /// Other files.
    files: Vec<String>,
    /// By number, what becomes of files that are not those of a kept version; files of a dropped one
    /// by its version.
    pub remains: BTreeMap<u64, Remains>,
    /// The versions that are kept.
    pub kept: Vec<u64>,
}

impl Freeing {
    /// What is to be done so that of the versions of `app` those in `drop` are gone, and with them
    /// all files that no other version needs.
    ///
    /// An error where a version that is kept cannot say what it needs.
    pub fn plan(app: &App, drop: &BTreeSet<u64>) -> Result<Self> {
        let exist = app.existing()?;
        let kept: Vec<u64> = exist.difference(drop).copied().collect();
        let what = format!("reading the tables of application {}", app.id);
        let mut progress = Progress::count(&what, kept.len() as u64);
        let needs = Needs::of(app, &kept, &mut progress)
            .context("what a version needs cannot be told, so nothing can be removed")?;
        let dropped: BTreeMap<u64, u64> = drop
            .iter()
            .map(|version| (image::number(app, *version), *version))
            .collect();
        let mut freeing = Self {
            kept,
            ..Self::default()
        };
        for (name, parsed) in app.files()? {
            let number = parsed.version;
            let number = dropped.get(&number).copied().unwrap_or(number);
            let needed = needs.get(&name);
            if needed.is_some_and(|needed| needed.own) {
                continue;
            }
            let remains = freeing.remains.entry(number).or_default();
            remains.dropped = drop.contains(&number);
            // One that has gone meanwhile has no bytes.
            let bytes = app
                .open_file(&name)
                .and_then(|file| file.metadata())
                .map_or(0, |metadata| metadata.len());
            if let Some(needed) = needed {
                remains.held += bytes;
                remains.needed_by = remains.needed_by.max(Some(needed.by));
                continue;
            }
            remains.files += 1;
            remains.freed += bytes;
            match parsed.kind {
                FileKind::Global => freeing.globals.push(name),
                _ => freeing.files.push(name),
            }
        }
        Ok(freeing)
    }

    /// Does it; the lock for writing must be held.
    pub fn carry_out(&self, change: &dyn Change) -> Result<()> {
        if !self.globals.is_empty() {
            for name in &self.globals {
                change.unlink(name)?;
            }
            change.sync()?;
        }
        self.files.iter().try_for_each(|name| change.unlink(name))
    }
}

impl App {
    /// The versions that exist: whose `global` file was written whole.
    pub fn existing(&self) -> Result<BTreeSet<u64>> {
        let mut numbers = self.numbers()?;
        numbers.retain(|version| image::exists(self, *version));
        Ok(numbers)
    }

    /// Removes the files that no version needs: of versions that were never committed, and of
    /// versions that were dropped. The lock for writing must be held. While a version cannot say
    /// what it needs, nothing is removed. Returns the numbers of the files that were removed.
    pub fn clean(&self, change: &dyn Change) -> Result<Vec<u64>> {
        if self.is_tidy()? {
            return Ok(Vec::new());
        }
        let freeing = match Freeing::plan(self, &BTreeSet::new()) {
            Err(error) if error.is::<Damaged>() => return Ok(Vec::new()),
            freeing => freeing?,
        };
        freeing.carry_out(change)?;
        let removed = freeing.remains.iter().filter(|(_, one)| one.files > 0);
        Ok(removed.map(|(number, _)| *number).collect())
    }

    /// Whether every file is that of a version that exists, as far as the names tell.
    fn is_tidy(&self) -> Result<bool> {
        let exist = self.existing()?;
        let files = self.files()?;
        Ok(files
            .iter()
            .all(|(_, parsed)| exist.contains(&parsed.version) && !parsed.uncommitted))
    }
}
