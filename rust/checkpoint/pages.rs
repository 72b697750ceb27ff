// SPDX-License-Identifier: GPL-2.0

//! Capture of the pages of an address space: all of them, or those that changed.

use super::mm::Plan;
use super::paranoid::Seen;
use super::task_mm::Pages;
use crate::error::{fail, Context, Outcome};
use crate::image::mm::{vma_flags, GuardPages, VmaKind};
use crate::image::PAGE_SIZE;
use crate::knobs::{Source, KNOBS};
use crate::sys::fd::FileRef;
use crate::sys::file::OpenFile;
use crate::sys::fingerprint::fingerprint;
use crate::sys::mm::{Capture, Entry, Locked, Mapping, Visitor};
use crate::sys::page::{AddressedPage, NewPage};
use crate::sys::selection::{Selection, EVERYTHING, SWEEP};
use crate::track::{Changed, DirtySet, Layout, BLOCK_BYTES};
use core::cell::Cell;
use kernel::prelude::*;

const PAGE: u64 = PAGE_SIZE as u64;

/// Most pages between two calls of [`Visitor::prepare`].
const AT_ONCE: usize = 512;

/// So many pages of a block, captured though nobody saw them being written, are worth reading what is
/// stored of them.
const MANY: usize = 32;

/// A range of addresses, end exclusive.
pub(crate) type Range = (u64, u64);

/// Pages by address with the fingerprint of their content, if that is known, ascending.
pub(crate) type Fingerprints = KVVec<(u64, Option<u64>)>;

/// What is captured.
pub(crate) enum Wanted<'a> {
    /// Every page. The set, if there is one, is emptied.
    All(Option<&'a DirtySet>),
    /// What changed since the capture that this layout is of, and this was seen at.
    Changed(&'a DirtySet, &'a mut Layout, Option<&'a Seen>),
}

impl Wanted<'_> {
    fn set(&self) -> Option<&DirtySet> {
        match self {
            Wanted::All(set) => *set,
            Wanted::Changed(set, ..) => Some(set),
        }
    }
}

/// What the walk gathered.
pub(crate) struct Gathered {
    /// Captured pages.
    pub(crate) pages: Pages,
    /// Guard pages.
    pub(crate) guards: KVVec<GuardPages>,
    /// Guard pages are met once in this part of the walk: they are to be noted.
    notes_guards: bool,
    /// Ranges in which no page of an earlier version counts any more, but those captured now.
    pub(crate) gone: KVVec<Range>,
    /// Addresses of blocks of which many pages were captured that nobody saw being written.
    pub(crate) doubted: KVVec<u64>,
    /// Which of the pages, by number, the dirty set led to.
    from_set: core::ops::Range<usize>,
    protection: u32,
    pinned: KVec<usize>,
    still_dirty: KVVec<u64>,
    unknown: Option<u64>,
}

impl Gathered {
    /// Nothing, with room for so many pages and a table more, so that gathering them allocates nothing
    /// more, though room for a table is asked for before each. May sleep.
    pub(super) fn with_room_for(pages: usize) -> Result<Self> {
        let mut gathered = Self {
            pages: Pages::new(),
            guards: KVVec::new(),
            notes_guards: true,
            gone: KVVec::new(),
            doubted: KVVec::new(),
            from_set: 0..0,
            protection: 0,
            pinned: KVec::new(),
            still_dirty: KVVec::new(),
            unknown: None,
        };
        gathered.pages.reserve(pages + AT_ONCE)?;
        gathered.prepare()?;
        Ok(gathered)
    }

