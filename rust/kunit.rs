// SPDX-License-Identifier: GPL-2.0

//! Tests of the parts that stand alone, in the kernel itself: where it has KUnit, they run when the
//! module is loaded (`scripts/vm --kernel debug`; the results are in the kernel's log).

// What `kunit_tests` makes of a test is unsafe; no test is.
#![allow(unsafe_code)]

use kernel::prelude::*;

/// Numbers that are the same at every run.
#[cfg(CONFIG_KUNIT = "y")]
struct Numbers(u64);

#[cfg(CONFIG_KUNIT = "y")]
impl Numbers {
    /// The next one below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        // Knuth's MMIX generator, whose high bits are good.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[kunit_tests(geist_ghost)]
mod ghost {
    use super::*;
    use crate::ghost::{GhostRead, GhostWrite, MemoryGhost, RecordReader, RecordWriter};
    use crate::image::files::{Descriptor, FileObject};
    use crate::image::mm::GuardPages;
    use zerocopy::FromZeros;

    const GUARD: GuardPages = GuardPages {
        start: 4096,
        end: 8192,
    };

    /// A ghost with two records, of which one has a tail that needs padding.
    fn two_records() -> MemoryGhost {
        let mut ghost = MemoryGhost::new();
        let mut out = RecordWriter::new(&mut ghost);
        let object = FileObject::new_zeroed();
        assert!(out.record(&GUARD).is_ok());
        assert!(out.record_with_tail(&object, b"/a path").is_ok());
        assert!(out.finish().is_ok());
        ghost
    }

    #[test]
    fn what_is_written_is_read_in_order() {
        let mut ghost = MemoryGhost::new();
        for number in 0..3000u32 {
            assert!(ghost.write(&number.to_le_bytes()).is_ok());
        }
        assert_eq!(ghost.as_bytes().len(), 12000);
        for number in 0..3000u32 {
            let mut bytes = [0; 4];
            assert!(ghost.read(&mut bytes).is_ok());
            assert_eq!(u32::from_le_bytes(bytes), number);
        }
        let mut more = [0; 1];
        assert_eq!(
            ghost.read(&mut more).err().map(|why| why.errno),
            Some(ENODATA)
        );
    }

    #[test]
    fn a_short_read_takes_nothing() {
        let mut ghost = MemoryGhost::new();
        assert!(ghost.write(b"abc").is_ok());
        let mut four = [0; 4];
        assert!(ghost.read(&mut four).is_err());
        let mut three = [0; 3];
        assert!(ghost.read(&mut three).is_ok());
        assert_eq!(&three, b"abc");
    }

    #[test]
    fn records_there_and_back() {
        let mut ghost = two_records();
        let mut records = RecordReader::new(&mut ghost);
        let mut guards = 0;
        let mut objects = 0;
        while let Ok(Some(record)) = records.next() {
            assert!(record.decode::<Descriptor>().is_none());
            if let Some(Ok((guard, tail))) = record.decode::<GuardPages>() {
                assert!(guard == GUARD && tail.is_empty());
                guards += 1;
            }
            if let Some(Ok((_, tail))) = record.decode::<FileObject>() {
                assert!(tail == b"/a path");
                objects += 1;
            }
        }
        assert_eq!((guards, objects), (1, 1));
        assert!(matches!(records.next(), Ok(None)));
    }

    #[test]
    fn a_cut_ghost_is_no_image() {
        let whole = two_records();
        let bytes = whole.as_bytes();
        for cut in 0..bytes.len() {
            let mut ghost = MemoryGhost::new();
            assert!(ghost.write(&bytes[..cut]).is_ok());
            let mut records = RecordReader::new(&mut ghost);
            let ended = loop {
                match records.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            };
            assert!(!ended);
        }
    }

    #[test]
    fn a_tail_that_is_too_long_is_refused() {
        let mut ghost = MemoryGhost::new();
        let mut out = RecordWriter::new(&mut ghost);
        let refused = out.record_with_tail(&GUARD, b"x");
        assert_eq!(refused.err().map(|why| why.errno), Some(E2BIG));
    }
}

#[kunit_tests(geist_tree)]
mod tree {
    use super::*;
    use crate::image::control::Extent;
    use crate::image::PAGE_SIZE;
    use crate::track::ControlTree;

