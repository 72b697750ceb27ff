// SPDX-License-Identifier: GPL-2.0

//! The dirty set: pages that may have changed since the last capture.
//!
//! A hash table of 2 MiB blocks, each with two bits a page. It is written to by the fault hook and
//! by notifiers, in any context, without locks and without allocation; it is emptied by the capture
//! while the address space is locked. When no room is left for a block, the set overflows, and the
//! next capture walks everything: a change is never missed.

use super::unmapped::{self, Unmapped};
use crate::image::PAGE_SIZE;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use kernel::{new_spinlock, prelude::*, sync::SpinLock};

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: u64 = 2 << 20;

/// Pages of a block.
pub(crate) const BLOCK_PAGES: usize = BLOCK_BYTES as usize / PAGE_SIZE;

/// Words of 64 bits for one bit a page of a block.
const WORDS: usize = BLOCK_PAGES / 64;

/// Slots that are tried for a block before the set counts as full.
const PROBES: usize = 64;

/// One bit a page of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageBits([u64; WORDS]);

impl PageBits {
    /// One bit a page, of the first 64 pages first.
    pub(crate) fn words(&self) -> &[u64; WORDS] {
        &self.0
    }

    /// No page.
    pub(crate) const NONE: Self = Self([0; WORDS]);

    /// Number of pages.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The first page from `number` on whose bit is set.
    pub(crate) fn first_from(&self, number: usize) -> Option<usize> {
        let mut index = number / 64;
        let mut word = self.0.get(index)? & (u64::MAX << (number % 64));
        while word == 0 {
            index += 1;
            word = *self.0.get(index)?;
        }
        Some(index * 64 + word.trailing_zeros() as usize)
    }
}

struct Slot {
    /// Number of the block plus 1; 0: free.
    key: AtomicU64,
    written: [AtomicU64; WORDS],
    suspect: [AtomicU64; WORDS],
}

impl Slot {
    const fn free() -> Self {
        Self {
            key: AtomicU64::new(0),
            written: [const { AtomicU64::new(0) }; WORDS],
            suspect: [const { AtomicU64::new(0) }; WORDS],
        }
    }
}

/// What the set holds of one block.
pub(crate) struct DirtyBlock {
    /// Address of its first page.
    pub(crate) address: u64,
    /// Pages that saw a write fault: changed, whatever their entry says.
    pub(crate) written: PageBits,
    /// Those, and pages that something happened to: changed if their entry is writable or their page
    /// is exclusive.
    pub(crate) either: PageBits,
}

/// The dirty set of one address space.
#[pin_data]
pub(crate) struct DirtySet {
    slots: KVVec<Slot>,
    /// A bit a slot: it has pages. A capture looks at those only, so that it does not take longer
    /// the more memory was touched once.
    marked: KVVec<AtomicU64>,
    used: AtomicUsize,
    overflowed: AtomicBool,
    forked: AtomicBool,
    #[pin]
    unmapped: SpinLock<Unmapped>,
}

/// Takes the bits of a word. Most are zero: a load is cheaper than an exchange.
fn take_word(word: &AtomicU64) -> u64 {
    match word.load(Ordering::Relaxed) {
        0 => 0,
        _ => word.swap(0, Ordering::AcqRel),
    }
}

impl DirtyBlock {
    /// Takes the bits of `slot`; whether there were any.
    fn take(&mut self, slot: &Slot) -> bool {
        let mut any = 0;
        let from = slot.written.iter().zip(slot.suspect.iter());
        let to = self.written.0.iter_mut().zip(self.either.0.iter_mut());
        for ((to_written, to_either), (written, suspect)) in to.zip(from) {
            *to_written = take_word(written);
            *to_either = *to_written | take_word(suspect);
            any |= *to_either;
        }
        any != 0
    }
}

