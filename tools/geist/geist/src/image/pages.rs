// SPDX-License-Identifier: GPL-2.0

//! The `task_mm` file, read front to back.

use super::crc32c;
use crate::output::Progress;
use geist_image::task_mm::{file_bytes, Index, INDEX_ENTRIES};
use geist_image::{Damage, FileHeader, FileKind, CRC_START, PAGE_SIZE};
use std::fs::File;
use std::io::{self, Read};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// A stored page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its virtual address.
    pub address: u64,
    /// `PROT_*` of its mapping.
    pub protection: u32,
    /// Its CRC32C.
    pub crc: u32,
}

/// What a `task_mm` file holds.
#[derive(Debug)]
pub struct Pages {
    /// Its pages, by offset.
    pub pages: Vec<Page>,
    /// Running CRC32C of all indexes, for the manifest.
    pub index_crc: u32,
}

/// Why a file could not be read.
#[derive(Debug)]
pub enum Failure {
    /// It is damaged.
    Damage(Damage),
    /// A page has another content than its index says.
    Page(u64),
    /// The system could not read it.
    Io(io::Error),
}

impl From<Damage> for Failure {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damage(Damage::Truncated),
            _ => Self::Io(error),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damage(damage) => damage.fmt(f),
            Self::Page(address) => write!(
                f,
                "the checksum of the page at {address:#x} does not fit: it is damaged"
            ),
            Self::Io(error) => write!(f, "it cannot be read: {error}"),
        }
    }
}

/// Reads a whole file and checks every byte of it.
pub fn read(
    mut file: File,
    app: u32,
    pid: u32,
    version: u64,
    progress: &mut Progress,
) -> Result<Pages, Failure> {
    let length = file.metadata()?.len();
    let mut buffer = vec![0u8; INDEX_ENTRIES * PAGE_SIZE];
    let head = &mut buffer[..PAGE_SIZE];
    file.read_exact(head)?;
    FileHeader::read(head, FileKind::TaskMm, app, pid, version, crc32c)?;
    if head[FileHeader::SIZE..].iter().any(|byte| *byte != 0) {
        return Err(Damage::Value("the space behind the header").into());
    }
    let mut pages: Vec<Page> = Vec::new();
    let mut index = Index::new_zeroed();
    let mut index_crc = CRC_START;
    let mut block = 0;
    loop {
        file.read_exact(index.as_mut_bytes())?;
        index_crc = crc32c(index_crc, index.as_bytes());
        let last = pages.last().map_or(0, |page| page.address);
        let (count, ends) = index.check(block, pages.len() as u64, last, crc32c)?;
        let content = &mut buffer[..count * PAGE_SIZE];
        file.read_exact(content)?;
        for (entry, page) in index.entries.iter().zip(content.chunks_exact(PAGE_SIZE)) {
            if crc32c(CRC_START, page) != entry.crc() {
                return Err(Failure::Page(entry.address));
            }
            pages.push(Page {
                address: entry.address,
                protection: entry.protection(),
                crc: entry.crc(),
            });
        }
        progress.advance(((count + 1) * PAGE_SIZE) as u64);
        block += 1;
        if ends {
            break;
        }
    }
    if length != file_bytes(pages.len() as u64) {
        return Err(Damage::TrailingBytes.into());
    }
    Ok(Pages { pages, index_crc })
}