    const PAGES: u64 = 512;

    fn extent(page: u64, pages: u64, version: u64, offset: u64) -> Extent {
        Extent {
            address: page * PAGE_SIZE as u64,
            pages,
            version,
            offset,
        }
    }

    fn set(tree: &mut ControlTree, extent: Extent) {
        assert!(tree.set(&extent, &mut |_, _| Ok(())).is_ok());
    }

    fn clear(tree: &mut ControlTree, page: u64, behind: u64) {
        let [start, end] = [page, behind].map(|page| page * PAGE_SIZE as u64);
        assert!(tree.clear(start, end, &mut |_, _| Ok(())).is_ok());
    }

    #[test]
    fn neighbours_are_one_node() {
        let mut tree = ControlTree::new();
        for page in [3, 1, 2, 0] {
            set(&mut tree, extent(page, 1, 1, page));
        }
        assert_eq!((tree.nodes(), tree.pages()), (1, 4));
        // Of another version, or elsewhere in the file: nodes of their own.
        set(&mut tree, extent(4, 1, 2, 4));
        set(&mut tree, extent(5, 1, 2, 9));
        assert_eq!((tree.nodes(), tree.pages()), (3, 6));
    }

    #[test]
    fn a_page_in_the_middle_splits() {
        let mut tree = ControlTree::new();
        set(&mut tree, extent(10, 100, 1, 0));
        set(&mut tree, extent(50, 1, 2, 0));
        assert_eq!((tree.nodes(), tree.pages()), (3, 100));
        let mut lost = 0;
        let undone = extent(50, 1, 1, 40);
        assert!(tree
            .set(&undone, &mut |version, pages| {
                lost += version * 100 + pages;
                Ok(())
            })
            .is_ok());
        assert_eq!(lost, 201);
        assert_eq!((tree.nodes(), tree.pages()), (1, 100));
        clear(&mut tree, 0, 1000);
        assert_eq!((tree.nodes(), tree.pages()), (0, 0));
    }

    /// Against a table with an entry a page.
    #[test]
    fn as_a_plain_table() {
        let mut numbers = Numbers(1);
        let mut tree = ControlTree::new();
        let mut table = [(0u64, 0u64); PAGES as usize];
        for version in 1..400u64 {
            let page = numbers.below(PAGES);
            let pages = 1 + numbers.below(40).min(PAGES - page - 1);
            if numbers.below(3) == 0 {
                clear(&mut tree, page, page + pages);
                table[page as usize..][..pages as usize].fill((0, 0));
            } else {
                let offset = numbers.below(3) * 7;
                let version = 1 + version % 5;
                set(&mut tree, extent(page, pages, version, offset));
                for (number, place) in (offset..).zip(&mut table[page as usize..][..pages as usize])
                {
                    *place = (version, number);
                }
            }
            let mut seen = [(0u64, 0u64); PAGES as usize];
            let mut behind = 0;
            let mut nodes = 0;
            for one in tree.extents() {
                nodes += 1;
                assert!(one.address >= behind && one.pages > 0);
                behind = one.address + one.pages * PAGE_SIZE as u64;
                let first = one.address as usize / PAGE_SIZE;
                for (number, place) in (one.offset..).zip(&mut seen[first..][..one.pages as usize])
                {
                    *place = (one.version, number);
                }
            }
            assert!(seen == table);
            assert_eq!(nodes, tree.nodes());
            let there = table.iter().filter(|place| place.0 != 0).count() as u64;
            assert_eq!(there, tree.pages());
        }
    }
}

#[kunit_tests(geist_dirty)]
mod dirty {
    use super::*;
    use crate::image::PAGE_SIZE;
    use crate::track::{DirtySet, BLOCK_BYTES};
    use kernel::alloc::Allocator;

