// SPDX-License-Identifier: GPL-2.0

//! Two memories, page by page.
//!
//! The address space is cut where a mapping of either side begins or ends, so that every piece lies
//! in one mapping, or none, of each side.

use crate::image::{Damaged, Page, StoredPages, Task};
use crate::output::Progress;
use crate::store::App;
use geist_image::control::Extent;
use geist_image::mm::{vma_flags, Vma, VmaKind};
use geist_image::PAGE_SIZE;
use std::collections::BTreeSet;

const PAGE: u64 = PAGE_SIZE as u64;

/// One of the two memories.
pub struct Side<'a> {
    /// The process.
    pub task: &'a Task,
    /// Where its pages lie.
    pub extents: &'a [Extent],
}

/// What is of interest of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its permissions as `/proc/PID/maps` has them.
    pub perms: String,
    /// Path of its file, or the name that the program gave it.
    pub name: String,
    /// What is mapped: the kind, and where in the file the piece begins.
    backing: (u32, String, u64),
    /// What is not stored is zero.
    zero_filled: bool,
}

/// How a page differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It has another content.
    Changed,
    /// Only the second version has content for it.
    New,
    /// Only the first version has.
    Gone,
}

impl Kind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::New => "new",
            Self::Gone => "gone",
        }
    }
}

/// A piece of the address space.
#[derive(Debug)]
pub struct Piece {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// The mapping that it lies in, of both sides.
    pub mappings: [Option<Mapping>; 2],
    /// Stored pages of both sides.
    pub stored: [u64; 2],
    /// Pages that differ.
    pub ranges: Vec<(u64, u64, Kind)>,
}

impl Piece {
    /// What became of the mapping.
    pub fn fate(&self) -> &'static str {
        match &self.mappings {
            [Some(from), Some(to)] if from.backing != to.backing => "replaced",
            [Some(from), Some(to)] if from.perms != to.perms => "protection",
            [None, Some(_)] => "came",
            [Some(_), None] => "went",
            _ => "same",
        }
    }

    /// Whether there is a difference.
    pub fn differs(&self) -> bool {
        !self.ranges.is_empty() || self.fate() != "same"
    }

    /// Number of pages that differ so.
    pub fn count(&self, kind: Kind) -> u64 {
        let ranges = self.ranges.iter().filter(|(_, _, of)| *of == kind);
        ranges.map(|(start, end, _)| (end - start) / PAGE).sum()
    }

    fn add(&mut self, address: u64, kind: Kind) {
        match self.ranges.last_mut() {
            Some((_, end, of)) if *end == address && *of == kind => *end += PAGE,
            _ => self.ranges.push((address, address + PAGE, kind)),
        }
    }
}

/// Compares the memories of a process; all pieces in ascending order.
pub fn process(
    app: &App,
    pid: u32,
    sides: &[Side<'_>; 2],
    progress: &mut Progress,
) -> Result<Vec<Piece>, Damaged> {
    let mut pieces = pieces(sides);
    let mut stored = StoredPages::new(app);
    let mut places = [Places::new(sides[0].extents), Places::new(sides[1].extents)];
    for piece in &mut pieces {
        // Only stored pages are looked at: a mapping may be huge and empty.
        let mut address = piece.start;
        loop {
            let next = |places: &mut Places<'_>| places.next_from(address, piece.end);
            let here = [next(&mut places[0]), next(&mut places[1])];
            let Some(page) = here.iter().flatten().map(|place| place.address).min() else {
                break;
            };
            let here = here.map(|place| place.filter(|place| place.address == page));
            for side in [0, 1] {
                piece.stored[side] += u64::from(here[side].is_some());
            }
            if here[1].is_some() {
                progress.advance(1);
            }
            if let Some(kind) = compare(&mut stored, pid, piece, here)? {
                piece.add(page, kind);
            }
            address = page + PAGE;
        }
    }
    Ok(pieces)
}

/// How one page differs, if it does.
fn compare(
    stored: &mut StoredPages<'_>,
    pid: u32,
    piece: &Piece,
    here: [Option<Place>; 2],
) -> Result<Option<Kind>, Damaged> {
    let zero_filled = |side: usize| {
        let mapping = piece.mappings[side].as_ref();
        mapping.is_some_and(|one| one.zero_filled)
    };
    match here {
        [Some(from), Some(to)] if from == to => Ok(None),
        [Some(from), Some(to)] => {
            let mut page = |place: Place| -> Result<Page, Damaged> {
                stored.page(pid, place.number, place.offset, place.address)
            };
            if page(from)?.crc != page(to)?.crc {
                return Ok(Some(Kind::Changed));
            }
            let mut content = |place: Place| {
                let read = stored.content(pid, place.number, place.offset, place.address)?;
                Ok(read.1)
            };
            Ok((content(from)? != content(to)?).then_some(Kind::Changed))
        }
        [Some(from), None] if zero_filled(1) && is_zero(stored, pid, from)? => Ok(None),
        [None, Some(to)] if zero_filled(0) && is_zero(stored, pid, to)? => Ok(None),
        [Some(_), None] => Ok(Some(Kind::Gone)),
        [None, Some(_)] => Ok(Some(Kind::New)),
        [None, None] => Ok(None),
    }
}

fn is_zero(stored: &mut StoredPages<'_>, pid: u32, place: Place) -> Result<bool, Damaged> {
    let (_, content) = stored.content(pid, place.number, place.offset, place.address)?;
    Ok(content.iter().all(|byte| *byte == 0))
}

/// Where a page lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    address: u64,
    number: u64,
    offset: u64,
}

