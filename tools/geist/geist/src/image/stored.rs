// SPDX-License-Identifier: GPL-2.0

//! Single pages of `task_mm` files, wherever they lie.

use super::pages::Page;
use super::{crc32c, Damaged};
use crate::store::App;
use geist_image::name::Name;
use geist_image::task_mm::{page_offset, Index, INDEX_ENTRIES};
use geist_image::{Damage, FileHeader, FileKind, CRC_START, PAGE_SIZE};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Files that are kept open; a program may have 1024 by default.
const MOST_OPEN: usize = 256;

/// An open file, and the index that was read last.
struct Opened {
    file: File,
    index: Option<(u64, Box<Index>)>,
}

/// Reads pages by the number of the file and their offset in it, each of them checked.
pub struct StoredPages<'a> {
    app: &'a App,
    open: HashMap<(u32, u64), Opened>,
}

impl<'a> StoredPages<'a> {
    /// Those of `app`.
    pub fn new(app: &'a App) -> Self {
        Self {
            app,
            open: HashMap::new(),
        }
    }

    /// What the index of file `number` of process `pid` says of page `offset`, which must be that of
    /// `address`.
    pub fn page(
        &mut self,
        pid: u32,
        number: u64,
        offset: u64,
        address: u64,
    ) -> Result<Page, Damaged> {
        let name = Name::new(FileKind::TaskMm, pid, number);
        let app = self.app.id;
        let damaged = |why: &dyn std::fmt::Display| Damaged::new(app, number, &name, why);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged(&Damage::Truncated),
            io::ErrorKind::NotFound => damaged(&"it is missing"),
            _ => damaged(&format!("it cannot be read: {error}")),
        };
        let (block, slot) = (
            offset / INDEX_ENTRIES as u64,
            (offset % INDEX_ENTRIES as u64) as usize,
        );
        let opened = self.file(pid, number).map_err(failed)?;
        if opened.index.as_ref().is_none_or(|(read, _)| *read != block) {
            let mut index = Box::new(Index::new_zeroed());
            let position = page_offset(block.saturating_mul(INDEX_ENTRIES as u64));
            let read = &mut opened.file;
            read.read_exact_at(index.as_mut_bytes(), position - PAGE_SIZE as u64)
                .map_err(failed)?;
            index
                .check(block, block * INDEX_ENTRIES as u64, 0, crc32c)
                .map_err(|damage| damaged(&damage))?;
            opened.index = Some((block, index));
        }
        let entry = opened.index.as_ref().map(|(_, index)| index.entries[slot]);
        match entry {
            Some(entry) if entry.address == address => Ok(Page {
                address,
                protection: entry.protection(),
                crc: entry.crc(),
            }),
            _ => Err(damaged(&format!(
                "the page at {address:#x} is not at offset {offset}"
            ))),
        }
    }

    /// The content of that page.
    pub fn content(
        &mut self,
        pid: u32,
        number: u64,
        offset: u64,
        address: u64,
    ) -> Result<(Page, [u8; PAGE_SIZE]), Damaged> {
        let page = self.page(pid, number, offset, address)?;
        let name = Name::new(FileKind::TaskMm, pid, number);
        let app = self.app.id;
        let mut content = [0; PAGE_SIZE];
        self.file(pid, number)
            .and_then(|opened| opened.file.read_exact_at(&mut content, page_offset(offset)))
            .map_err(|error| {
                Damaged::new(app, number, &name, &format!("it cannot be read: {error}"))
            })?;
        match crc32c(CRC_START, &content) == page.crc {
            true => Ok((page, content)),
            false => Err(Damaged::new(
                app,
                number,
                &name,
                &format!("the checksum of the page at {address:#x} does not fit: it is damaged"),
            )),
        }
    }

    fn file(&mut self, pid: u32, number: u64) -> io::Result<&mut Opened> {
        if self.open.len() >= MOST_OPEN && !self.open.contains_key(&(pid, number)) {
            self.open.clear();
        }
        match self.open.entry((pid, number)) {
            std::collections::hash_map::Entry::Occupied(found) => Ok(found.into_mut()),
            std::collections::hash_map::Entry::Vacant(room) => {
                let name = Name::new(FileKind::TaskMm, pid, number);
                let file = self.app.open_file(name.as_str())?;
                let mut head = [0; FileHeader::SIZE];
                file.read_exact_at(&mut head, 0)?;
                FileHeader::read(&head, FileKind::TaskMm, self.app.id, pid, number, crc32c)
                    .map_err(|damage| io::Error::other(damage.to_string()))?;
                Ok(room.insert(Opened { file, index: None }))
            }
        }
    }
}