    const PAGE: u64 = PAGE_SIZE as u64;

    fn new(blocks: usize) -> Result<Pin<KBox<DirtySet>>> {
        KBox::try_pin_init(DirtySet::new(blocks), GFP_KERNEL)
    }

    /// All pages of a bit map of a block.
    fn pages<A: Allocator>(
        list: &mut Vec<u64, A>,
        address: u64,
        bits: &crate::track::PageBits,
    ) -> Result {
        let mut from = 0;
        while let Some(page) = bits.first_from(from) {
            list.push(address + page as u64 * PAGE, GFP_KERNEL)?;
            from = page + 1;
        }
        Ok(())
    }

    /// Takes everything: written pages, and written or suspect ones, both ascending.
    fn take(set: &DirtySet) -> Result<(KVec<u64>, KVec<u64>)> {
        let (mut written, mut either) = (KVec::new(), KVec::new());
        set.take(|block| {
            pages(&mut written, block.address, &block.written)?;
            pages(&mut either, block.address, &block.either)
        })?;
        written.sort_unstable();
        either.sort_unstable();
        Ok((written, either))
    }

    #[test]
    fn what_is_written_is_taken_once() -> Result {
        let set = new(64)?;
        let wanted = [
            5 * PAGE,
            6 * PAGE,
            BLOCK_BYTES + 511 * PAGE,
            77 * BLOCK_BYTES,
        ];
        for address in wanted {
            set.written(address + 123);
            set.written(address);
        }
        assert_eq!(set.count(), 4);
        let (written, either) = take(&set)?;
        assert!(written.as_slice() == wanted && either.as_slice() == wanted);
        let (written, either) = take(&set)?;
        assert!(written.is_empty() && either.is_empty());
        assert_eq!(set.count(), 0);
        Ok(())
    }

    #[test]
    fn suspects_are_told_from_written_pages() -> Result {
        let set = new(64)?;
        set.written(3 * PAGE);
        set.suspect_range(2 * PAGE, 5 * PAGE);
        let (written, either) = take(&set)?;
        assert!(written.as_slice() == [3 * PAGE]);
        assert!(either.as_slice() == [2 * PAGE, 3 * PAGE, 4 * PAGE]);
        // A block that the set never saw holds no page of a version.
        set.suspect_range(9 * BLOCK_BYTES, 10 * BLOCK_BYTES);
        assert_eq!(set.count(), 0);
        set.suspect_block(9 * BLOCK_BYTES + PAGE);
        assert_eq!(set.count(), BLOCK_BYTES / PAGE);
        Ok(())
    }

    #[test]
    fn a_range_over_everything() -> Result {
        let set = new(64)?;
        for block in [0, 3, 1000] {
            set.know(block * BLOCK_BYTES);
        }
        set.suspect_range(0, u64::MAX);
        assert_eq!(set.count(), 3 * (BLOCK_BYTES / PAGE));
        Ok(())
    }

    #[test]
    fn a_full_set_says_so() -> Result {
        let set = new(64)?;
        assert!(!set.has_overflowed() && !set.is_crowded());
        for block in 0..set.capacity() as u64 {
            set.written(block * BLOCK_BYTES);
        }
        assert!(set.is_crowded());
        let before = set.has_overflowed();
        for block in 0..64 {
            set.written((1_000_000 + block) * BLOCK_BYTES);
        }
        assert!(set.has_overflowed() && !before);
        Ok(())
    }

