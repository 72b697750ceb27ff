// SPDX-License-Identifier: GPL-2.0

//! After the thaw: which captured pages are stored, and what the control file says of them.

use super::mm::Memory;
use super::pages::{drop_unchanged, Range};
use super::stored::Stored;
use super::task_mm::Pages;
use crate::app::Base;
use crate::error::Outcome;
use crate::image::control::Extent;
use crate::image::PAGE_SIZE;
use crate::sys::file::{Directory, Incarnation};
use crate::sys::sort::sort_by_key;
use crate::track::{join_ranges, ControlTree, DirtySet, Layout, BLOCK_BYTES};
use kernel::prelude::*;

const PAGE: u64 = PAGE_SIZE as u64;

/// Longest chain of control files that have to be read for one version.
const LONGEST_CHAIN: usize = 64;

/// What a version stores.
pub(super) struct Settled {
    /// Pages of its `task_mm` file, ascending.
    pub(super) pages: Pages,
    /// Version that it builds on; 0: none.
    pub(super) parent: u64,
    /// Number of the control file that that of this version builds on; 0: it is complete.
    pub(super) control_base: u64,
    /// What changed against that control file; without one, `next.tree` has everything.
    pub(super) delta: KVVec<Extent>,
    /// Pages of the parent's tree that `next.tree` has no more, by the version that stores them.
    pub(super) lost: Losses,
    /// All that the parent needs is on the disk.
    pub(super) parent_durable: bool,
    /// Number of the parent's files.
    parent_number: u64,
    /// The parent's `global` file.
    parent_global: Option<Incarnation>,
    /// What the version after this one builds on.
    pub(super) next: Base,
}

/// Numbers of pages by version, ascending.
#[derive(Default)]
pub(crate) struct Losses(KVVec<(u64, u64)>);

impl Losses {
    fn add(&mut self, version: u64, pages: u64) -> Result {
        let found = self.0.binary_search_by_key(&version, |loss| loss.0);
        let place = match found {
            Ok(place) => place,
            Err(place) => {
                if self.0.len() == self.0.capacity() {
                    self.0.reserve(self.0.len().max(64), GFP_KERNEL)?;
                }
                self.0
                    .insert_within_capacity(place, (version, 0))
                    .map_err(|_| ENOMEM)?;
                place
            }
        };
        if let Some(loss) = self.0.get_mut(place) {
            loss.1 += pages;
        }
        Ok(())
    }
}

