// SPDX-License-Identifier: GPL-2.0

//! Which pages changed: the dirty set of an address space, and the tree that says where the content
//! of its pages is stored.

mod dirty;
mod layout;
mod tree;
mod unmapped;

pub(crate) use dirty::{DirtyBlock, DirtySet, PageBits, BLOCK_BYTES};
pub(crate) use layout::{Backing, Layout};
pub(crate) use tree::ControlTree;
pub(crate) use unmapped::join_ranges;

use crate::image::PAGE_SIZE;
use crate::knobs::{Source, KNOBS};
use crate::sys::mm::AddressSpace;
use crate::sys::selection::{Selection, TableBits};
use crate::sys::watch::{Events, Watch};
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::{prelude::*, sync::Arc};

/// Blocks that a dirty set has room for at least: 8 GiB of memory that was touched.
const SMALLEST_SET: usize = 4096;

/// What the hook and the notifier write to.
#[pin_data]
struct Marks {
    #[pin]
    set: DirtySet,
    released: AtomicBool,
}

impl Events for Marks {
    fn fault(&self, address: u64, write: bool, absent: bool) {
        if absent && KNOBS.listens_to(Source::Absences) {
            self.set.suspect_block(address);
        }
        if write && KNOBS.listens_to(Source::Writes) {
            self.set.written(address);
        }
    }

    fn cleared(&self, start: u64, end: u64) {
        if KNOBS.listens_to(Source::Clearings) {
            self.set.suspect_range(start, end);
        }
    }

    fn unmapped(&self, start: u64, end: u64) {
        if KNOBS.listens_to(Source::Unmappings) {
            self.set.unmapped(start, end);
        }
    }

    fn replaced(&self, start: u64, end: u64) {
        // Also where no page ever was: as if what is there were mapped anew.
        if KNOBS.listens_to(Source::Userfaults) {
            self.set.unmapped(start, end);
        }
    }

    fn shared(&self) {
        if KNOBS.listens_to(Source::Forks) {
            self.set.forked();
        }
    }

    fn released(&self) {
        self.released.store(true, Ordering::Release);
        crate::app::reap_soon();
    }
}

/// Counts the pages of a dirty set, also while a checkpoint has its tracker.
pub(crate) struct DirtyCounter(Arc<Marks>);

impl DirtyCounter {
    /// Pages that may have changed since the last capture.
    pub(crate) fn pages(&self) -> u64 {
        self.0.set.count()
    }
}

/// The tracking of one address space, until it is dropped.
pub(crate) struct Tracker {
    marks: Arc<Marks>,
    watch: Watch,
}

impl Tracker {
    /// Begins to track `space`. The first capture must take everything. Must not be called while
    /// the process is frozen: it may take a while.
    pub(crate) fn begin(space: &AddressSpace) -> Result<Self> {
        Self::with_room_for(space, SMALLEST_SET)
    }

    fn with_room_for(space: &AddressSpace, blocks: usize) -> Result<Self> {
        let marks = Arc::pin_init(
            try_pin_init!(Marks {
                set <- DirtySet::new(blocks),
                released: AtomicBool::new(false),
            }? Error),
            GFP_KERNEL,
        )?;
        let watch = Watch::begin(space, marks.clone())?;
        Ok(Self { marks, watch })
    }

    /// A new tracker where this one will not do: for another address space than its own (the
    /// process called `execve(2)`), or because its set is crowded. The next capture must take
    /// everything, and this one must live until then.
    pub(crate) fn renew(&self, space: &AddressSpace) -> Result<Option<Self>> {
        let set = &self.marks.set;
        let blocks = if !self.watch.is_of(space) {
            SMALLEST_SET
        } else if set.is_crowded() || set.has_overflowed() {
            set.capacity().checked_mul(4).ok_or(ENOMEM)?
        } else {
            return Ok(None);
        };
        Ok(Some(Self::with_room_for(space, blocks)?))
    }

    /// The dirty set.
    pub(crate) fn set(&self) -> &DirtySet {
        &self.marks.set
    }

    /// Counts the pages of the dirty set.
    pub(crate) fn counter(&self) -> DirtyCounter {
        DirtyCounter(self.marks.clone())
    }

    /// Whether the address space is gone: the process exited or called `execve(2)`.
    pub(crate) fn is_over(&self) -> bool {
        self.marks.released.load(Ordering::Acquire)
    }
}

/// The pages of one block that may have changed.
pub(crate) struct Changed<'a> {
    block: &'a DirtyBlock,
    entry_tells: bool,
}

impl<'a> Changed<'a> {
    /// `entry_tells`: a page that was only suspected is unchanged if its entry says so.
    pub(crate) fn new(block: &'a DirtyBlock, entry_tells: bool) -> Self {
        Self { block, entry_tells }
    }

    /// Address of the block.
    pub(crate) fn address(&self) -> u64 {
        self.block.address
    }

    /// Number of pages that saw a write fault.
    pub(crate) fn written(&self) -> usize {
        self.block.written.count()
    }

    fn page(&self, address: u64) -> usize {
        (address.saturating_sub(self.block.address) as usize) / PAGE_SIZE
    }

    /// The first page of `bits` from `address` on, before `end`.
    fn first(&self, bits: &PageBits, address: u64, end: u64) -> Option<u64> {
        if address >= end {
            return None;
        }
        let page = bits.first_from(self.page(address))?;
        let address = self.block.address + (page * PAGE_SIZE) as u64;
        (address < end).then_some(address)
    }
}

impl Selection for Changed<'_> {
    fn next(&self, address: u64, end: u64) -> Option<u64> {
        self.first(&self.block.either, address, end)
    }

    fn all_only_changed(&self, start: u64, end: u64) -> bool {
        self.entry_tells && self.first(&self.block.written, start, end).is_none()
    }

    fn table(&self) -> (&TableBits, &TableBits) {
        let either = self.block.either.words();
        let written = match self.entry_tells {
            true => self.block.written.words(),
            false => either,
        };
        (either, written)
    }

    const TELLS_GONE: bool = true;
}
