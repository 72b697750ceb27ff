// SPDX-License-Identifier: GPL-2.0

//! The bookkeeping of what is needed, against the simplest model: every kept version with its whole
//! page table and all control files that it reads.

use geist_parts::accounts::{Accounts, Changes, Known, Part, Refusal};
use std::collections::{BTreeMap, BTreeSet};

const PAGES: u64 = 40;

/// The same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// A version as its files say it.
#[derive(Clone, Default)]
struct Version {
    /// In which file the content of a page lies, and where.
    pages: BTreeMap<u64, (u64, u64)>,
    /// Control files that have to be read.
    controls: BTreeSet<u64>,
}

impl Version {
    /// Whether it needs one of the files of a number.
    fn needs(&self, own: u64, number: u64) -> bool {
        own == number
            || self.controls.contains(&number)
            || self.pages.values().any(|(file, _)| *file == number)
    }
}

/// The directory of an application, and what the versions in it hold.
#[derive(Default)]
struct Store {
    /// Versions whose `global` file is there.
    versions: BTreeMap<u64, Version>,
    /// All other files that are there.
    files: BTreeSet<(u64, u8)>,
    /// Numbers of which a new ledger was told: it knows less of them.
    told: BTreeMap<u64, u64>,
    newest: u64,
}

impl Store {
    fn add(&mut self, number: u64, version: Version) {
        for part in [
            Part::Node,
            Part::Task,
            Part::Description,
            Part::TaskMm,
            Part::Control,
        ] {
            self.files.insert((number, part as u8));
        }
        self.versions.insert(number, version);
        self.newest = number;
    }

    fn oldest(&self) -> u64 {
        self.versions.keys().next().copied().unwrap_or(0)
    }

    /// What a client finds there.
    fn known(&self) -> Vec<Known> {
        let numbers: BTreeSet<u64> = self.files.iter().map(|(number, _)| *number).collect();
        let known = |number| Known {
            version: number,
            needed_by: self
                .versions
                .iter()
                .filter(|(own, version)| version.needs(**own, number))
                .map(|(own, _)| *own)
                .max()
                .unwrap_or(0),
            committed: self.versions.contains_key(&number),
        };
        numbers.into_iter().map(known).collect()
    }

    /// Nothing that a version needs is missing; nothing is there that none needs.
    fn check(&self, complete: bool) {
        let has = |number: u64, part: Part| self.files.contains(&(number, part as u8));
        for (own, version) in &self.versions {
            for part in [Part::Node, Part::Task, Part::Description] {
                assert!(has(*own, part), "version {own} lacks {part:?}");
            }
            for (file, _) in version.pages.values() {
                assert!(has(*file, Part::TaskMm), "version {own} lacks pages {file}");
            }
            for file in &version.controls {
                let there = has(*file, Part::Control);
                assert!(there, "version {own} lacks control file {file}");
            }
        }
        if !complete {
            return;
        }
        for (number, part) in &self.files {
            let needed = self.versions.iter().any(|(own, version)| {
                own == number
                    || *part == Part::TaskMm as u8
                        && version.pages.values().any(|(file, _)| file == number)
                    || *part == Part::Control as u8 && version.controls.contains(number)
            });
            // Of what was there before the ledger, the newest version that needs any of the files is
            // known, but not which one.
            let told = self.told.get(number).is_some_and(|by| *by >= self.oldest());
            assert!(needed || told, "part {part} of {number} is needed by none");
        }
    }
}

/// A watch, in which everything goes wrong now and then.
struct Watch {
    random: Random,
    store: Store,
    accounts: Accounts,
    /// The version whose tree is in memory.
    base: Option<u64>,
    /// Its chain of control files is.
    chain_known: bool,
}