    fn take(&mut self, address: u64, entry: Entry) -> Result {
        match entry {
            Entry::Captured(page) => self.pages.push(address, self.protection, page),
            Entry::Pinned(page) => {
                let index = self.pages.len();
                self.pages.push(address, self.protection, page)?;
                self.pinned
                    .push_within_capacity(index)
                    .map_err(|_| ENOMEM)?;
                self.still_dirty
                    .push_within_capacity(address)
                    .map_err(|_| ENOMEM)
            }
            Entry::Gone => extend(&mut self.gone, address),
            Entry::Guard => {
                extend(&mut self.gone, address)?;
                if !self.notes_guards {
                    return Ok(());
                }
                let end = address + PAGE;
                match self.guards.last_mut().filter(|last| last.end == address) {
                    Some(last) => last.end = end,
                    None => self
                        .guards
                        .push_within_capacity(GuardPages {
                            start: address,
                            end,
                        })
                        .map_err(|_| ENOMEM)?,
                }
                Ok(())
            }
            Entry::Unknown => Err(EOPNOTSUPP),
        }
    }
}

/// Adds the page at `address` to ranges in which there is room for one more.
fn extend(ranges: &mut KVVec<Range>, address: u64) -> Result {
    match ranges.last_mut().filter(|last| last.1 == address) {
        Some(last) => {
            last.1 = address + PAGE;
            Ok(())
        }
        None => ranges
            .push_within_capacity((address, address + PAGE))
            .map_err(|_| ENOMEM),
    }
}

/// Makes room for `count` more elements, more at a time as the vector grows.
fn make_room<T>(vector: &mut KVVec<T>, count: usize) -> Result {
    if vector.capacity() - vector.len() < count {
        let more = count.max(vector.capacity());
        vector.reserve(more, GFP_KERNEL)?;
    }
    Ok(())
}

impl Visitor for Gathered {
    /// Copies what is pinned, and makes room for one more table of pages.
    fn prepare(&mut self) -> Result {
        while let Some(index) = self.pinned.pop() {
            self.pages.replace_by_copy(index)?;
        }
        self.pinned.reserve(AT_ONCE, GFP_KERNEL)?;
        make_room(&mut self.still_dirty, AT_ONCE)?;
        make_room(&mut self.guards, AT_ONCE)?;
        make_room(&mut self.gone, AT_ONCE)?;
        self.pages.reserve(AT_ONCE)
    }

    fn captured(&mut self) -> (&mut KVVec<AddressedPage>, u64) {
        self.pages.list(self.protection)
    }

    fn visit(&mut self, address: u64, entry: Entry) {
        if self.take(address, entry).is_err() {
            self.unknown = Some(address);
        }
    }
}

/// Captures the pages that belong to the process alone into `gathered`, which is empty. `plans`
/// describe the mappings, in the same order.
pub(super) fn capture_private<'a>(
    pid: u32,
    locked: &'a Locked<'a>,
    mappings: &[Mapping<'a>],
    plans: &[Plan],
    layout: &Layout,
    wanted: &mut Wanted<'_>,
    mut gathered: Gathered,
) -> Outcome<Gathered> {
    let forked = wanted.set().is_some_and(DirtySet::take_forked);
    let capture = locked.capture();
    let walk = Walk {
        pid,
        capture: &capture,
        mappings,
        plans,
        found: Cell::new(0),
    };
    match wanted {
        Wanted::All(set) => {
            if let Some(set) = set {
                set.take_unmapped()?;
                set.take(|_| Ok(()))?;
            }
            for (plan, mapping) in plans.iter().zip(mappings) {
                walk.part(
                    plan,
                    mapping,
                    plan.vma.start,
                    plan.vma.end,
                    &EVERYTHING,
                    &mut gathered,
                )?;
            }
        }
        Wanted::Changed(set, old, _) => {
            // What lies where something was unmapped is new, whatever the layout was; and so is
            // everything when the set has not seen every change, since this capture was decided on.
            old.cut(&set.take_unmapped()?)?;
            if set.has_overflowed() {
                **old = Layout::new();
            }
            walk.changed(set, forked, old, layout, &mut gathered)?;
        }
    }
    gathered.prepare()?;
    drop(capture);
    if let Some(address) = gathered.unknown {
        fail!(
            EOPNOTSUPP,
            "pid {pid}: the page at {address:#x} is damaged or lies on a device, which geist cannot checkpoint"
        );
    }
    if let Some(set) = wanted.set() {
        // Told by this very capture.
        set.take_forked();
        // The others may lie in blocks that it has not seen yet.
        let core::ops::Range { start, end } = gathered.from_set;
        let pages = &gathered.pages;
        let others = [0..start, end..pages.len()];
        let mut known = u64::MAX;
        for address in others
            .into_iter()
            .flat_map(|range| pages.addresses_of(range))
        {
            if address / BLOCK_BYTES != known {
                known = address / BLOCK_BYTES;
                set.know(address);
            }
        }
        for address in gathered.still_dirty.iter() {
            set.written(*address);
        }
    }
    Ok(gathered)
}

