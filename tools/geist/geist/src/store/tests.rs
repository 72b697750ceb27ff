// SPDX-License-Identifier: GPL-2.0

//! Whatever is dropped, freed or made complete, and wherever it is cut off: what is kept stays.

use super::{App, Change, Freeing, Store};
use crate::consolidate::consolidate;
use crate::image::common::{Made, HEAP, PID};
use crate::image::{self, crc32c, Chain, StoredPages};
use anyhow::{bail, Result};
use geist_image::control::Extent;
use geist_image::{CRC_START, PAGE_SIZE};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

/// Pages of the heap.
const PAGES: u64 = 8;

/// Numbers that are the same in every run.
struct Random(Cell<u64>);

impl Random {
    fn below(&self, limit: usize) -> usize {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        (x % limit as u64) as usize
    }

    fn one_of(&self, set: &BTreeSet<u64>) -> u64 {
        *set.iter().nth(self.below(set.len())).unwrap()
    }
}

/// Names and what they stood for before a change.
type Before = Vec<(String, Option<Vec<u8>>)>;

/// Changes a directory until the power is cut. Of what was not synced then, any part is lost.
struct Cut<'a> {
    app: &'a App,
    random: &'a Random,
    /// Changes that are still made.
    left: Cell<usize>,
    unsynced: RefCell<Vec<Before>>,
}

impl Cut<'_> {
    fn begin(&self, names: &[&str]) -> Result<()> {
        let Some(left) = self.left.get().checked_sub(1) else {
            bail!("the power was cut");
        };
        self.left.set(left);
        let before = |name: &&str| ((*name).to_owned(), self.app.read_file(name).ok());
        let before = names.iter().map(before).collect();
        self.unsynced.borrow_mut().push(before);
        Ok(())
    }

    /// What the disk holds when the power is back.
    fn power_back(&self) {
        for change in self.unsynced.take().iter().rev() {
            if self.random.below(2) == 0 {
                continue;
            }
            for (name, content) in change {
                let path = self.app.path().join(name);
                match content {
                    Some(content) => fs::write(path, content).unwrap(),
                    // It may be gone for another reason.
                    None => drop(fs::remove_file(path)),
                }
            }
        }
    }
}

impl Change for Cut<'_> {
    fn create(&self, name: &str, write: &mut dyn FnMut(&mut File) -> Result<()>) -> Result<()> {
        self.begin(&[name])?;
        self.app.create(name, write)?;
        if self.left.get() == 0 {
            let path = self.app.path().join(name);
            let file = fs::OpenOptions::new().write(true).open(path)?;
            let length = file.metadata()?.len() as usize;
            file.set_len(self.random.below(length) as u64)?;
            bail!("the power was cut");
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.begin(&[from, to])?;
        self.app.rename(from, to)
    }

    fn unlink(&self, name: &str) -> Result<()> {
        self.begin(&[name])?;
        self.app.unlink(name)
    }

    fn sync(&self) -> Result<()> {
        self.begin(&[])?;
        self.unsynced.borrow_mut().clear();
        Ok(())
    }
}

/// What a version holds: by address, the salt of the page's content.
type Memory = BTreeMap<u64, u64>;

/// A store that grows, and what its versions must hold.
struct Model<'a> {
    store: &'a Path,
    random: &'a Random,
    memories: BTreeMap<u64, Memory>,
}

impl Model<'_> {
    /// Adds a version on top of any other, or a full one.
    fn grow(&mut self, app: Option<&App>) {
        let version = app.map_or(1, |app| app.next_number().unwrap());
        let mut made = Made::new(self.store, version);
        made.salt = version;
        made.pages.clear();
        let existing: BTreeSet<u64> = self.memories.keys().copied().collect();
        let parent = match existing.is_empty() || self.random.below(4) == 0 {
            true => 0,
            false => self.random.one_of(&existing),
        };
        let mut memory = self.memories.get(&parent).cloned().unwrap_or_default();
        let mut others: Vec<Extent> = Vec::new();
        if let Some(app) = app.filter(|_| parent != 0) {
            let image = image::check(&mut Chain::new(app), parent).unwrap();
            others.clone_from(&image.processes[0].extents);
            made.parent = parent;
            made.base = Some(image.summary.global.number());
        }
        let complete = parent == 0 || self.random.below(4) == 0;
        for n in 0..PAGES {
            let address = HEAP + n * PAGE_SIZE as u64;
            match self.random.below(if parent == 0 { 2 } else { 5 }) {
                0 => {
                    made.pages.push((address, 3));
                    memory.insert(address, version);
                    others = without(&others, address);
                }
                1 if memory.remove(&address).is_some() && parent != 0 => {
                    others = without(&others, address);
                    if !complete {
                        made.gone.0.push(extent(address, 1, 0, 0));
                    }
                }
                _ => {}
            }
        }
        made.gone.1 = (memory.len() - made.pages.len()) as u64;
        if complete {
            made.base = Some(0);
            made.others = others;
        }
        made.write(self.store);
        self.memories.insert(version, memory);
    }

    /// Every version that exists holds what it must; those of `must` exist.
    fn check(&mut self, app: &App, must: &BTreeSet<u64>, what: &str) {
        let exist = app.existing().unwrap();
        assert!(exist.is_superset(must), "{what}: {exist:?} of {must:?}");
        self.memories.retain(|version, _| exist.contains(version));
        assert_eq!(exist.len(), self.memories.len(), "{what}: {exist:?}");
        for (version, memory) in &self.memories {
            let image = image::check(&mut Chain::new(app), *version);
            let image = image.unwrap_or_else(|damages| panic!("{what}: {damages:?}"));
            let process = &image.processes[0];
            let mut stored = StoredPages::new(app);
            let mut found = Memory::new();
            for extent in &process.extents {
                for n in 0..extent.pages {
                    let address = extent.address + n * PAGE_SIZE as u64;
                    let offset = extent.offset + n;
                    let read = stored.content(PID, extent.version, offset, address);
                    let crc = crc32c(CRC_START, &read.unwrap().1);
                    let salt = *memory.get(&address).unwrap_or(&0);
                    let wanted = image::common::page(address, salt);
                    assert_eq!(crc, crc32c(CRC_START, &wanted), "{what}: {address:#x}");
                    found.insert(address, salt);
                }
            }
            assert_eq!(&found, memory, "{what}: version {version}");
        }
    }
}

