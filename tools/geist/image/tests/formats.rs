// SPDX-License-Identifier: GPL-2.0

//! Properties of the formats: what is written is read back, and nothing else is taken for it.
//! Cases are drawn with a fixed seed, so that every run tests the same ones.

use geist_image::control::{self, ControlHeader, Extent};
use geist_image::frame;
use geist_image::name::{self, Name};
use geist_image::record::{padding, End, Record, RecordHeader, Records};
use geist_image::task_mm::{file_bytes, page_offset, Index, IndexEntry, INDEX_ENTRIES};
use geist_image::{Damage, FileHeader, FileKind, Trailer, CRC_START, PAGE_SIZE};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed};
use zerocopy::IntoBytes as _;

fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!crc, bytes)
}

fn config() -> Config {
    Config {
        cases: 1000,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(0x6765_6973_7400),
        failure_persistence: None,
        ..Config::default()
    }
}

const KINDS: [FileKind; 6] = [
    FileKind::Global,
    FileKind::Node,
    FileKind::Task,
    FileKind::TaskMm,
    FileKind::Control,
    FileKind::Description,
];

/// A file with header and trailer.
fn framed(kind: FileKind, app: u32, pid: u32, version: u64, body: &[u8]) -> Vec<u8> {
    let header = FileHeader::new(kind, app, pid, version, crc32c);
    let trailer = Trailer::new(body.len() as u64, crc32c(CRC_START, body));
    [header.as_bytes(), body, trailer.as_bytes()].concat()
}

fn record(tag: u32, payload: &[u8]) -> Vec<u8> {
    let header = RecordHeader {
        tag,
        length: payload.len() as u32,
    };
    let pad = vec![0; padding(payload.len())];
    [header.as_bytes(), payload, &pad].concat()
}

fn records(payloads: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes: Vec<u8> = payloads
        .iter()
        .flat_map(|(tag, payload)| record(*tag, payload))
        .collect();
    let end = End {
        records: payloads.len() as u64,
    };
    bytes.extend(record(End::TAG, end.as_bytes()));
    bytes
}

/// Extents as a control file may have them: ascending, apart from each other.
fn extents(version: u64) -> impl Strategy<Value = Vec<Extent>> {
    vec(
        (1..1000u64, 1..1000u64, 1..=version, 0..1_000_000u64),
        0..40,
    )
    .prop_map(|rows| {
        let mut address = 0;
        let extent = |(gap, pages, version, offset): (u64, u64, u64, u64)| {
            address += gap * PAGE_SIZE as u64;
            let extent = Extent {
                address,
                pages,
                version,
                offset,
            };
            address += pages * PAGE_SIZE as u64;
            extent
        };
        rows.into_iter().map(extent).collect()
    })
}