/// A walk over the mappings of a locked address space.
struct Walk<'a> {
    pid: u32,
    capture: &'a Capture<'a>,
    mappings: &'a [Mapping<'a>],
    plans: &'a [Plan],
    /// The mapping that was found last: most blocks lie in the largest one.
    found: Cell<usize>,
}

impl Walk<'_> {
    /// Visits what of a mapping lies from `start` to `end`, if its pages are to be saved at all.
    fn part<S: Selection>(
        &self,
        plan: &Plan,
        mapping: &Mapping<'_>,
        start: u64,
        end: u64,
        selection: &S,
        gathered: &mut Gathered,
    ) -> Outcome {
        // The content of droppable memory may go at any time, so the program can do without it.
        if !plan.is_private() || plan.vma.flags & vma_flags::DROPPABLE != 0 {
            return Ok(());
        }
        gathered.protection = plan.protection();
        self.capture
            .pages(mapping, start, end, selection, gathered)
            .within(format_args!(
                "pid {}: the mapping at {:#x}-{:#x} cannot be captured",
                self.pid, plan.vma.start, plan.vma.end
            ))
    }

    /// The mappings that touch the range from `start` to `end`.
    fn mappings_in(&self, start: u64, end: u64) -> impl Iterator<Item = (&Plan, &Mapping<'_>)> {
        let has_start = |plan: &Plan| (plan.vma.start..plan.vma.end).contains(&start);
        let mut first = self.found.get();
        if !self.plans.get(first).is_some_and(has_start) {
            first = self.plans.partition_point(|plan| plan.vma.end <= start);
            self.found.set(first);
        }
        let plans = self.plans.get(first..).unwrap_or_default();
        let mappings = self.mappings.get(first..).unwrap_or_default();
        let both = plans.iter().zip(mappings);
        both.take_while(move |(plan, _)| plan.vma.start < end)
    }

    /// Visits what may have changed: new ranges, mappings with guard pages, and the dirty set.
    fn changed(
        &self,
        set: &DirtySet,
        forked: bool,
        old: &Layout,
        layout: &Layout,
        gathered: &mut Gathered,
    ) -> Outcome {
        // Of the mappings that may have some, all are met below, whatever else is visited before.
        gathered.notes_guards = false;
        let mut fresh: KVVec<Range> = KVVec::new();
        if KNOBS.listens_to(Source::Layouts) {
            layout.new_since(old, |start, end| Ok(fresh.push((start, end), GFP_KERNEL)?))?;
        }
        // In what was visited as a whole, the set has nothing to add.
        let mut whole: KVVec<Range> = KVVec::new();
        for (start, end) in fresh.iter() {
            for (plan, mapping) in self.mappings_in(*start, *end) {
                let (start, end) = (plan.vma.start.max(*start), plan.vma.end.min(*end));
                make_room(&mut gathered.gone, 1)?;
                gathered.gone.push((start, end), GFP_KERNEL)?;
                self.part(plan, mapping, start, end, &EVERYTHING, gathered)?;
                whole.push((start, end), GFP_KERNEL)?;
            }
        }
        let before = gathered.pages.len();
        let mut outcome = Ok(());
        set.take(|block| {
            if outcome.is_ok() {
                outcome = self.block(&Changed::new(block, !forked), &whole, gathered);
            }
            Ok(())
        })?;
        outcome?;
        gathered.from_set = before..gathered.pages.len();
        // Installing a guard where no page is tells nobody.
        gathered.notes_guards = true;
        for (plan, mapping) in self.plans.iter().zip(self.mappings) {
            if !plan.may_have_guards {
                continue;
            }
            self.part(
                plan,
                mapping,
                plan.vma.start,
                plan.vma.end,
                &SWEEP,
                gathered,
            )?;
        }
        Ok(())
    }

    /// Visits the pages of one block of the dirty set.
    fn block(&self, changed: &Changed<'_>, whole: &[Range], gathered: &mut Gathered) -> Outcome {
        let end = changed.address() + BLOCK_BYTES;
        let before = gathered.pages.len();
        for (plan, mapping) in self.mappings_in(changed.address(), end) {
            let mut at = plan.vma.start.max(changed.address());
            let until = plan.vma.end.min(end);
            let first = whole.partition_point(|range| range.1 <= at);
            for range in whole.iter().skip(first).take_while(|range| range.0 < until) {
                if at < range.0 {
                    self.part(plan, mapping, at, range.0, changed, gathered)?;
                }
                at = at.max(range.1);
            }
            if at < until {
                self.part(plan, mapping, at, until, changed, gathered)?;
            }
        }
        let captured = gathered.pages.len() - before;
        // Of most blocks there are few, and counting takes its time, too.
        if captured >= MANY && captured >= changed.written() + MANY {
            gathered.doubted.push(changed.address(), GFP_KERNEL)?;
        }
        Ok(())
    }
}

