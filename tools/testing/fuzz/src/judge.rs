// SPDX-License-Identifier: GPL-2.0

//! Reads bytes as each kind of file of a version, and demands what the readers promise: they come
//! to an end without a panic or an overflow, take no byte for two things, and what they accept has
//! the order and the limits that the module and the client rely on.
//!
//! The first byte of an input says what the rest is: which file (its value modulo 7), and from
//! [`BODY`] up that the rest is only the body, whose frame and checksums are right. So an input gets
//! behind the checksums as easily as one that damages them.

use geist_image::files::{
    Descriptor, FileLock, FileObject, LeftOut, LockKind, MemfdContent, ObjectKind, RootDirectory,
    WorkingDirectory,
};
use geist_image::mm::{AddressSpace, GuardPages, Vma, VmaKind};
use geist_image::record::{padding, RawRecord, Record, RecordHeader, Records};
use geist_image::task::{Creds, IntervalTimers, PendingSignal, Process, Rlimits, SignalHandlers};
use geist_image::task_mm::{file_bytes, page_offset, Index, INDEX_ENTRIES, MOST_PAGES};
use geist_image::thread::{
    Registers, Restart, RestartKind, Scheduling, Thread, ThreadState, Xstate,
};
use geist_image::{
    control, description, frame, global, name, values, FileHeader, FileKind, Trailer, CRC_START,
    PAGE_SIZE,
};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// From here on the first byte says that the frame is to be made.
pub const BODY: u8 = 0x80;

/// What every input claims to be of.
const APP: u32 = 4711;
const VERSION: u64 = 7;

fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!crc, bytes)
}

/// Reads an input: whether it is accepted as what it claims to be. Panics where a promise is broken.
pub fn judge(input: &[u8]) -> bool {
    let Some((selector, bytes)) = input.split_first() else {
        return false;
    };
    let make_frame = *selector >= BODY;
    match selector % 7 {
        0 => framed(FileKind::Global, 0, bytes, make_frame, versions),
        1 => framed(FileKind::Node, 0, bytes, make_frame, nodes),
        2 => framed(FileKind::Task, APP, bytes, make_frame, records),
        3 => framed(FileKind::Control, APP, bytes, make_frame, extents),
        4 => indexes(bytes, make_frame),
        5 => names(bytes),
        _ => texts(bytes),
    }
}

/// The body of a file with header and trailer.
fn framed(
    kind: FileKind,
    pid: u32,
    bytes: &[u8],
    make_frame: bool,
    read: fn(&[u8]) -> bool,
) -> bool {
    let whole = if make_frame {
        let header = FileHeader::new(kind, APP, pid, VERSION, crc32c);
        let trailer = Trailer::new(bytes.len() as u64, crc32c(CRC_START, bytes));
        [header.as_bytes(), bytes, trailer.as_bytes()].concat()
    } else {
        bytes.to_vec()
    };
    match frame::body(&whole, kind, APP, pid, VERSION, crc32c) {
        Ok(body) => {
            assert_eq!(body.len() + FileHeader::SIZE + Trailer::SIZE, whole.len());
            assert!(frame::body(&whole, kind, APP, pid, VERSION + 1, crc32c).is_err());
            read(body)
        }
        Err(damage) => {
            assert!(!make_frame, "a right frame was refused: {damage}");
            assert!(!damage.to_string().is_empty());
            false
        }
    }
}

fn versions(body: &[u8]) -> bool {
    let Ok((version, entries)) = global::parse(body, APP, VERSION) else {
        return false;
    };
    assert!(version.parent < VERSION && version.number() >= VERSION);
    let mut count = 0;
    for entry in entries {
        let kind = FileKind::from_number(entry.kind).expect("a kind that there is");
        assert!(kind != FileKind::Global, "a version that contains itself");
        count += 1;
    }
    assert_eq!(count, version.files);
    true
}

fn nodes(body: &[u8]) -> bool {
    let Ok((node, tasks)) = global::parse_node(body) else {
        return false;
    };
    assert_eq!(tasks.clone().count(), node.tasks as usize);
    assert!(tasks.clone().all(|task| task.pid != 0 && task.threads != 0));
    true
}

fn records(body: &[u8]) -> bool {
    let mut used = 0;
    let mut accepted = true;
    let mut walk = Records::new(body);
    for record in walk.by_ref() {
        let Ok(record) = record else {
            return false;
        };
        let length = record.payload.len();
        used += core::mem::size_of::<RecordHeader>() + length + padding(length);
        assert!(used <= body.len(), "a record reaches behind the file");
        accepted &= value(&record);
    }
    assert!(walk.next().is_none(), "something behind the end");
    assert_eq!(body.len() - used, 16, "the end record is what is left");
    accepted
}

