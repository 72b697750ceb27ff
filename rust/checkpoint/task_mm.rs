// SPDX-License-Identifier: GPL-2.0

//! The pages of a version: held after the capture, then written to the `task_mm` file.

use crate::error::{Context, Outcome};
use crate::ghost::Summary;
use crate::image::frame::FileHeader;
use crate::image::name::Name;
use crate::image::task_mm::{Index, IndexEntry, INDEX_ENTRIES};
use crate::image::{CRC_START, PAGE_SIZE};
use crate::sys::crc32c::crc32c;
use crate::sys::file::OpenFile;
use crate::sys::page::{AddressedPage, HeldPage, NewPage};
use crate::sys::sort::sort_by_key;
use crate::track::BLOCK_BYTES;
use core::ops::Range;
use kernel::prelude::*;
use zerocopy::FromBytes;

/// The low bits of an address hold the protection flags (`PROT_*`) of its page.
const PROTECTION: u64 = 7;

/// A page that need not be stored when it is zero: what no version stores is zero. Beside the
/// protection flags.
pub(crate) const ZERO_UNLESS_STORED: u32 = 8;

/// All bits of an address that do not belong to it.
const LOW_BITS: u64 = PAGE_SIZE as u64 - 1;

/// Neighbours in [`Pages`] that ascend, of blocks without a gap between them.
struct Run {
    first: u64,
    last: u64,
    start: usize,
    end: usize,
}

/// Pages whose content is that of the moment of the capture.
pub(crate) struct Pages {
    pages: KVVec<AddressedPage>,
}

impl Pages {
    /// No pages.
    pub(crate) fn new() -> Self {
        Self {
            pages: KVVec::new(),
        }
    }

    /// Makes room for `count` more pages. May sleep.
    pub(crate) fn reserve(&mut self, count: usize) -> Result {
        if self.pages.capacity() - self.pages.len() < count {
            let more = count.max(self.pages.capacity());
            self.pages.reserve(more, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Adds the page at `address`, with the protection of its mapping, and possibly
    /// [`ZERO_UNLESS_STORED`]. Any context where room was
    /// made; `ENOMEM` where it was not.
    pub(crate) fn push(&mut self, address: u64, protection: u32, page: HeldPage) -> Result {
        let captured = AddressedPage {
            address: address | u64::from(protection) & LOW_BITS,
            page,
        };
        self.pages
            .push_within_capacity(captured)
            .map_err(|_| ENOMEM)
    }

    /// For who adds pages as [`Pages::push`] does: the list, and what the low bits of their
    /// addresses are to be.
    pub(crate) fn list(&mut self, protection: u32) -> (&mut KVVec<AddressedPage>, u64) {
        (&mut self.pages, u64::from(protection) & LOW_BITS)
    }

    /// Number of pages.
    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Replaces page number `index` by a copy of it. May sleep.
    pub(crate) fn replace_by_copy(&mut self, index: usize) -> Result {
        if let Some(captured) = self.pages.get_mut(index) {
            captured.page = captured.page.copy()?;
        }
        Ok(())
    }

    /// Puts the pages into ascending order of address, as the file wants them, each once. May
    /// sleep.
    pub(crate) fn sort(&mut self) -> Result {
        self.sort_runs()?;
        let mut last = None;
        self.pages
            .retain(|captured| last.replace(captured.address) != Some(captured.address));
        Ok(())
    }

    /// Sorts pages that came in ascending runs, as the capture finds them block by block: the runs
    /// are put in order as a whole, which takes far less time than sorting page by page. Only
    /// where two of them overlap, as they do where a block was captured twice, all pages are sorted.
    fn sort_runs(&mut self) -> Result {
        let mut runs: KVVec<Run> = KVVec::new();
        for (index, captured) in self.pages.iter().enumerate() {
            match runs.last_mut() {
                Some(run)
                    if run.last <= captured.address
                        && captured.address / BLOCK_BYTES - run.last / BLOCK_BYTES <= 1 =>
                {
                    run.last = captured.address;
                    run.end = index + 1;
                }
                _ => {
                    let run = Run {
                        first: captured.address,
                        last: captured.address,
                        start: index,
                        end: index + 1,
                    };
                    runs.push(run, GFP_KERNEL)?;
                }
            }
        }
        if runs.len() < 2 {
            return Ok(());
        }
        sort_by_key(&mut runs, |run| run.first);
        let mut after_first = runs.iter().skip(1);
        if !runs
            .iter()
            .all(|run| after_first.next().is_none_or(|next| run.last < next.first))
        {
            sort_by_key(&mut self.pages, |captured| captured.address);
            return Ok(());
        }
        let mut unsorted = KVVec::with_capacity(self.pages.len(), GFP_KERNEL)?;
        for captured in self.pages.drain_all() {
            unsorted.push(Some(captured), GFP_KERNEL)?;
        }
        let in_order = runs.iter().flat_map(|run| run.start..run.end);
        for captured in in_order.filter_map(|index| unsorted.get_mut(index)?.take()) {
            // Cannot fail: it had room for all of them before.
            let _ = self.pages.push_within_capacity(captured);
        }
        Ok(())
    }

    /// Adds all of `more`. May sleep.
    pub(crate) fn append(&mut self, mut more: Self) -> Result {
        self.reserve(more.len())?;
        for captured in more.pages.drain_all() {
            self.pages
                .push_within_capacity(captured)
                .map_err(|_| ENOMEM)?;
        }
        Ok(())
    }

    /// The addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = u64> + '_ {
        self.addresses_of(0..self.len())
    }

    /// The addresses of the pages with these numbers.
    pub(crate) fn addresses_of(&self, numbers: Range<usize>) -> impl Iterator<Item = u64> + '_ {
        let pages = self.pages.get(numbers).unwrap_or_default();
        pages.iter().map(|captured| captured.address & !LOW_BITS)
    }

    /// Addresses and contents.
    pub(crate) fn contents(&self) -> impl Iterator<Item = (u64, &[u8; PAGE_SIZE])> + '_ {
        self.pages
            .iter()
            .map(|captured| (captured.address & !LOW_BITS, captured.page.bytes()))
    }