fn control_body(extents: &[Extent]) -> Vec<u8> {
    let header = ControlHeader {
        vma_count: 3,
        address_count: extents.iter().map(|extent| extent.pages).sum(),
        app: 812,
        reserved: 0,
        base: 0,
        extents: extents.len() as u64,
    };
    [header.as_bytes(), extents.as_bytes()].concat()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn names(kind in 0..6usize, pid in 1..u32::MAX, version in 1..u64::MAX) {
        let kind = KINDS[kind];
        let own = matches!(kind, FileKind::Task | FileKind::TaskMm | FileKind::Control);
        let name = Name::new(kind, pid, version);
        let parsed = name::parse(name.as_str()).unwrap();
        prop_assert_eq!(parsed.kind, kind);
        prop_assert_eq!(parsed.pid, if own { pid } else { 0 });
        prop_assert_eq!(parsed.version, version);
        prop_assert!(!parsed.uncommitted);
        prop_assert_eq!(name.as_bytes_with_nul().last(), Some(&0));
        prop_assert!(name::parse(Name::uncommitted_global(version).as_str()).unwrap().uncommitted);
    }

    #[test]
    fn a_name_stands_for_one_file(text in "(global|node_0|task|task_mm|control|description)(_[0-9]{1,3})?_v[0-9]{1,3}[.](bin|txt)([.]new)?") {
        if let Some(parsed) = name::parse(&text) {
            let name = match parsed.uncommitted {
                true => Name::uncommitted_global(parsed.version),
                false => Name::new(parsed.kind, parsed.pid, parsed.version),
            };
            prop_assert_eq!(name.as_str(), text);
        }
    }

    #[test]
    fn any_text_as_name(text in ".{0,80}") {
        let _ = name::parse(&text);
    }

    #[test]
    fn frames(kind in 0..5usize, app in 1..u32::MAX, pid: u32, version in 1..u64::MAX, body in vec(any::<u8>(), 0..300)) {
        let kind = KINDS[kind];
        let bytes = framed(kind, app, pid, version, &body);
        prop_assert_eq!(frame::body(&bytes, kind, app, pid, version, crc32c), Ok(&body[..]));
        prop_assert_eq!(
            frame::body(&bytes, kind, app ^ 1, pid, version, crc32c),
            Err(Damage::Identity)
        );
        prop_assert_eq!(
            frame::body(&bytes, kind, app, pid, version ^ 1, crc32c),
            Err(Damage::Identity)
        );
    }

    #[test]
    fn truncated_frames(body in vec(any::<u8>(), 0..300), cut in 0..10_000usize) {
        let bytes = framed(FileKind::Task, 812, 812, 3, &body);
        let cut = cut % bytes.len();
        prop_assert_eq!(
            frame::body(&bytes[..cut], FileKind::Task, 812, 812, 3, crc32c),
            Err(Damage::Truncated)
        );
    }

    #[test]
    fn flipped_bits_of_frames(body in vec(any::<u8>(), 0..300), bit in 0..100_000usize) {
        let mut bytes = framed(FileKind::Control, 812, 812, 3, &body);
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(frame::body(&bytes, FileKind::Control, 812, 812, 3, crc32c).is_err());
    }

    #[test]
    fn any_bytes_as_a_file(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(frame::body(&bytes, FileKind::Task, 812, 812, 3, crc32c).is_err());
    }

    #[test]
    fn records_there_and_back(payloads in vec((1..1000u32, vec(any::<u8>(), 0..70)), 0..20)) {
        let bytes = records(&payloads);
        let read: Result<Vec<_>, _> = Records::new(&bytes).collect();
        let read: Vec<_> = read.unwrap().iter().map(|r| (r.tag, r.payload.to_vec())).collect();
        prop_assert_eq!(read, payloads);
    }

    #[test]
    fn truncated_records(payloads in vec((1..1000u32, vec(any::<u8>(), 0..70)), 1..20), cut in 0..10_000usize) {
        let bytes = records(&payloads);
        let cut = &bytes[..cut % bytes.len()];
        let last = Records::new(cut).last();
        prop_assert!(matches!(last, Some(Err(_))), "{:?}", last);
    }

    #[test]
    fn any_bytes_as_records(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(Records::new(&bytes).count() <= 300 / 8 + 1);
    }

    #[test]
    fn control_there_and_back(extents in extents(9)) {
        let body = control_body(&extents);
        let (header, read) = control::parse(&body, 812, 9).unwrap();
        prop_assert_eq!(header.extents, extents.len() as u64);
        prop_assert_eq!(read.collect::<Vec<_>>(), extents);
    }

    #[test]
    fn impossible_extents(extents in extents(9), which in 0..40usize, how in 0..7) {
        prop_assume!(!extents.is_empty());
        let mut changed = extents.clone();
        let which = which % changed.len();
        let extent = &mut changed[which];
        match how {
            0 => extent.pages = 0,
            1 => extent.address += 1,
            2 => extent.version = 10,
            3 => extent.version = 0,
            4 => extent.pages = u64::MAX / 4096,
            5 => extent.address = 0,
            _ => changed.push(extents[0]),
        }
        prop_assert!(control::parse(&control_body_unchecked(&changed), 812, 9).is_err());
    }

    #[test]
    fn any_bytes_as_control(bytes in vec(any::<u8>(), 0..300)) {
        if let Ok((header, extents)) = control::parse(&bytes, 812, 9) {
            prop_assert_eq!(header.extents, extents.count() as u64);
        }
    }

    #[test]
    fn any_bytes_as_global(bytes in vec(any::<u8>(), 0..500)) {
        let _ = geist_image::global::parse(&bytes, 812, 9).map(|(_, entries)| entries.count());
        let _ = geist_image::global::parse_node(&bytes).map(|(_, tasks)| tasks.count());
    }

    #[test]
    fn indexes(count in 0..=INDEX_ENTRIES, start in 1..1000u64, before in 0..100_000u64, block: u64) {
        let index = index(count, start, before, block, true);
        let ends = count < INDEX_ENTRIES;
        prop_assert_eq!(index.check(block, before, 0, crc32c), Ok((count, ends)));
        prop_assert!(index.check(block ^ 1, before, 0, crc32c).is_err());
        if ends {
            prop_assert!(index.check(block, before + 1, 0, crc32c).is_err());
        }
        if count > 0 {
            let first = start * PAGE_SIZE as u64;
            prop_assert!(index.check(block, before, first, crc32c).is_err());
        }
    }

    #[test]
    fn flipped_bits_of_indexes(count in 0..=INDEX_ENTRIES, bit in 0..PAGE_SIZE * 8) {
        use zerocopy::FromBytes as _;
        let mut bytes = index(count, 1, 0, 0, true).as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let index = Index::read_from_bytes(&bytes).unwrap();
        prop_assert_eq!(index.check(0, 0, 0, crc32c), Err(Damage::Checksum));
    }

    #[test]
    fn entries(address in 1..u64::MAX, protection: u32, crc: u32) {
        let entry = IndexEntry::page(address, protection, crc);
        prop_assert_eq!((entry.protection(), entry.crc()), (protection, crc));
    }

    #[test]
    fn places(page in 0..1u64 << 40) {
        let blocks = page / INDEX_ENTRIES as u64 + 1;
        prop_assert_eq!(page_offset(page), (1 + blocks + page) * PAGE_SIZE as u64);
        // The page behind the last ends where the file with it does, or one final index before.
        let end = page_offset(page) + PAGE_SIZE as u64;
        let final_index = u64::from((page + 1) % INDEX_ENTRIES as u64 == 0) * PAGE_SIZE as u64;
        prop_assert_eq!(file_bytes(page + 1), end + final_index);
    }

    #[test]
    fn texts(text in "[ -~\n]{0,200}", left_out in vec("[ -~]{0,20}", 0..4)) {
        let mut file = format!("Date: 2026-11-23 07:06:19 UTC\nVersion: 3\nDescription: {text}\n");
        for what in &left_out {
            file += &format!("Left out: fd 5: {what}\n");
        }
        prop_assert_eq!(geist_image::description::text(&file, left_out.len() as u32), text);
    }
}