/// A record: what decodes it, and what judges its values. Whether it is accepted.
fn value(record: &RawRecord<'_>) -> bool {
    let checked = values::check(record).is_ok();
    let mut kinds = 0;
    macro_rules! each {
        ($($kind:ty),* $(,)?) => {
            $(kinds += u32::from(decoded::<$kind>(record, checked));)*
        };
    }
    each![
        Process,
        Creds,
        Rlimits,
        SignalHandlers,
        PendingSignal,
        IntervalTimers,
        FileObject,
        Descriptor,
        FileLock,
        LeftOut,
        WorkingDirectory,
        RootDirectory,
        MemfdContent,
        AddressSpace,
        Vma,
        GuardPages,
        Thread,
        Registers,
        Xstate,
        Scheduling,
        Restart,
    ];
    assert_eq!(kinds, u32::from(checked), "accepted as something else");
    if !checked {
        return false;
    }
    // What the readers of the values need no further check for.
    if let Some(Ok((vma, _))) = record.decode::<Vma>() {
        assert!(VmaKind::from_number(vma.kind).is_some());
    }
    if let Some(Ok((thread, _))) = record.decode::<Thread>() {
        assert!(ThreadState::from_number(thread.state).is_some());
    }
    if let Some(Ok((object, _))) = record.decode::<FileObject>() {
        assert!(ObjectKind::from_number(object.kind).is_some());
    }
    if let Some(Ok((lock, _))) = record.decode::<FileLock>() {
        assert!(LockKind::from_number(lock.kind).is_some());
    }
    if let Some(Ok((restart, _))) = record.decode::<Restart>() {
        assert!(RestartKind::from_number(restart.kind).is_some());
    }
    if let Some(Ok((signal, _))) = record.decode::<PendingSignal>() {
        assert!((1..=64).contains(&signal.number()));
    }
    true
}

/// Whether the record is an accepted `T`; its bytes are then those of the value and its tail.
fn decoded<T: Record>(record: &RawRecord<'_>, checked: bool) -> bool {
    match record.decode::<T>() {
        Some(Ok((value, tail))) => {
            let size = core::mem::size_of::<T>();
            assert!(tail.len() <= T::MAX_TAIL);
            assert_eq!(value.as_bytes(), &record.payload[..size]);
            assert_eq!(tail, &record.payload[size..]);
            checked
        }
        Some(Err(_)) => {
            assert!(!checked, "{} of a wrong length was accepted", T::NAME);
            false
        }
        None => false,
    }
}

fn extents(body: &[u8]) -> bool {
    let Ok((header, extents)) = control::parse(body, APP, VERSION) else {
        return false;
    };
    assert!(header.base < VERSION);
    assert_eq!(extents.clone().count() as u64, header.extents);
    let mut end = 0;
    for extent in extents {
        assert!(extent.address >= end && extent.address % PAGE_SIZE as u64 == 0);
        assert!(extent.version <= VERSION && extent.pages > 0);
        end = extent
            .end()
            .expect("it ends below the end of all addresses");
        let behind = extent.offset.checked_add(extent.pages);
        assert!(
            behind.is_some_and(|page| page <= MOST_PAGES),
            "no file is that long"
        );
        assert!(end > extent.address);
    }
    true
}

/// Indexes of a `task_mm` file, without the pages behind them.
fn indexes(bytes: &[u8], make_checksums: bool) -> bool {
    let (mut pages, mut last) = (0, 0);
    for (block, chunk) in (0..).zip(bytes.chunks_exact(PAGE_SIZE)) {
        let Ok(mut index) = Index::read_from_bytes(chunk) else {
            return false;
        };
        if make_checksums {
            index.seal(crc32c);
        }
        let Ok((count, ended)) = index.check(block, pages, last, crc32c) else {
            return false;
        };
        assert!(count <= INDEX_ENTRIES && (ended || count == INDEX_ENTRIES));
        for entry in &index.entries[..count] {
            assert!(entry.address > last && entry.address % PAGE_SIZE as u64 == 0);
            last = entry.address;
            assert!(page_offset(pages) < file_bytes(pages + 1));
            pages += 1;
        }
        if ended {
            assert_eq!(index.entries[count].value, pages);
            return true;
        }
    }
    false
}

fn names(bytes: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(bytes) else {
        return false;
    };
    let Some(parsed) = name::parse(text) else {
        return false;
    };
    let made = if parsed.uncommitted {
        name::Name::uncommitted_global(parsed.version)
    } else {
        name::Name::new(parsed.kind, parsed.pid, parsed.version)
    };
    assert_eq!(made.as_str(), text, "two names for one file");
    true
}

fn texts(bytes: &[u8]) -> bool {
    let Some((left_out, text)) = bytes.split_first() else {
        return false;
    };
    let Ok(text) = core::str::from_utf8(text) else {
        return false;
    };
    let found = description::text(text, u32::from(*left_out));
    assert!(text.contains(found));
    !found.is_empty()
}
