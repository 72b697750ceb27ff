// SPDX-License-Identifier: GPL-2.0

//! Writing files of a version, as the module writes them.

use super::crc32c;
use super::pages::Page;
use anyhow::Result;
use geist_image::global::ManifestEntry;
use geist_image::task_mm::{Index, IndexEntry, INDEX_ENTRIES};
use geist_image::{FileHeader, FileKind, Trailer, CRC_START, PAGE_SIZE};
use std::io::Write;
use zerocopy::IntoBytes as _;

/// Whose file it is.
#[derive(Clone, Copy)]
pub struct Owner {
    /// Application ID.
    pub app: u32,
    /// Process, or 0.
    pub pid: u32,
    /// Number in its name.
    pub number: u64,
}

/// Writes a file with header and trailer; its manifest entry.
pub fn framed(
    out: &mut dyn Write,
    kind: FileKind,
    owner: Owner,
    body: &[u8],
) -> Result<ManifestEntry> {
    let header = FileHeader::new(kind, owner.app, owner.pid, owner.number, crc32c);
    let trailer = Trailer::new(body.len() as u64, crc32c(CRC_START, body));
    out.write_all(header.as_bytes())?;
    out.write_all(body)?;
    out.write_all(trailer.as_bytes())?;
    let bytes = (FileHeader::SIZE + body.len() + Trailer::SIZE) as u64;
    Ok(entry(kind, owner.pid, bytes, trailer.crc))
}

/// An entry of a manifest.
pub fn entry(kind: FileKind, pid: u32, bytes: u64, crc: u32) -> ManifestEntry {
    ManifestEntry {
        kind: kind as u32,
        pid,
        bytes,
        crc,
        reserved: 0,
    }
}

/// Writes a `task_mm` file, page by page.
pub struct PagesWriter<'a> {
    out: &'a mut dyn Write,
    pid: u32,
    index: Box<Index>,
    /// The pages behind the index that is not written yet.
    buffer: Vec<u8>,
    pages: u64,
    bytes: u64,
    crc: u32,
}

impl<'a> PagesWriter<'a> {
    /// Begins the file.
    pub fn begin(out: &'a mut dyn Write, owner: Owner) -> Result<Self> {
        let header = FileHeader::new(FileKind::TaskMm, owner.app, owner.pid, owner.number, crc32c);
        let mut first = [0; PAGE_SIZE];
        first[..FileHeader::SIZE].copy_from_slice(header.as_bytes());
        out.write_all(&first)?;
        Ok(Self {
            out,
            pid: owner.pid,
            index: Box::new(Index::empty(0)),
            buffer: Vec::with_capacity(INDEX_ENTRIES * PAGE_SIZE),
            pages: 0,
            bytes: PAGE_SIZE as u64,
            crc: CRC_START,
        })
    }

    /// Adds a page; addresses must ascend.
    pub fn add(&mut self, page: &Page, content: &[u8; PAGE_SIZE]) -> Result<()> {
        let slot = self.buffer.len() / PAGE_SIZE;
        self.index.entries[slot] = IndexEntry::page(page.address, page.protection, page.crc);
        self.buffer.extend_from_slice(content);
        self.pages += 1;
        match slot + 1 == INDEX_ENTRIES {
            true => self.write_block(),
            false => Ok(()),
        }
    }

    fn write_block(&mut self) -> Result<()> {
        self.index.seal(crc32c);
        self.crc = crc32c(self.crc, self.index.as_bytes());
        self.out.write_all(self.index.as_bytes())?;
        self.out.write_all(&self.buffer)?;
        self.bytes += (PAGE_SIZE + self.buffer.len()) as u64;
        self.buffer.clear();
        let block = self.index.block + 1;
        *self.index = Index::empty(block);
        Ok(())
    }

    /// Ends the file; its manifest entry.
    pub fn finish(mut self) -> Result<ManifestEntry> {
        let slot = self.buffer.len() / PAGE_SIZE;
        self.index.entries[slot] = IndexEntry::end(self.pages);
        self.write_block()?;
        Ok(entry(FileKind::TaskMm, self.pid, self.bytes, self.crc))
    }
}
