// SPDX-License-Identifier: GPL-2.0

//! The `control` file: for every stored page, in which version's `task_mm` file it lies and where.
//!
//! Body: a [`ControlHeader`], then [`Extent`]s in ascending order of address. An extent stands for
//! as many rows of the seed's table (offset, virtual address, version) as it has pages.

use super::task_mm::MOST_PAGES;
use super::{Damage, PAGE_SIZE};
use zerocopy::FromBytes;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What stands before the extents.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ControlHeader {
    /// Mappings of the process.
    pub vma_count: u64,
    /// Pages with stored content.
    pub address_count: u64,
    /// Application ID.
    pub app: u32,
    /// Zero.
    pub reserved: u32,
    /// Version whose control file this one builds on; 0: this one is complete.
    pub base: u64,
    /// Number of extents.
    pub extents: u64,
}

/// Neighbouring pages with the same version and consecutive offsets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Extent {
    /// Virtual address of the first page.
    pub address: u64,
    /// Pages.
    pub pages: u64,
    /// Version whose `task_mm` file holds them; 0 (only with a base): no longer there.
    pub version: u64,
    /// Number of the first page in that file, from 0.
    pub offset: u64,
}

impl Extent {
    /// Address behind the last page, `None` when that overflows.
    pub fn end(&self) -> Option<u64> {
        self.pages
            .checked_mul(PAGE_SIZE as u64)
            .and_then(|bytes| self.address.checked_add(bytes))
    }
}

/// The checked content of the control file with number `version`.
pub fn parse(
    body: &[u8],
    app: u32,
    version: u64,
) -> Result<(ControlHeader, impl Iterator<Item = Extent> + Clone + '_), Damage> {
    let (header, rows) = ControlHeader::read_from_prefix(body).map_err(|_| Damage::Truncated)?;
    if header.app != app {
        return Err(Damage::Identity);
    }
    if header.reserved != 0 || header.base >= version {
        return Err(Damage::Value("the control header"));
    }
    let size = core::mem::size_of::<Extent>();
    if rows.len() % size != 0 || (rows.len() / size) as u64 != header.extents {
        return Err(Damage::Value("the number of extents"));
    }
    let extents = rows
        .chunks_exact(size)
        .filter_map(|row| Extent::read_from_bytes(row).ok());
    let mut last_end = 0;
    let mut pages = 0u64;
    for extent in extents.clone() {
        let end = extent.end().ok_or(Damage::Value("an extent"))?;
        let gone = extent.version == 0;
        let last_page = extent.offset.checked_add(extent.pages);
        if extent.address == 0
            || extent.address % PAGE_SIZE as u64 != 0
            || extent.address < last_end
            || extent.pages == 0
            || extent.version > version
            || last_page.is_none_or(|page| page > MOST_PAGES)
            || (gone && (header.base == 0 || extent.offset != 0))
        {
            return Err(Damage::Value("an extent"));
        }
        last_end = end;
        if !gone {
            pages = pages.saturating_add(extent.pages);
        }
    }
    if header.base == 0 && pages != header.address_count {
        return Err(Damage::Value("the number of addresses"));
    }
    Ok((header, extents))
}