/// Takes the bits of a word of [`DirtySet::marked`]: the numbers of their slots. What is set
/// meanwhile, by reclaim, is for the next time, or seen now and then.
fn take_numbers((index, word): (usize, &AtomicU64)) -> impl Iterator<Item = usize> {
    let mut bits = take_word(word);
    core::iter::from_fn(move || {
        let bit = bits.trailing_zeros() as usize;
        // Zero when no bit is left.
        bits &= bits.checked_sub(1)?;
        Some(index * 64 + bit)
    })
}

impl DirtySet {
    /// A set with room for `blocks` blocks at least. May sleep.
    pub(crate) fn new(blocks: usize) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            slots: Self::slots(blocks)?,
            marked: Self::marked(blocks)?,
            used: AtomicUsize::new(0),
            overflowed: AtomicBool::new(false),
            forked: AtomicBool::new(false),
            unmapped <- new_spinlock!(Unmapped::new()?),
        }? Error)
    }

    fn room_for(blocks: usize) -> Result<usize> {
        blocks.max(PROBES).checked_next_power_of_two().ok_or(ENOMEM)
    }

    fn marked(blocks: usize) -> Result<KVVec<AtomicU64>> {
        let words = Self::room_for(blocks)? / 64;
        let mut marked = KVVec::with_capacity(words, GFP_KERNEL)?;
        for _ in 0..words {
            marked.push(AtomicU64::new(0), GFP_KERNEL)?;
        }
        Ok(marked)
    }

    fn slots(blocks: usize) -> Result<KVVec<Slot>> {
        let capacity = Self::room_for(blocks)?;
        let mut slots = KVVec::with_capacity(capacity, GFP_KERNEL)?;
        for _ in 0..capacity {
            slots.push(Slot::free(), GFP_KERNEL)?;
        }
        Ok(slots)
    }

    /// The slot of a block, and its number.
    fn slot(&self, block: u64, insert: bool) -> Option<(usize, &Slot)> {
        let mask = self.slots.len() - 1;
        let key = block + 1;
        // Fibonacci hashing spreads neighbouring blocks.
        let first = (block.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        for probe in 0..PROBES {
            let number = first.wrapping_add(probe) & mask;
            let slot = self.slots.get(number)?;
            let found = slot.key.load(Ordering::Acquire);
            if found == key {
                return Some((number, slot));
            }
            if found != 0 {
                continue;
            }
            if !insert {
                return None;
            }
            match slot
                .key
                .compare_exchange(0, key, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => {
                    self.used.fetch_add(1, Ordering::Relaxed);
                    return Some((number, slot));
                }
                Err(winner) if winner == key => return Some((number, slot)),
                Err(_) => {}
            }
        }
        if insert {
            self.overflowed.store(true, Ordering::Release);
        }
        None
    }

    /// Notes that slot `number` has pages, after their bits were set.
    fn mark(&self, number: usize) {
        if let Some(word) = self.marked.get(number / 64) {
            word.fetch_or(1 << (number % 64), Ordering::AcqRel);
        }
    }

    /// The page at `address` is about to be written. Any context.
    pub(crate) fn written(&self, address: u64) {
        if let Some((number, slot)) = self.slot(address / BLOCK_BYTES, true) {
            let page = address as usize / PAGE_SIZE % BLOCK_PAGES;
            if let Some(word) = slot.written.get(page / 64) {
                word.fetch_or(1 << (page % 64), Ordering::AcqRel);
            }
            self.mark(number);
        }
    }

    /// Any page of the block around `address` may change with the fault that is under way. Any
    /// context.
    pub(crate) fn suspect_block(&self, address: u64) {
        if let Some((number, slot)) = self.slot(address / BLOCK_BYTES, true) {
            for word in slot.suspect.iter() {
                word.store(u64::MAX, Ordering::Release);
            }
            self.mark(number);
        }
    }

    /// Something happened to the pages from `start` to `end`. Blocks that the set never saw hold no
    /// page of a version, and what is written there later faults. Any context.
    pub(crate) fn suspect_range(&self, start: u64, end: u64) {
        let blocks = start / BLOCK_BYTES..=end.saturating_sub(1) / BLOCK_BYTES;
        if blocks.end() - blocks.start() < self.slots.len() as u64 {
            for block in blocks {
                if let Some((number, slot)) = self.slot(block, false) {
                    suspect_part(slot, block, start, end);
                    self.mark(number);
                }
            }
        } else {
            for (number, slot) in self.slots.iter().enumerate() {
                let key = slot.key.load(Ordering::Acquire);
                if let Some(block) = key.checked_sub(1).filter(|block| blocks.contains(block)) {
                    suspect_part(slot, block, start, end);
                    self.mark(number);
                }
            }
        }
    }

    /// The pages from `start` to `end` are being unmapped, or moved elsewhere. Any context.
    pub(crate) fn unmapped(&self, start: u64, end: u64) {
        self.unmapped.lock().add(start, end);
    }

    /// Takes the ranges that were unmapped, ascending. Whatever is mapped there is new. May sleep.
    pub(crate) fn take_unmapped(&self) -> Result<KVVec<(u64, u64)>> {
        if self.unmapped.lock().is_empty() {
            return Ok(KVVec::new());
        }
        let empty = unmapped::room()?;
        let mut ranges = self.unmapped.lock().exchange(empty);
        unmapped::join_ranges(&mut ranges);
        Ok(ranges)
    }

    /// Makes room for the block around `address`, which holds a page of a version. Fails when the
    /// set is full, which is as good as an overflow.
    pub(crate) fn know(&self, address: u64) {
        let _ = self.slot(address / BLOCK_BYTES, true);
    }

    /// The process forked: exclusive pages became shared, so that an entry no longer tells. Any
    /// context.
    pub(crate) fn forked(&self) {
        self.forked.store(true, Ordering::Release);
    }

    /// Whether the process forked since this was asked last.
    pub(crate) fn take_forked(&self) -> bool {
        self.forked.swap(false, Ordering::AcqRel)
    }

    /// Whether changes may be missing from the set.
    pub(crate) fn has_overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Acquire)
    }

    /// More than half of the slots are taken: a larger set should follow.
    pub(crate) fn is_crowded(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.slots.len() / 2
    }

    /// Number of slots.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Number of pages in the set, while it is written to. Walks all slots.
    pub(crate) fn count(&self) -> u64 {
        let used = self
            .slots
            .iter()
            .filter(|slot| slot.key.load(Ordering::Acquire) != 0);
        let words = used.flat_map(|slot| slot.written.iter().zip(slot.suspect.iter()));
        words
            .map(|(written, suspect)| {
                let either = written.load(Ordering::Relaxed) | suspect.load(Ordering::Relaxed);
                u64::from(either.count_ones())
            })
            .sum()
    }

    /// Empties the set, block by block in no order. The address space is locked for writing.
    pub(crate) fn take(&self, mut visit: impl FnMut(&DirtyBlock) -> Result) -> Result {
        let mut taken = DirtyBlock {
            address: 0,
            written: PageBits::NONE,
            either: PageBits::NONE,
        };
        for number in self.marked.iter().enumerate().flat_map(take_numbers) {
            let Some(slot) = self.slots.get(number) else {
                continue;
            };
            let Some(block) = slot.key.load(Ordering::Acquire).checked_sub(1) else {
                continue;
            };
            if taken.take(slot) {
                taken.address = block * BLOCK_BYTES;
                visit(&taken)?;
            }
        }
        Ok(())
    }
}

fn suspect_part(slot: &Slot, block: u64, start: u64, end: u64) {
    let base = block * BLOCK_BYTES;
    let page = |address: u64| {
        let inside = address.saturating_sub(base).min(BLOCK_BYTES);
        inside.div_ceil(PAGE_SIZE as u64) as usize
    };
    let (first, behind) = (start.saturating_sub(base) as usize / PAGE_SIZE, page(end));
    for (number, word) in slot.suspect.iter().enumerate() {
        let low = first.saturating_sub(number * 64).min(64);
        let high = behind.saturating_sub(number * 64).min(64);
        if low < high {
            let bits = (u64::MAX >> (64 - (high - low))) << low;
            word.fetch_or(bits, Ordering::AcqRel);
        }
    }
}
