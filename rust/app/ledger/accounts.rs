// SPDX-License-Identifier: GPL-2.0

//! Which files of which version are still needed: bookkeeping, without a kernel.
//!
//! Compiled by the module, and by `tools/geist/parts`, which tests it on the host.
//!
//! A number stands for the files of the version that has or had it. The *current* version is the
//! last that was committed: its tree and its chain of control files are what the next increment
//! changes, so they are known exactly, as a count of pages and a mark. For every older version that
//! is kept, the newest one that needs a file is enough to know: when that one is dropped, all that
//! needed the file are, since versions are dropped in ascending order.

use super::list::{List, NoMemory};

/// Most files that one tree lies in. A restart opens all of them, and refuses twice as many.
const MOST_FILES: u64 = 32768;

/// A file of a version that can be removed when nothing needs it. The `global` file is none of
/// them: without it the version is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// The `global` file as it is called before the commit.
    Uncommitted = 1 << 0,
    /// The `node` file.
    Node = 1 << 1,
    /// The `task` file.
    Task = 1 << 2,
    /// The description.
    Description = 1 << 3,
    /// The pages.
    TaskMm = 1 << 4,
    /// The control file.
    Control = 1 << 5,
}

impl Part {
    /// All, in the order of their removal.
    const ALL: [Self; 6] = [
        Self::Uncommitted,
        Self::Node,
        Self::Task,
        Self::Description,
        Self::TaskMm,
        Self::Control,
    ];

    /// Those of a version that was committed.
    const COMMITTED: u8 = Self::EVERY & !(Self::Uncommitted as u8);
    /// All, as bits.
    const EVERY: u8 = 0x3f;
}

/// What is said of a number at the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The number.
    pub version: u64,
    /// Newest committed version that needs one of its files; 0: none does.
    pub needed_by: u64,
    /// There is a committed version of this number.
    pub committed: bool,
}

/// Why something is not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Numbers begin at 1 and ascend; this one does not.
    Order(u64),
    /// A committed version needs its own files.
    OwnNeed(u64),
    /// The files of the first are said to be needed by the second, which is no committed version.
    NeededBy(u64, u64),
    /// The version is said to be built on, and is no committed one.
    Base(u64),
    /// The version that is built on needs files of this number, which are not there.
    Missing(u64),
    /// There are files of this number already, or of a newer one.
    Taken(u64),
    /// No memory.
    NoMemory,
}

impl From<NoMemory> for Refusal {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

/// What a committed version changed.
#[derive(Clone, Copy, Debug)]
pub struct Changes<'a> {
    /// The version.
    pub version: u64,
    /// Version that it is an increment on; 0: it is complete.
    pub parent: u64,
    /// Its control file is complete.
    pub control_complete: bool,
    /// Pages in its `task_mm` file.
    pub pages: u64,
    /// Pages of the parent's tree that its own has no more, by the version that stores them.
    pub lost: &'a [(u64, u64)],
}

/// The files of one number.
#[derive(Clone, Copy)]
struct Entry {
    version: u64,
    /// Pages of the current tree that its `task_mm` file holds.
    live: u64,
    /// Pages in that file, at least.
    stored: u64,
    /// Newest version that needs one of its other files: of the same number, or one that was made
    /// complete and has this number in the names of its files.
    rest_until: u64,
    /// Newest version before the current one that needs its `task_mm` file.
    pages_until: u64,
    /// Newest version before the current one that needs its control file.
    control_until: u64,
    /// Its control file belongs to the chain of the current version.
    in_chain: bool,
    /// Bits of the [`Part`]s that are there.
    parts: u8,
}

impl Entry {
    fn new(version: u64, until: u64, parts: u8) -> Self {
        Self {
            version,
            live: 0,
            stored: 0,
            rest_until: until,
            pages_until: until,
            control_until: until,
            in_chain: false,
            parts,
        }
    }

    /// Whether a version from `oldest` on needs the part. Its own version is dropped.
    fn needs(&self, part: Part, oldest: u64) -> bool {
        match part {
            Part::TaskMm => self.live > 0 || self.pages_until >= oldest,
            Part::Control => self.in_chain || self.control_until >= oldest,
            _ => self.rest_until >= oldest,
        }
    }

    fn leaves_tree(&mut self, current: u64) {
        if self.live > 0 {
            self.live = 0;
            self.pages_until = self.pages_until.max(current);
        }
    }

    fn leaves_chain(&mut self, current: u64) {
        if self.in_chain {
            self.in_chain = false;
            self.control_until = self.control_until.max(current);
        }
    }
}

