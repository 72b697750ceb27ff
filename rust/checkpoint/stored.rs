// SPDX-License-Identifier: GPL-2.0

//! What earlier versions store, to be compared with what was captured.
//!
//! Where many pages of a block were captured though nobody saw them being written, as after khugepaged made
//! a huge page of them or after a fork, most of them are what they were.

use crate::image::control::Extent;
use crate::image::name::Name;
use crate::image::task_mm::{page_offset, INDEX_ENTRIES};
use crate::image::{FileKind, PAGE_SIZE};
use crate::sys::file::{Directory, OpenFile};
use crate::track::ControlTree;
use core::ops::Range;
use kernel::prelude::*;

/// Pages that are read at once.
const AT_ONCE: u64 = 64;

/// The stored pages of one process.
pub(super) struct Stored<'a> {
    directory: &'a Directory,
    pid: u32,
    /// The version that was needed last; 0: none.
    version: u64,
    /// Its `task_mm` file, if that could be opened.
    file: Option<OpenFile>,
    /// Pages of that file which `buffer` begins with.
    read: Range<u64>,
    buffer: KVVec<u8>,
}

impl<'a> Stored<'a> {
    /// What the versions in `directory` store of process `pid`. `ENOMEM`. May sleep.
    pub(super) fn new(directory: &'a Directory, pid: u32) -> Result<Self> {
        Ok(Self {
            directory,
            pid,
            version: 0,
            file: None,
            read: 0..0,
            buffer: KVVec::from_elem(0, AT_ONCE as usize * PAGE_SIZE, GFP_KERNEL)?,
        })
    }

    /// Whether `tree` has the page at `address`, stored with this content. What cannot be read is not:
    /// it is stored once more. May sleep.
    pub(super) fn has(
        &mut self,
        tree: &ControlTree,
        address: u64,
        content: &[u8; PAGE_SIZE],
    ) -> bool {
        let Some(extent) = tree.find(address) else {
            return false;
        };
        let page = extent.offset + (address - extent.address) / PAGE_SIZE as u64;
        if self.version != extent.version {
            self.open(extent.version);
        }
        if !self.read.contains(&page) {
            self.read_ahead(&extent, page);
        }
        let at = page.wrapping_sub(self.read.start) as usize * PAGE_SIZE;
        self.read.contains(&page) && self.buffer.get(at..at + PAGE_SIZE) == Some(content)
    }

    fn open(&mut self, version: u64) {
        let name = Name::new(FileKind::TaskMm, self.pid, version);
        self.version = version;
        self.file = self.directory.open(&name).ok();
        self.read = 0..0;
    }

    /// Reads page number `page` of the file, and what of the extent follows it at once.
    fn read_ahead(&mut self, extent: &Extent, page: u64) {
        self.read = 0..0;
        let Some(file) = &self.file else {
            return;
        };
        // An index follows.
        let together = INDEX_ENTRIES as u64 - page % INDEX_ENTRIES as u64;
        let wanted = (extent.offset + extent.pages - page)
            .min(together)
            .min(AT_ONCE);
        let Some(buffer) = self.buffer.get_mut(..wanted as usize * PAGE_SIZE) else {
            return;
        };
        let read = file.read_at(page_offset(page), buffer).unwrap_or(0);
        self.read = page..page + (read / PAGE_SIZE) as u64;
    }
}