    /// Lets go of the pages that `keep` does not want.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u64, &[u8; PAGE_SIZE]) -> bool) {
        self.pages
            .retain(|captured| keep(captured.address & !LOW_BITS, captured.page.bytes()));
    }

    /// Lets go of the pages that are zero and need not be stored; `visit` gets their addresses.
    pub(crate) fn drop_zero(&mut self, mut visit: impl FnMut(u64) -> Result) -> Result {
        let mut result = Ok(());
        self.pages.retain(|captured| {
            let zero = captured.address & u64::from(ZERO_UNLESS_STORED) != 0
                && is_zero(captured.page.bytes());
            if zero && result.is_ok() {
                result = visit(captured.address & !LOW_BITS);
            }
            !zero
        });
        result
    }

    /// Writes the new file `name`, which begins with `header`, and lets go of the pages as they are written; `left` gets the
    /// number of those that are not yet. With `sync` it is on the disk when this returns.
    /// May sleep, for as long as the disk takes.
    pub(crate) fn write(
        mut self,
        file: OpenFile,
        name: Name,
        header: &FileHeader,
        sync: bool,
        mut left: impl FnMut(usize),
    ) -> Outcome<Summary> {
        let mut first = NewPage::new()?;
        first.bytes()[..FileHeader::SIZE].copy_from_slice(header.as_bytes());
        file.write_at(0, first.bytes())
            .within(format_args!("{name}"))?;

        let total = self.pages.len() as u64;
        let mut position = PAGE_SIZE as u64;
        let mut crc = CRC_START;
        let mut waiting = self.pages.len();
        let mut pages = self.pages.drain_all();
        let mut block = 0;
        loop {
            // In the page that is written: the kernel's stack has no room for another.
            let mut page = NewPage::new()?;
            let index = Index::mut_from_bytes(page.bytes()).map_err(|_| EINVAL)?;
            index.block = block;
            let mut vector = KVec::with_capacity(1 + INDEX_ENTRIES, GFP_KERNEL)?;
            vector.push(NewPage::new()?.hold(), GFP_KERNEL)?;
            let mut ended = true;
            for entry in index.entries.iter_mut() {
                let Some(captured) = pages.next() else {
                    *entry = IndexEntry::end(total);
                    ended = false;
                    break;
                };
                *entry = IndexEntry::page(
                    captured.address & !LOW_BITS,
                    (captured.address & PROTECTION) as u32,
                    crc32c(CRC_START, captured.page.bytes()),
                );
                vector.push(captured.page, GFP_KERNEL)?;
            }
            index.seal(crc32c);
            crc = crc32c(crc, index.as_bytes());
            if let Some(slot) = vector.first_mut() {
                *slot = page.hold();
            }
            file.write_pages(position, &vector)
                .within(format_args!("{name}"))?;
            position += (vector.len() * PAGE_SIZE) as u64;
            block += 1;
            waiting -= vector.len() - 1;
            drop(vector);
            left(waiting);
            if !ended {
                break;
            }
        }
        if sync {
            file.sync().within(format_args!("{name}"))?;
        }
        Ok(Summary {
            bytes: position,
            crc,
        })
    }
}

/// Whether a page is zero, by words: most pages show that they are not in the first few.
fn is_zero(page: &[u8; PAGE_SIZE]) -> bool {
    page.chunks_exact(8).all(|word| word == [0; 8])
}