/// The bookkeeping of one application.
pub struct Accounts {
    keep: u32,
    /// Committed versions, ascending; those before `first` are dropped.
    kept: List<Entry>,
    first: usize,
    /// Numbers without a committed version, of which there are files, ascending.
    loose: List<Entry>,
    /// Versions that failed and may have left files, even a `global` one.
    failed: List<u64>,
    /// Version that `live` and `in_chain` are said of; 0: of none.
    current: u64,
    /// Pages in the tree of that version.
    tree: u64,
    /// Files that they lie in.
    tree_files: u64,
    /// Pages in those of the files whose versions are dropped, needed or not.
    scattered: u64,
}

impl Accounts {
    /// Begins with the files that are there, ascending.
    pub fn new(files: impl Iterator<Item = Known> + Clone, keep: u32) -> Result<Self, Refusal> {
        let mut accounts = Self {
            keep,
            kept: List::new(),
            first: 0,
            loose: List::new(),
            failed: List::new(),
            current: 0,
            tree: 0,
            tree_files: 0,
            scattered: 0,
        };
        let mut last = 0;
        for file in files.clone() {
            if file.version <= last {
                return Err(Refusal::Order(file.version));
            }
            if file.committed && file.needed_by < file.version {
                return Err(Refusal::OwnNeed(file.version));
            }
            last = file.version;
            let list = match file.committed {
                true => &mut accounts.kept,
                false => &mut accounts.loose,
            };
            list.reserve(1)?;
            list.push(Entry::new(file.version, file.needed_by, Part::COMMITTED))?;
        }
        for file in files.filter(|file| file.needed_by != 0) {
            if find(&accounts.kept, file.needed_by).is_none() {
                return Err(Refusal::NeededBy(file.version, file.needed_by));
            }
        }
        Ok(accounts)
    }

    /// The committed versions.
    fn kept(&self) -> &[Entry] {
        self.kept.get(self.first..).unwrap_or(&[])
    }

    /// Changes how many versions are kept; 0: all.
    pub fn set_keep(&mut self, keep: u32) {
        self.keep = keep;
    }

    /// The highest number of which there may be files; 0: there are none.
    pub fn newest(&self) -> u64 {
        let last = |list: &[Entry]| list.last().map_or(0, |entry| entry.version);
        let failed = self.failed.iter().max().map_or(0, |version| *version);
        last(self.kept()).max(last(&self.loose)).max(failed)
    }

    fn entry(&mut self, version: u64) -> Option<&mut Entry> {
        let first = self.first;
        if let Some(index) = self.kept.get(first..).and_then(|kept| find(kept, version)) {
            return self.kept.get_mut(first + index);
        }
        let index = find(&self.loose, version)?;
        self.loose.get_mut(index)
    }

    fn entries(&mut self) -> impl Iterator<Item = &mut Entry> {
        let kept = self.kept.get_mut(self.first..).unwrap_or(&mut []);
        kept.iter_mut().chain(self.loose.iter_mut())
    }

    /// The current version will not be built on.
    fn leave_current(&mut self) {
        let current = self.current;
        for entry in self.entries() {
            entry.leaves_tree(current);
            entry.leaves_chain(current);
        }
        self.current = 0;
        self.tree = 0;
        self.tree_files = 0;
        self.scattered = 0;
    }

    /// Makes `version`, a committed one whose files have the number `number`, the current version.
    /// Its tree is said as the numbers of files, with offset and number of pages in each. `chain` are
    /// the numbers of the control files that it needs, ascending; if it is empty, nobody knows, and
    /// the next version's is complete. On a refusal there is no current version.
    pub fn adopt(
        &mut self,
        version: u64,
        number: u64,
        tree: impl Iterator<Item = (u64, u64, u64)>,
        chain: &[u64],
    ) -> Result<(), Refusal> {
        self.leave_current();
        let Some(place) = find(self.kept(), version) else {
            return Err(Refusal::Base(version));
        };
        let before = place
            .checked_sub(1)
            .and_then(|place| self.kept().get(place));
        let before = before.map_or(0, |entry| entry.version);
        self.current = version;
        for (stored_in, offset, pages) in tree {
            let Some(entry) = self.entry(stored_in) else {
                self.leave_current();
                return Err(Refusal::Missing(stored_in));
            };
            let new = entry.live == 0;
            entry.live = entry.live.saturating_add(pages);
            entry.stored = entry.stored.max(offset.saturating_add(pages));
            self.tree = self.tree.saturating_add(pages);
            self.tree_files += u64::from(new);
        }
        for entry in self.entries().filter(|entry| entry.version != number) {
            entry.in_chain = chain.binary_search(&entry.version).is_ok();
            // It is known now which of the two the version needs.
            if entry.live == 0 && entry.pages_until == version {
                entry.pages_until = before;
            }
            if !chain.is_empty() && !entry.in_chain && entry.control_until == version {
                entry.control_until = before;
            }
        }
        if let Some(own) = self.entry(number) {
            own.in_chain = true;
        }
        Ok(())
    }