impl Watch {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let keep = random.below(6) as u32;
        Self {
            random,
            store: Store::default(),
            accounts: Accounts::new([].into_iter(), keep).unwrap(),
            base: None,
            chain_known: true,
        }
    }

    /// Ends the watch and begins another one, perhaps on a version that is not the newest.
    fn again(&mut self) {
        let known = self.store.known();
        let keep = self.random.below(6) as u32;
        self.accounts = Accounts::new(known.iter().copied(), keep).unwrap();
        self.store.told = known
            .iter()
            .map(|known| (known.version, known.needed_by))
            .collect();
        self.base = None;
        let versions: Vec<u64> = self.store.versions.keys().copied().collect();
        if !versions.is_empty() && !self.random.one_in(3) {
            let base = versions[self.random.below(versions.len() as u64) as usize];
            let tree = self.store.versions[&base].pages.values();
            let tree = tree.map(|(file, offset)| (*file, *offset, 1));
            let mut chain: Vec<u64> = self.store.versions[&base]
                .controls
                .iter()
                .copied()
                .collect();
            self.chain_known = self.random.one_in(2);
            if !self.chain_known {
                chain.clear();
            }
            self.accounts.adopt(base, base, tree, &chain).unwrap();
            self.base = Some(base);
        }
    }

    fn version(&mut self) {
        let number = self.store.newest + 1 + self.random.below(2);
        self.accounts.prepare(number).unwrap();
        if self.random.one_in(20) {
            self.base = None;
        }
        if self.random.one_in(20) {
            // It fails, and may leave files.
            if self.random.one_in(2) {
                self.base = None;
                self.accounts.failed(number);
                self.store.files.insert((number, Part::Task as u8));
                self.store.newest = number;
            }
            return;
        }
        let base = self.base.filter(|_| !self.random.one_in(15));
        assert!(base.is_none_or(|base| self.accounts.describes(base)));
        let before = base.map_or_else(Version::default, |base| self.store.versions[&base].clone());
        let mut next = before.clone();
        let mut offset = 0;
        for page in 0..PAGES {
            let written = base.is_none() || self.random.one_in(12);
            if written && !self.random.one_in(5) {
                next.pages.insert(page, (number, offset));
                offset += 1;
            } else if written {
                next.pages.remove(&page);
            }
        }
        let mut lost = BTreeMap::new();
        for (page, place) in &before.pages {
            if next.pages.get(page) != Some(place) {
                *lost.entry(place.0).or_insert(0) += 1;
            }
        }
        let lost: Vec<(u64, u64)> = lost.into_iter().collect();
        let control_complete = base.is_none() || !self.chain_known || self.random.one_in(8);
        if control_complete {
            next.controls.clear();
        }
        next.controls.insert(number);
        self.accounts.committed(&Changes {
            version: number,
            parent: base.unwrap_or(0),
            control_complete,
            pages: offset,
            lost: &lost,
        });
        self.store.add(number, next);
        self.base = Some(number);
        self.chain_known = true;
        self.collect();
    }

    /// Has files removed, sometimes not all, sometimes in vain.
    fn collect(&mut self) {
        if self.random.one_in(10) {
            self.accounts.set_keep(self.random.below(6) as u32);
        }
        let failing = self.random.one_in(5);
        let mut complete = true;
        while let Some(version) = self.accounts.surplus().unwrap() {
            if failing && self.random.one_in(3) {
                // A crash here would lose nothing.
                self.store.check(false);
                return;
            }
            self.store.versions.remove(&version);
            self.accounts.dropped();
            self.store.check(false);
        }
        let limit = match self.random.one_in(5) {
            true => self.random.below(8) as usize,
            false => usize::MAX,
        };
        let (random, store) = (&mut self.random, &mut self.store);
        complete &= !self.accounts.sweep(limit, |number, part| {
            if failing && random.one_in(3) {
                complete = false;
                return false;
            }
            store.files.remove(&(number, part as u8));
            store.check(false);
            true
        });
        self.store.check(complete);
    }
}

#[test]
fn exactly_what_is_needed_is_kept() {
    for seed in 0..20 {
        let mut watch = Watch::new(seed);
        for _ in 0..300 {
            if watch.random.one_in(60) {
                watch.again();
            }
            watch.version();
        }
    }
}

#[test]
fn so_many_versions_are_kept() {
    let mut accounts = Accounts::new([].into_iter(), 3).unwrap();
    let mut global = BTreeSet::new();
    for version in 1..=10 {
        accounts.prepare(version).unwrap();
        accounts.committed(&Changes {
            version,
            parent: version - 1,
            control_complete: version == 1,
            pages: 1,
            lost: &[],
        });
        global.insert(version);
        while let Some(version) = accounts.surplus().unwrap() {
            global.remove(&version);
            accounts.dropped();
        }
    }
    assert!(global.iter().eq(&[8, 9, 10]), "{global:?}");
    assert_eq!(accounts.newest(), 10);
    assert_eq!(accounts.prepare(10), Err(Refusal::Taken(10)));
}