/// As [`control_body`], with a count of addresses that may be anything.
fn control_body_unchecked(extents: &[Extent]) -> Vec<u8> {
    let mut body = control_body(&[]);
    let pages = extents.iter().fold(0u64, |n, e| n.wrapping_add(e.pages));
    body[8..16].copy_from_slice(&pages.to_le_bytes());
    body[32..40].copy_from_slice(&(extents.len() as u64).to_le_bytes());
    body.extend_from_slice(extents.as_bytes());
    body
}

/// An index of `count` pages from page number `start`, sealed.
fn index(count: usize, start: u64, before: u64, block: u64, end: bool) -> Index {
    let mut index = Index::empty(block);
    for (number, entry) in (start..).zip(&mut index.entries[..count]) {
        *entry = IndexEntry::page(number * PAGE_SIZE as u64, 3, number as u32);
    }
    if end && count < INDEX_ENTRIES {
        index.entries[count] = IndexEntry::end(before + count as u64);
    }
    index.seal(crc32c);
    index
}

#[test]
fn an_index_without_end_or_with_something_behind_it() {
    assert!(index(3, 1, 0, 0, false).check(0, 0, 0, crc32c).is_err());
    let mut changed = index(3, 1, 0, 0, true);
    changed.entries[9] = IndexEntry::page(PAGE_SIZE as u64, 3, 0);
    changed.seal(crc32c);
    assert_eq!(
        changed.check(0, 0, 0, crc32c),
        Err(Damage::Value("an entry behind the end"))
    );
}

#[test]
fn names_that_are_none() {
    for text in [
        "",
        "global",
        "global_v0.bin",
        "global_v01.bin",
        "global_v1.txt",
        "description_v1.bin",
        "task_v1.bin",
        "task_0_v1.bin",
        "task_mm__v1.bin",
        "node_1_v1.bin",
        "task_5_v1.bin.new",
        "global_v1.bin.new.new",
        "task_4294967296_v1.bin",
        "global_v18446744073709551616.bin",
        "global_v+1.bin",
        "../global_v1.bin",
    ] {
        assert_eq!(name::parse(text), None, "{text}");
    }
}

#[test]
fn the_known_checksum() {
    // RFC 3720, B.4: 32 bytes of zeros.
    assert_eq!(!crc32c(CRC_START, &[0; 32]), 0x8a91_36aa);
}

#[test]
fn headers_name_what_is_wrong() {
    let file = framed(FileKind::Task, 812, 812, 3, b"");
    let read = |bytes: &[u8]| frame::body(bytes, FileKind::Task, 812, 812, 3, crc32c).unwrap_err();
    let with = |place: usize, value: u8| {
        let mut bytes = file.clone();
        bytes[place] = value;
        bytes
    };
    let sealed = |mut bytes: Vec<u8>| {
        let crc = crc32c(CRC_START, &bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    };
    assert_eq!(read(&with(0, b'G')), Damage::Magic);
    assert_eq!(read(&with(12, 2)), Damage::Format(2));
    assert_eq!(read(&with(16, 3)), Damage::Checksum);
    assert_eq!(read(&sealed(with(16, 3))), Damage::Machine);
    assert_eq!(read(&sealed(with(8, 5))), Damage::Identity);
    assert!(matches!(read(&sealed(with(45, 1))), Damage::Value(_)));
    assert_eq!(
        Damage::Format(2).to_string(),
        "it has format version 2, this geist reads version 1"
    );
}