/// Walks over the extents of a side.
struct Places<'a> {
    extents: &'a [Extent],
}

impl<'a> Places<'a> {
    fn new(extents: &'a [Extent]) -> Self {
        Self { extents }
    }

    /// The first stored page from `start` to `end`; `start` never falls.
    fn next_from(&mut self, start: u64, end: u64) -> Option<Place> {
        while let Some((first, rest)) = self.extents.split_first() {
            if first.end().is_some_and(|end| end > start) {
                let address = first.address.max(start);
                let place = Place {
                    address,
                    number: first.version,
                    offset: first.offset + (address - first.address) / PAGE,
                };
                return (address < end).then_some(place);
            }
            self.extents = rest;
        }
        None
    }
}

/// The address space, cut at every border, without what neither side has mapped.
fn pieces(sides: &[Side<'_>; 2]) -> Vec<Piece> {
    let mut borders = BTreeSet::new();
    for (vma, _) in sides.iter().flat_map(|side| &side.task.vmas) {
        borders.extend([vma.start, vma.end]);
    }
    let borders: Vec<u64> = borders.into_iter().collect();
    let mut vmas = [0, 1].map(|side| sides[side].task.vmas.iter().peekable());
    let mut pieces = Vec::new();
    for pair in borders.windows(2) {
        let (start, end) = (pair[0], pair[1]);
        let mut mapping = |side: usize| {
            let vmas = &mut vmas[side];
            while vmas.next_if(|(vma, _)| vma.end <= start).is_some() {}
            let (vma, name) = vmas.peek()?;
            (vma.start <= start).then(|| describe(sides[side].task, vma, name, start))
        };
        let mappings = [mapping(0), mapping(1)];
        if mappings.iter().any(Option::is_some) {
            pieces.push(Piece {
                start,
                end,
                mappings,
                stored: [0, 0],
                ranges: Vec::new(),
            });
        }
    }
    pieces
}

fn describe(task: &Task, vma: &Vma, name: &[u8], start: u64) -> Mapping {
    let letter = |flag: u64, letter: char, other: char| match vma.flags & flag {
        0 => other,
        _ => letter,
    };
    let perms = [
        letter(vma_flags::READ, 'r', '-'),
        letter(vma_flags::WRITE, 'w', '-'),
        letter(vma_flags::EXEC, 'x', '-'),
        letter(vma_flags::SHARED, 's', 'p'),
    ];
    let path = task.object(vma.object).map(|(_, path)| path.as_slice());
    let path = String::from_utf8_lossy(path.unwrap_or_default()).into_owned();
    let kind = VmaKind::from_number(vma.kind);
    let offset = match kind {
        Some(VmaKind::Anonymous) | None => 0,
        _ => vma.offset.saturating_add(start - vma.start),
    };
    let shown = match (kind, path.is_empty(), name.is_empty()) {
        (Some(VmaKind::Vdso), ..) => "[vdso]".to_owned(),
        (Some(VmaKind::Vvar), ..) => "[vvar]".to_owned(),
        (_, false, _) => path.clone(),
        (_, true, false) => format!("[anon:{}]", String::from_utf8_lossy(name)),
        _ if vma.flags & vma_flags::GROWS_DOWN != 0 => "[stack]".to_owned(),
        _ if vma.start < task.mm.brk && vma.end > task.mm.start_brk => "[heap]".to_owned(),
        _ => String::new(),
    };
    Mapping {
        perms: perms.iter().collect(),
        name: shown,
        backing: (vma.kind, path, offset),
        zero_filled: matches!(kind, Some(VmaKind::Anonymous | VmaKind::SharedMemory)),
    }
}