#[test]
fn files_whose_number_is_another_than_that_of_the_version() {
    // Version 2 was made complete: its files have the number 5.
    let known = [(1, 1, true), (2, 2, true), (3, 3, true), (5, 2, false)];
    let known = known.map(|(version, needed_by, committed)| Known {
        version,
        needed_by,
        committed,
    });
    let mut accounts = Accounts::new(known.into_iter(), 2).unwrap();
    assert_eq!(accounts.newest(), 5);
    accounts
        .adopt(2, 5, [(5, 0, 10)].into_iter(), &[5])
        .unwrap();
    let mut removed = BTreeSet::new();
    for version in 6..=7 {
        assert!(accounts.describes(if version == 6 { 2 } else { 6 }));
        accounts.prepare(version).unwrap();
        accounts.committed(&Changes {
            version,
            parent: if version == 6 { 2 } else { 6 },
            control_complete: false,
            pages: 1,
            lost: &[(5, 1)],
        });
        while accounts.surplus().unwrap().is_some() {
            accounts.dropped();
        }
        accounts.sweep(usize::MAX, |number, part| {
            removed.insert((number, part as u8))
        });
        let of_five = removed.iter().filter(|(number, _)| *number == 5).count();
        // Pages and control file are needed by what builds on it.
        assert_eq!(of_five, 3, "{removed:?}");
    }
    let of_three = removed.iter().filter(|(number, _)| *number == 3).count();
    assert_eq!(of_three, 5, "{removed:?}");
}

#[test]
fn a_tree_in_many_pieces_wants_a_complete_version() {
    let mut accounts = Accounts::new([].into_iter(), 1).unwrap();
    let mut base = 0;
    let mut complete = Vec::new();
    for version in 1..20_000 {
        accounts.prepare(version).unwrap();
        let full = base == 0 || accounts.wants_complete();
        if full {
            complete.push(version);
        }
        // Ten pages are written each time, of which all but one are written the next time again.
        let lost = [(base, 9)];
        accounts.committed(&Changes {
            version,
            parent: if full { 0 } else { base },
            control_complete: full,
            pages: if full { 1000 } else { 10 },
            lost: if full { &[] } else { &lost },
        });
        base = version;
        while accounts.surplus().unwrap().is_some() {
            accounts.dropped();
        }
        accounts.sweep(usize::MAX, |_, _| true);
    }
    let each: Vec<u64> = complete.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(!each.is_empty(), "{complete:?}");
    assert!(each.iter().all(|each| *each > 500), "{complete:?}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let known = |files: &[(u64, u64, bool)]| {
        let known = |&(version, needed_by, committed): &(u64, u64, bool)| Known {
            version,
            needed_by,
            committed,
        };
        let files: Vec<Known> = files.iter().map(known).collect();
        Accounts::new(files.into_iter(), 0).err()
    };
    assert_eq!(known(&[(1, 2, false), (2, 2, true)]), None);
    assert_eq!(known(&[(0, 0, false)]), Some(Refusal::Order(0)));
    let twice = [(2, 2, true), (2, 2, true)];
    assert_eq!(known(&twice), Some(Refusal::Order(2)));
    assert_eq!(known(&[(2, 1, true)]), Some(Refusal::OwnNeed(2)));
    assert_eq!(known(&[(1, 2, false)]), Some(Refusal::NeededBy(1, 2)));
    let later = [(1, 1, true), (3, 2, false)];
    assert_eq!(known(&later), Some(Refusal::NeededBy(3, 2)));

    let one = Known {
        version: 1,
        needed_by: 1,
        committed: true,
    };
    let mut accounts = Accounts::new([one].into_iter(), 0).unwrap();
    assert_eq!(
        accounts.adopt(2, 2, [].into_iter(), &[]),
        Err(Refusal::Base(2))
    );
    let strange = [(1, 0, 1), (7, 0, 1)];
    assert_eq!(
        accounts.adopt(1, 1, strange.into_iter(), &[1]),
        Err(Refusal::Missing(7))
    );
    assert!(!accounts.describes(1));
    assert_eq!(accounts.adopt(1, 1, [(1, 0, 1)].into_iter(), &[1]), Ok(()));
    assert!(accounts.describes(1));
}