    #[test]
    fn forks_and_unmapped_ranges() -> Result {
        let set = new(64)?;
        assert!(!set.take_forked());
        set.forked();
        assert!(set.take_forked() && !set.take_forked());
        set.unmapped(8 * PAGE, 9 * PAGE);
        set.unmapped(2 * PAGE, 4 * PAGE);
        set.unmapped(3 * PAGE, 6 * PAGE);
        let ranges = set.take_unmapped()?;
        assert!(ranges.as_slice() == [(2 * PAGE, 6 * PAGE), (8 * PAGE, 9 * PAGE)]);
        assert!(set.take_unmapped()?.is_empty());
        // More than there is room for are widened, never forgotten.
        for number in 0..1000 {
            set.unmapped(2 * number * PAGE, (2 * number + 1) * PAGE);
        }
        let ranges = set.take_unmapped()?;
        for number in 0..1000 {
            let at = 2 * number * PAGE;
            assert!(ranges
                .iter()
                .any(|range| range.0 <= at && range.1 >= at + PAGE));
        }
        Ok(())
    }
}

#[kunit_tests(geist_format)]
mod format {
    use super::*;
    use crate::image::name::{self, Name};
    use crate::image::task_mm::{Index, IndexEntry, INDEX_ENTRIES};
    use crate::image::{frame, FileHeader, FileKind, Trailer, CRC_START};
    use crate::sys::crc32c::crc32c;

    #[test]
    fn the_usual_checksum() {
        assert_eq!(crc32c(CRC_START, b"123456789") ^ u32::MAX, 0xe306_9283);
        let halves = crc32c(crc32c(CRC_START, b"1234"), b"56789");
        assert_eq!(halves, crc32c(CRC_START, b"123456789"));
    }

    /// A file of kind `task` with this body.
    fn framed(body: &[u8]) -> Result<KVec<u8>> {
        let mut file = KVec::new();
        let header = FileHeader::new(FileKind::Task, 7, 8, 9, crc32c);
        file.extend_from_slice(header.as_bytes(), GFP_KERNEL)?;
        file.extend_from_slice(body, GFP_KERNEL)?;
        let trailer = Trailer::new(body.len() as u64, crc32c(CRC_START, body));
        file.extend_from_slice(trailer.as_bytes(), GFP_KERNEL)?;
        Ok(file)
    }

    #[test]
    fn a_file_there_and_back() -> Result {
        let file = framed(b"the body")?;
        assert!(frame::body(&file, FileKind::Task, 7, 8, 9, crc32c) == Ok(b"the body"));
        assert!(frame::body(&file, FileKind::Task, 7, 8, 10, crc32c).is_err());
        assert!(frame::body(&file, FileKind::Control, 7, 8, 9, crc32c).is_err());
        Ok(())
    }

    #[test]
    fn any_wrong_bit_is_found() -> Result {
        let mut file = framed(b"the body")?;
        for bit in 0..file.len() * 8 {
            file[bit / 8] ^= 1 << (bit % 8);
            assert!(frame::body(&file, FileKind::Task, 7, 8, 9, crc32c).is_err());
            file[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..file.len() {
            assert!(frame::body(&file[..length], FileKind::Task, 7, 8, 9, crc32c).is_err());
        }
        Ok(())
    }

    #[test]
    fn names_there_and_back() {
        for kind in [FileKind::Task, FileKind::TaskMm, FileKind::Control] {
            let name = Name::new(kind, 4_194_304, u64::MAX);
            let parsed = name::parse(name.as_str());
            assert!(parsed.is_some_and(|one| one.kind == kind
                && one.pid == 4_194_304
                && one.version == u64::MAX
                && !one.uncommitted));
        }
        for none in [
            "",
            "task_v1.bin",
            "task_1_v.bin",
            "task_01_v1.bin",
            "task_1_v1.bin.new",
        ] {
            assert!(name::parse(none).is_none());
        }
    }

    #[test]
    fn an_index_knows_its_pages() -> Result {
        let mut index = KBox::new(Index::empty(3), GFP_KERNEL)?;
        for (number, entry) in index.entries.iter_mut().enumerate() {
            *entry = IndexEntry::page(4096 * (number as u64 + 1), 3, number as u32);
        }
        index.seal(crc32c);
        assert_eq!(
            index.entries[INDEX_ENTRIES - 1].crc(),
            INDEX_ENTRIES as u32 - 1
        );
        assert_eq!(index.entries[5].protection(), 3);
        let crc = index.crc;
        index.entries[7].value ^= 1 << 40;
        index.seal(crc32c);
        assert!(index.crc != crc);
        Ok(())
    }
}