    /// Whether an increment on `version` can be entered.
    pub fn describes(&self, version: u64) -> bool {
        self.current == version
    }

    /// Makes room for the version `version`.
    pub fn prepare(&mut self, version: u64) -> Result<(), Refusal> {
        let newest = self.newest();
        if version <= newest {
            return Err(Refusal::Taken(newest));
        }
        self.kept.reserve(1)?;
        Ok(self.failed.reserve(1)?)
    }

    /// Enters a committed version, for which room was made. Its parent is the current version.
    pub fn committed(&mut self, changes: &Changes<'_>) {
        if changes.parent == 0 {
            self.leave_current();
        }
        let current = self.current;
        for (version, pages) in changes.lost {
            self.tree = self.tree.saturating_sub(*pages);
            let Some(entry) = self.entry(*version) else {
                continue;
            };
            if entry.live > *pages {
                entry.live -= *pages;
            } else {
                entry.leaves_tree(current);
                self.tree_files = self.tree_files.saturating_sub(1);
            }
        }
        if changes.control_complete {
            self.entries().for_each(|entry| entry.leaves_chain(current));
        }
        let entry = Entry {
            live: changes.pages,
            stored: changes.pages,
            in_chain: true,
            ..Entry::new(changes.version, changes.version, Part::COMMITTED)
        };
        // Without room it would stay for ever, and what it needs would stay with it.
        let _ = self.kept.push(entry);
        self.current = changes.version;
        self.tree = self.tree.saturating_add(changes.pages);
        self.tree_files += u64::from(changes.pages > 0);
    }

    /// Enters a version that failed and may have left files, for which room was made.
    pub fn failed(&mut self, version: u64) {
        // Without room its files would stay until the client removes them.
        let _ = self.failed.push(version);
    }

    /// A version that is to be dropped: one that failed, or the oldest of too many. Makes room for
    /// what its files need.
    pub fn surplus(&mut self) -> Result<Option<u64>, NoMemory> {
        let many = self.keep != 0 && self.kept().len() > self.keep as usize;
        let version = match (self.failed.last(), self.kept().first()) {
            (Some(failed), _) => *failed,
            (None, Some(oldest)) if many => oldest.version,
            _ => return Ok(None),
        };
        self.loose.reserve(1)?;
        Ok(Some(version))
    }

    /// The `global` file of what [`Accounts::surplus`] said is gone.
    pub fn dropped(&mut self) {
        let entry = match self.failed.pop() {
            Some(version) => Entry::new(version, 0, Part::EVERY),
            None => match self.kept().first() {
                Some(entry) => {
                    let entry = *entry;
                    self.first += 1;
                    entry
                }
                None => return,
            },
        };
        // Not at every version: it moves all others.
        if self.first >= 64 && self.first * 2 >= self.kept.len() {
            self.kept.remove_front(self.first);
            self.first = 0;
        }
        let place = self
            .loose
            .partition_point(|other| other.version < entry.version);
        // Without room its files would stay until the client removes them.
        if self.loose.push(entry).is_ok() {
            if let Some(behind) = self.loose.get_mut(place..) {
                behind.rotate_right(1);
            }
        }
    }

    /// Has up to `limit` files removed that no version needs. `remove` says whether the file is
    /// gone. Returns whether there may be more.
    pub fn sweep(&mut self, limit: usize, mut remove: impl FnMut(u64, Part) -> bool) -> bool {
        let oldest = self.kept().first().map_or(u64::MAX, |entry| entry.version);
        let mut left = limit;
        let mut more = false;
        let mut scattered = 0u64;
        self.loose.retain(|entry| {
            for part in Part::ALL {
                if entry.parts & part as u8 == 0 || entry.needs(part, oldest) {
                    continue;
                }
                let Some(rest) = left.checked_sub(1) else {
                    more = true;
                    break;
                };
                left = rest;
                if remove(entry.version, part) {
                    entry.parts &= !(part as u8);
                }
            }
            if entry.live > 0 {
                scattered = scattered.saturating_add(entry.stored);
            }
            entry.parts != 0
        });
        self.scattered = scattered;
        more
    }

    /// Whether the next version should be complete: the tree lies in many files, or files that it
    /// needs little of hold back what was dropped. Either takes so many versions that this costs each
    /// of them a few pages.
    pub fn wants_complete(&self) -> bool {
        self.scattered > self.tree.saturating_mul(2).saturating_add(4096)
            || self.tree_files > (self.tree / 16 + 4096).min(MOST_FILES)
    }
}

fn find(entries: &[Entry], version: u64) -> Option<usize> {
    entries
        .binary_search_by_key(&version, |entry| entry.version)
        .ok()
}