/// Copies what a mapping shows of a memfd or of shared anonymous memory.
pub(super) fn capture_shared(pid: u32, plan: &Plan, pages: &mut Pages) -> Outcome {
    match &plan.file {
        Some(file) if plan.vma.kind == VmaKind::SharedMemory as u32 => {
            copy_shared(plan, file, pages).within(format_args!(
                "pid {pid}: the shared mapping at {:#x}-{:#x}",
                plan.vma.start, plan.vma.end
            ))
        }
        _ => Ok(()),
    }
}

fn copy_shared(plan: &Plan, file: &FileRef, pages: &mut Pages) -> Result {
    let vma = &plan.vma;
    let file = OpenFile::reopen(file)?;
    let end = file
        .size()
        .min(vma.offset.saturating_add(vma.end - vma.start));
    let mut offset = vma.offset;
    // Data begins at a page that exists, whether in memory or in swap.
    while let Some(data) = file.next_data(offset)?.filter(|data| *data < end) {
        offset = data & !(PAGE - 1);
        let mut page = NewPage::new()?;
        file.read_at(offset, page.bytes())?;
        pages.reserve(1)?;
        let address = vma.start + (offset - vma.offset);
        pages.push(address, plan.protection(), page.hold())?;
        offset += PAGE;
    }
    Ok(())
}

/// Drops pages of shared memory that are what they were. Both lists ascend by address; `old` holds
/// the fingerprints of the last version. Returns those of this one, and what is no longer there.
pub(super) fn drop_unchanged(
    pages: &mut Pages,
    old: &[(u64, Option<u64>)],
) -> Result<(Fingerprints, KVVec<Range>)> {
    let mut now = KVVec::with_capacity(pages.len(), GFP_KERNEL)?;
    for (address, bytes) in pages.contents() {
        now.push((address, Some(fingerprint(bytes))), GFP_KERNEL)?;
    }
    let mut gone = KVVec::new();
    for (address, _) in old.iter() {
        if now
            .binary_search_by_key(address, |(address, _)| *address)
            .is_err()
        {
            make_room(&mut gone, 1)?;
            extend(&mut gone, *address)?;
        }
    }
    let mut index = 0;
    pages.retain(|_, _| {
        let same = now
            .get(index)
            .is_some_and(|page| old.binary_search(page).is_ok());
        index += 1;
        !same
    });
    Ok((now, gone))
}