fn extent(address: u64, pages: u64, version: u64, offset: u64) -> Extent {
    Extent {
        address,
        pages,
        version,
        offset,
    }
}

/// Extents with a page taken out.
fn without(extents: &[Extent], address: u64) -> Vec<Extent> {
    let page = |one: &Extent, n: u64| {
        let address = one.address + n * PAGE_SIZE as u64;
        extent(address, 1, one.version, one.offset + n)
    };
    let pages = extents
        .iter()
        .flat_map(|one| (0..one.pages).map(move |n| page(one, n)));
    pages.filter(|page| page.address != address).collect()
}

#[test]
fn nothing_that_is_kept_is_lost() {
    let (mut cut_off, mut consolidated, mut dropped) = (0, 0, 0);
    for seed in 1..=60u64 {
        let temporary = tempfile::tempdir().unwrap();
        let random = Random(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let mut model = Model {
            store: temporary.path(),
            random: &random,
            memories: BTreeMap::new(),
        };
        model.grow(None);
        let app = Store::open(temporary.path()).unwrap().app(PID).unwrap();
        for step in 0..12 {
            if step < 5 || random.below(3) == 0 {
                model.grow(Some(&app));
                continue;
            }
            let exist: BTreeSet<u64> = model.memories.keys().copied().collect();
            let cut = Cut {
                app: &app,
                random: &random,
                left: Cell::new(match random.below(3) {
                    0 => usize::MAX,
                    _ => random.below(16),
                }),
                unsynced: RefCell::default(),
            };
            let (done, kept) = if random.below(2) == 0 {
                let version = random.one_of(&exist);
                let done = consolidate(&app, &cut, version);
                consolidated += usize::from(done.is_ok());
                (done.map(drop), exist)
            } else {
                let drop: BTreeSet<u64> = exist
                    .iter()
                    .filter(|_| random.below(2) == 0)
                    .copied()
                    .collect();
                dropped += drop.len();
                let done = Freeing::plan(&app, &drop).and_then(|plan| plan.carry_out(&cut));
                (done, exist.difference(&drop).copied().collect())
            };
            let what = format!("seed {seed}, step {step}: {done:?}");
            if done.is_err() {
                cut_off += 1;
                cut.power_back();
                model.check(&app, &kept, &what);
                // The next occasion, perhaps cut off as well, and the one after that.
                let cut = Cut {
                    left: Cell::new(random.below(8)),
                    unsynced: RefCell::default(),
                    ..cut
                };
                if app.clean(&cut).is_err() {
                    cut.power_back();
                    model.check(&app, &kept, &what);
                }
                app.clean(&app).unwrap();
            }
            model.check(&app, &kept, &what);
            let rest = Freeing::plan(&app, &BTreeSet::new()).unwrap();
            assert!(rest.remains.values().all(|one| one.files == 0), "{what}");
            if model.memories.is_empty() {
                break;
            }
        }
    }
    assert!(cut_off > 50 && consolidated > 30 && dropped > 100);
}

/// Nobody else has the number of a version's files.
#[test]
fn numbers_are_given_once() {
    let temporary = tempfile::tempdir().unwrap();
    let store = temporary.path();
    for version in [1, 2, 3] {
        let mut made = Made::new(store, version);
        made.parent = version - 1;
        made.gone.1 = if version == 1 { 0 } else { 3 };
        if version > 1 {
            made.pages.truncate(1);
        }
        made.write(store);
    }
    let app = Store::open(store).unwrap().app(PID).unwrap();
    for version in [2, 3] {
        consolidate(&app, &app, version).unwrap();
    }
    assert_eq!([2, 3].map(|version| image::number(&app, version)), [4, 5]);
    assert_eq!((app.newest().unwrap(), app.next_number().unwrap()), (3, 6));
    let good = |version| image::summary(&app, version).map(drop);
    good(2).unwrap();

    // A version with the number that the files of another have.
    let taken = |why: &str| {
        let damaged = good(2).unwrap_err();
        assert_eq!((damaged.version, &damaged.file[..]), (2, "global_v2.bin"));
        assert!(damaged.why.contains(why), "{damaged}");
    };
    let mut made = Made::new(store, 4);
    made.salt = 7;
    let elsewhere = tempfile::tempdir().unwrap();
    let other = made.write(elsewhere.path()).join("global_v4.bin");
    fs::copy(other, app.path().join("global_v4.bin")).unwrap();
    taken("that of version 4");
    fs::remove_file(app.path().join("global_v4.bin")).unwrap();
    good(2).unwrap();

    // Two versions with files of the same number.
    let path = app.path().join("global_v3.bin");
    let mut bytes = fs::read(&path).unwrap();
    let body = 64..bytes.len() - 16;
    let place = 64 + std::mem::offset_of!(geist_image::global::Global, stored_as);
    bytes[place..place + 8].copy_from_slice(&4u64.to_le_bytes());
    let crc = crc32c(CRC_START, &bytes[body.clone()]);
    bytes[body.end + 8..body.end + 12].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    taken("that of version 3");
}
