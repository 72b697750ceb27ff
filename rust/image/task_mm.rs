// SPDX-License-Identifier: GPL-2.0

//! The `task_mm` file: pages, written and read strictly in order.
//!
//! A page with the [`super::FileHeader`] (the rest of it zero), then blocks. A block is one
//! [`Index`] of up to [`INDEX_ENTRIES`] entries, followed by a page for every entry, so that page
//! content is page-aligned in the file. The entry with address 0 ends the file and holds the
//! number of exported pages. Entries behind it are zero. Addresses ascend.

use super::{Crc32c, Damage, CRC_START, PAGE_SIZE};
use zerocopy::{FromZeros, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Entries in an index.
pub const INDEX_ENTRIES: usize = 255;

/// An entry: a page, or the end.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IndexEntry {
    /// Virtual address of the page; 0: the end.
    pub address: u64,
    /// Page: protection flags (`PROT_*`) in the low half, CRC32C in the high. End: pages exported.
    pub value: u64,
}

impl IndexEntry {
    /// The entry of a page.
    pub fn page(address: u64, protection: u32, crc: u32) -> Self {
        Self {
            address,
            value: u64::from(protection) | (u64::from(crc) << 32),
        }
    }

    /// The entry that ends a file of `pages` pages.
    pub fn end(pages: u64) -> Self {
        Self {
            address: 0,
            value: pages,
        }
    }

    /// Protection flags (`PROT_*`) of the page.
    pub fn protection(&self) -> u32 {
        self.value as u32
    }

    /// CRC32C of the page.
    pub fn crc(&self) -> u32 {
        (self.value >> 32) as u32
    }
}

/// The first page of a block.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Index {
    /// Pages, then possibly the end.
    pub entries: [IndexEntry; INDEX_ENTRIES],
    /// Number of the block, from 0.
    pub block: u64,
    /// Zero.
    pub reserved: u32,
    /// CRC32C of the bytes before this field.
    pub crc: u32,
}

const _: () = assert!(core::mem::size_of::<Index>() == PAGE_SIZE);

impl Index {
    /// An index without entries.
    pub fn empty(block: u64) -> Self {
        let mut index = Self::new_zeroed();
        index.block = block;
        index
    }

    /// Sets the checksum, after all entries are set.
    pub fn seal(&mut self, crc32c: Crc32c) {
        self.crc = self.computed_crc(crc32c);
    }

    fn computed_crc(&self, crc32c: Crc32c) -> u32 {
        crc32c(CRC_START, super::all_but_crc(self.as_bytes()))
    }

    /// Checks the index that was read as number `block`, with `pages` pages before it, the last of
    /// them at `last_address` (0: none). Returns the number of pages that follow, and whether the
    /// file ends behind them.
    pub fn check(
        &self,
        block: u64,
        pages: u64,
        last_address: u64,
        crc32c: Crc32c,
    ) -> Result<(usize, bool), Damage> {
        if self.crc != self.computed_crc(crc32c) {
            return Err(Damage::Checksum);
        }
        if self.block != block || self.reserved != 0 {
            return Err(Damage::Value("an index"));
        }
        let count = self
            .entries
            .iter()
            .position(|entry| entry.address == 0)
            .unwrap_or(INDEX_ENTRIES);
        let (listed, behind) = self.entries.split_at(count);
        let mut last = last_address;
        for entry in listed {
            if entry.address <= last || entry.address % PAGE_SIZE as u64 != 0 {
                return Err(Damage::Value("an address"));
            }
            last = entry.address;
        }
        let Some((end, rest)) = behind.split_first() else {
            return Ok((count, false));
        };
        if end.value != pages + count as u64 {
            return Err(Damage::Value("the number of exported pages"));
        }
        if rest
            .iter()
            .any(|entry| entry.address != 0 || entry.value != 0)
        {
            return Err(Damage::Value("an entry behind the end"));
        }
        Ok((count, true))
    }
}

/// More pages no file has: what is computed of their numbers stays below 2^64.
pub const MOST_PAGES: u64 = 1 << 50;

/// Place of page number `page` (from 0, below [`MOST_PAGES`]) in the file, bytes.
pub const fn page_offset(page: u64) -> u64 {
    let block = page / INDEX_ENTRIES as u64;
    (1 + block + 1 + page) * PAGE_SIZE as u64
}

/// Bytes of a file with `pages` pages, at most [`MOST_PAGES`]: its header, indexes (one more when the last is full) and
/// pages.
pub const fn file_bytes(pages: u64) -> u64 {
    (1 + pages / INDEX_ENTRIES as u64 + 1 + pages) * PAGE_SIZE as u64
}
