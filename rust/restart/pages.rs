// SPDX-License-Identifier: GPL-2.0

//! The content of a memory: where each page lies, and reading it.

use super::image::damaged;
use crate::error::{fail, Context, Outcome};
use crate::ghost::FileReader;
use crate::image::control::{self, ControlHeader, Extent};
use crate::image::frame::FileHeader;
use crate::image::name::Name;
use crate::image::task_mm::{page_offset, Index, INDEX_ENTRIES};
use crate::image::{Damage, FileKind, CRC_START, PAGE_SIZE};
use crate::sys::crc32c::crc32c;
use crate::sys::file::{Directory, OpenFile};
use crate::track::ControlTree;
use kernel::prelude::*;
use zerocopy::FromBytes;

/// More versions than this do not make up one memory.
const MAX_VERSIONS: usize = 65536;

/// More control files than this do not build on one another.
const LONGEST_CHAIN: usize = 4096;

/// What one control file says.
struct Control {
    header: ControlHeader,
    extents: KVVec<Extent>,
}

fn read_control(directory: &Directory, app: u32, pid: u32, version: u64) -> Outcome<Control> {
    let name = Name::new(FileKind::Control, pid, version);
    let file = FileReader::open(directory, FileKind::Control, app, pid, version)?;
    let (header, rows) = control::parse(file.body(), app, version)
        .map_err(damaged)
        .within(format_args!("{name}"))?;
    let mut extents = KVVec::new();
    for row in rows {
        extents.push(row, GFP_KERNEL)?;
    }
    Ok(Control { header, extents })
}

/// The control tree of a version: its control file, laid over those that it builds on.
pub(super) fn resolve(
    directory: &Directory,
    app: u32,
    pid: u32,
    version: u64,
) -> Outcome<ControlTree> {
    let name = Name::new(FileKind::Control, pid, version);
    let mut chain = KVVec::new();
    let mut next = version;
    // Every file builds on a lower version (`control::parse` sees to it), so this ends.
    while next != 0 {
        if chain.len() == LONGEST_CHAIN {
            fail!(
                E2BIG,
                "{name}: it builds on more than {LONGEST_CHAIN} versions"
            );
        }
        let control = read_control(directory, app, pid, next)?;
        next = control.header.base;
        chain.push(control, GFP_KERNEL)?;
    }
    let mut tree = ControlTree::new();
    for control in chain.iter().rev() {
        for extent in control.extents.iter() {
            if extent.version == 0 {
                let end = extent
                    .end()
                    .ok_or_else(|| damaged(Damage::Value("an extent")))?;
                tree.clear(extent.address, end, &mut |_, _| Ok(()))?;
            } else {
                tree.set(extent, &mut |_, _| Ok(()))?;
            }
        }
        if tree.pages() != control.header.address_count {
            return Err(damaged(Damage::Value("the number of addresses")))
                .within(format_args!("{name}"));
        }
    }
    Ok(tree)
}

/// A `task_mm` file.
struct PageFile {
    version: u64,
    name: Name,
    file: OpenFile,
}

/// Where every page of a memory lies.
pub(super) struct Pages {
    extents: KVVec<Extent>,
    /// Ascending by version.
    files: KVVec<PageFile>,
}

impl Pages {
    /// Reads the `control` files and opens every `task_mm` file that it names. May sleep.
    pub(super) fn open(directory: &Directory, app: u32, pid: u32, version: u64) -> Outcome<Self> {
        let name = Name::new(FileKind::Control, pid, version);
        let tree = resolve(directory, app, pid, version)?;
        let mut extents = KVVec::with_capacity(tree.nodes() as usize, GFP_KERNEL)?;
        for extent in tree.extents() {
            extents.push(extent, GFP_KERNEL)?;
        }
        let mut versions = KVVec::<u64>::new();
        for extent in extents.iter() {
            super::insert_sorted(&mut versions, extent.version, |one| *one)?;
            if versions.len() > MAX_VERSIONS {
                fail!(E2BIG, "{name}: it needs more than {MAX_VERSIONS} versions");
            }
        }
        let mut files = KVVec::with_capacity(versions.len(), GFP_KERNEL)?;
        for version in versions.iter().copied() {
            files.push(PageFile::open(directory, app, pid, version)?, GFP_KERNEL)?;
        }
        let pages = Self { extents, files };
        for extent in pages.extents.iter() {
            pages.file_of(extent).and_then(|file| file.check(extent))?;
        }
        Ok(pages)
    }

    /// The extents, ascending.
    pub(super) fn extents(&self) -> &[Extent] {
        &self.extents
    }

    fn index_of(&self, extent: &Extent) -> Outcome<usize> {
        self.files
            .binary_search_by_key(&extent.version, |file| file.version)
            .map_err(|_| damaged(Damage::Value("an extent")))
    }

    fn file_of(&self, extent: &Extent) -> Outcome<&PageFile> {
        match self.files.get(self.index_of(extent)?) {
            Some(file) => Ok(file),
            None => Err(damaged(Damage::Value("an extent"))),
        }
    }
}