impl core::ops::Deref for Losses {
    type Target = [(u64, u64)];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Decides what version `version` stores: all of `memory`, or what differs from `base`, whose files are
/// in `directory`.
///
/// Gives the captured references back where nothing has to be stored. May sleep; belongs behind the
/// pause.
pub(super) fn settle(
    pid: u32,
    memory: KBox<Memory>,
    base: Option<Base>,
    version: u64,
    directory: &Directory,
) -> Outcome<Settled> {
    let base = base.filter(|_| !memory.complete);
    let Memory {
        mut pages,
        mut shared,
        mut gone,
        doubted,
        layout,
        seen,
        ..
    } = KBox::into_inner(memory);
    let base = base.unwrap_or_else(Base::nothing);
    let (mut tree, mut old_shared, mut chain) = (base.tree, base.shared, base.chain);
    shared.sort()?;
    // Where the tree forgets what it had, a page is stored again even if it is the same.
    join_ranges(&mut gone);
    old_shared.retain(|(address, _)| !contains(&gone, *address));
    let (shared_now, shared_gone) = drop_unchanged(&mut shared, &old_shared)?;
    if !doubted.is_empty() {
        let stored = Stored::new(directory, pid)?;
        drop_stored(&mut pages, doubted, &gone, &tree, stored);
    }
    pages.append(shared)?;
    pages.sort()?;
    pages.drop_zero(|address| append(&mut gone, (address, address + PAGE)))?;
    for range in shared_gone.iter() {
        append(&mut gone, *range)?;
    }
    let runs = runs(&pages, version)?;
    let mut lost = base.lost;
    let gone = forget(&mut tree, gone, &layout, &mut lost)?;
    for run in runs.iter() {
        tree.set(run, &mut |version, pages| lost.add(version, pages))?;
    }
    if let Some(seen) = &seen {
        seen.agrees(pid, &tree, &shared_now)?;
    }
    let mut delta = KVVec::new();
    let complete = chain.is_empty() || chain.len() >= LONGEST_CHAIN;
    if !complete {
        delta = merge(&gone, &runs)?;
    }
    // A delta that is longer than everything is worth nothing.
    let complete = complete || delta.len() as u64 >= tree.nodes();
    if complete {
        chain.clear();
    }
    chain.push(version, GFP_KERNEL)?;
    Ok(Settled {
        pages,
        parent: base.version,
        control_base: if complete { 0 } else { base.number },
        delta,
        lost,
        parent_durable: base.durable,
        parent_number: base.number,
        parent_global: base.global,
        next: Base {
            version,
            number: version,
            global: None,
            durable: false,
            tree,
            layout,
            shared: shared_now,
            chain,
            seen,
            lost: Losses::default(),
        },
    })
}

impl Settled {
    /// What the version after this one builds on where this one could not be written: the same
    /// parent. What this one would have stored is in no version, and counts as changed once more.
    /// `None` where there is no parent. May sleep; the process may run.
    pub(super) fn undone(self, set: &DirtySet) -> Result<Option<Base>> {
        if self.parent == 0 {
            return Ok(None);
        }
        let mut next = self.next;
        let mut unstored: KVVec<Range> = KVVec::new();
        for extent in next
            .tree
            .extents()
            .filter(|one| one.version == next.version)
        {
            append(&mut unstored, (extent.address, extent.end().ok_or(EINVAL)?))?;
        }
        for (start, end) in unstored.iter() {
            next.tree.clear(*start, *end, &mut |_, _| Ok(()))?;
            (*start..*end)
                .step_by(PAGE_SIZE)
                .for_each(|address| set.written(address));
        }
        // Nobody writes shared memory through faults: what is stored is known by fingerprints.
        next.shared
            .retain(|(address, _)| !contains(&unstored, *address));
        Ok(Some(Base {
            version: self.parent,
            number: self.parent_number,
            global: self.parent_global,
            durable: self.parent_durable,
            // Its next control file is complete, since nobody knows what this one's would have said.
            chain: KVVec::new(),
            lost: self.lost,
            ..next
        }))
    }
}

/// Lets go of the pages of some `blocks` that `tree` has, `stored` as they are, and will not forget, as
/// it will what is `gone`.
fn drop_stored(
    pages: &mut Pages,
    mut blocks: KVVec<u64>,
    gone: &[Range],
    tree: &ControlTree,
    mut stored: Stored<'_>,
) {
    sort_by_key(&mut blocks, |block| *block);
    pages.retain(|address, content| {
        let block = address / BLOCK_BYTES * BLOCK_BYTES;
        blocks.binary_search(&block).is_err()
            || contains(gone, address)
            || !stored.has(tree, address, content)
    });
}

/// Whether `address` lies in one of `ranges`, which ascend and do not touch.
fn contains(ranges: &[Range], address: u64) -> bool {
    let next = ranges.partition_point(|range| range.1 <= address);
    ranges.get(next).is_some_and(|range| range.0 <= address)
}

/// Adds a range, joined to the last where it follows.
fn append(ranges: &mut KVVec<Range>, range: Range) -> Result {
    if let Some(last) = ranges.last_mut().filter(|last| last.1 == range.0) {
        last.1 = range.1;
        return Ok(());
    }
    if ranges.len() == ranges.capacity() {
        ranges.reserve(ranges.len().max(64), GFP_KERNEL)?;
    }
    Ok(ranges.push(range, GFP_KERNEL)?)
}

/// The pages of a file as extents: neighbours are one.
fn runs(pages: &Pages, version: u64) -> Result<KVVec<Extent>> {
    let mut runs: KVVec<Extent> = KVVec::new();
    for (offset, address) in pages.addresses().enumerate() {
        match runs.last_mut() {
            Some(last) if last.end() == Some(address) => last.pages += 1,
            _ => {
                if runs.len() == runs.capacity() {
                    runs.reserve(runs.len().max(64), GFP_KERNEL)?;
                }
                let run = Extent {
                    address,
                    pages: 1,
                    version,
                    offset: offset as u64,
                };
                runs.push(run, GFP_KERNEL)?;
            }
        }
    }
    Ok(runs)
}

/// Takes from the tree what is gone or lies in no mapping. Returns what it had, ascending and
/// without overlaps.
fn forget(
    tree: &mut ControlTree,
    gone: KVVec<Range>,
    layout: &Layout,
    lost: &mut Losses,
) -> Result<KVVec<Range>> {
    let mut had: KVVec<Range> = KVVec::new();
    let mut clear = |start: u64, end: u64| -> Result {
        if tree.clear(start, end, &mut |version, pages| lost.add(version, pages))? {
            append(&mut had, (start, end))?;
        }
        Ok(())
    };
    for (start, end) in gone.iter() {
        clear(*start, *end)?;
    }
    layout.gaps(&mut clear)?;
    join_ranges(&mut had);
    Ok(had)
}

/// The extents of a control file that builds on another: runs that were written, and ranges that
/// are gone where no run lies. Both ascend.
fn merge(gone: &[Range], runs: &[Extent]) -> Result<KVVec<Extent>> {
    let mut merged = KVVec::with_capacity(gone.len() + runs.len(), GFP_KERNEL)?;
    let mut push = |extent: Extent| -> Result {
        if merged.len() == merged.capacity() {
            merged.reserve(merged.len().max(64), GFP_KERNEL)?;
        }
        Ok(merged.push(extent, GFP_KERNEL)?)
    };
    let hole = |start: u64, end: u64| Extent {
        address: start,
        pages: (end - start) / PAGE,
        version: 0,
        offset: 0,
    };
    let mut gone = gone.iter().copied();
    let mut range = gone.next();
    for run in runs {
        let run_end = run.end().ok_or(EINVAL)?;
        while let Some((start, end)) = range.filter(|range| range.0 < run_end) {
            if start < run.address {
                push(hole(start, end.min(run.address)))?;
            }
            if end > run_end {
                range = Some((run_end, end));
                break;
            }
            range = gone.next();
        }
        push(*run)?;
    }
    while let Some((start, end)) = range {
        push(hole(start, end))?;
        range = gone.next();
    }
    Ok(merged)
}