impl PageFile {
    fn open(directory: &Directory, app: u32, pid: u32, version: u64) -> Outcome<Self> {
        let kind = FileKind::TaskMm;
        let name = Name::new(kind, pid, version);
        let file = directory.open(&name).within(format_args!("{name}"))?;
        let mut header = [0; FileHeader::SIZE];
        let read = file
            .read_at(0, &mut header)
            .within(format_args!("{name}"))?;
        let header = header.get(..read).unwrap_or(&[]);
        FileHeader::read(header, kind, app, pid, version, crc32c)
            .map_err(damaged)
            .within(format_args!("{name}"))?;
        Ok(Self {
            version,
            name,
            file,
        })
    }

    /// Whether the file is long enough for the extent.
    fn check(&self, extent: &Extent) -> Outcome {
        // No file has more pages than bytes, and with that few nothing below overflows.
        let size = self.file.size();
        let last = extent
            .offset
            .checked_add(extent.pages - 1)
            .filter(|last| *last < size / PAGE_SIZE as u64);
        match last.map(|last| page_offset(last) + PAGE_SIZE as u64) {
            Some(end) if end <= size => Ok(()),
            _ => fail!(EBADMSG, "{}: {}", self.name, Damage::Truncated),
        }
    }

    fn read(&self, position: u64, bytes: &mut [u8]) -> Outcome {
        let read = self
            .file
            .read_at(position, bytes)
            .within(format_args!("{}", self.name))?;
        if read != bytes.len() {
            fail!(EBADMSG, "{}: {}", self.name, Damage::Truncated);
        }
        Ok(())
    }
}

/// Reads pages, a run of neighbours at a time.
pub(super) struct Reader<'a> {
    pages: &'a Pages,
    /// An index page, and the number of its file and block.
    index: KVVec<u8>,
    loaded: Option<(usize, u64)>,
    buffer: KVVec<u8>,
}

impl<'a> Reader<'a> {
    /// A reader of `pages`. `ENOMEM`.
    pub(super) fn new(pages: &'a Pages) -> Outcome<Self> {
        Ok(Self {
            pages,
            index: KVVec::from_elem(0, PAGE_SIZE, GFP_KERNEL)?,
            loaded: None,
            buffer: KVVec::from_elem(0, INDEX_ENTRIES * PAGE_SIZE, GFP_KERNEL)?,
        })
    }

    /// Reads pages of an extent, from number `skip` of it on: at least one, at most `most`, which
    /// is not 0, as many as lie behind one index. Checks that they are the right ones. May sleep.
    pub(super) fn read(&mut self, extent: &Extent, skip: u64, most: u64) -> Outcome<&[u8]> {
        let number = self.pages.index_of(extent)?;
        let file = self.pages.file_of(extent)?;
        // Neither overflows: the end of the extent lies in the file.
        let page = extent.offset + skip;
        let address = extent.address + skip * PAGE_SIZE as u64;
        let (block, slot) = (
            page / INDEX_ENTRIES as u64,
            (page % INDEX_ENTRIES as u64) as usize,
        );
        let count = most
            .min(extent.pages.saturating_sub(skip))
            .min((INDEX_ENTRIES - slot) as u64) as usize;

        if self.loaded != Some((number, block)) {
            self.loaded = None;
            let position = page_offset(block * INDEX_ENTRIES as u64) - PAGE_SIZE as u64;
            file.read(position, &mut self.index)?;
        }
        let Ok(index) = Index::ref_from_bytes(&self.index) else {
            return Err(damaged(Damage::Value("an index")));
        };
        let wrong = |what: core::fmt::Arguments<'_>| {
            crate::error::Failure::new(EBADMSG, format_args!("{}: {what}", file.name))
        };
        if self.loaded.is_none() {
            index
                .check(block, block * INDEX_ENTRIES as u64, 0, crc32c)
                .map_err(|damage| wrong(format_args!("block {block}: {damage}")))?;
            self.loaded = Some((number, block));
        }
        let Some(entries) = index.entries.get(slot..slot + count) else {
            return Err(damaged(Damage::Value("an index")));
        };
        let Some(buffer) = self.buffer.get_mut(..count * PAGE_SIZE) else {
            return Err(damaged(Damage::Value("an index")));
        };
        file.read(page_offset(page), buffer)?;
        for (nth, (entry, bytes)) in entries.iter().zip(buffer.chunks(PAGE_SIZE)).enumerate() {
            let expected = address + (nth * PAGE_SIZE) as u64;
            if entry.address != expected {
                return Err(wrong(format_args!(
                    "page {} is that of {:#x}, not of {expected:#x} as the control file has it",
                    page + nth as u64,
                    entry.address
                )));
            }
            if crc32c(CRC_START, bytes) != entry.crc() {
                return Err(wrong(format_args!(
                    "page {} ({expected:#x}): {}",
                    page + nth as u64,
                    Damage::Checksum
                )));
            }
        }
        Ok(buffer)
    }
}
