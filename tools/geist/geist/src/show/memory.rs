// SPDX-License-Identifier: GPL-2.0

//! The address space, the control table and the stored pages.

use super::tree::{address, bytes, number, said, Section, Table};
use crate::image::{Page, Task};
use geist_image::control::{ControlHeader, Extent};
use geist_image::mm::{vma_flags, Vma, VmaKind};
use geist_image::PAGE_SIZE;

/// Names of the flags of a mapping beyond its protection.
const FLAGS: [(u64, &str); 15] = [
    (vma_flags::GROWS_DOWN, "growsdown"),
    (vma_flags::LOCKED, "locked"),
    (vma_flags::LOCK_ON_FAULT, "lockonfault"),
    (vma_flags::NO_RESERVE, "noreserve"),
    (vma_flags::DONT_FORK, "dontfork"),
    (vma_flags::DONT_DUMP, "dontdump"),
    (vma_flags::WIPE_ON_FORK, "wipeonfork"),
    (vma_flags::MERGEABLE, "mergeable"),
    (vma_flags::HUGE_PAGE, "hugepage"),
    (vma_flags::NO_HUGE_PAGE, "nohugepage"),
    (vma_flags::DROPPABLE, "droppable"),
    (vma_flags::SEQUENTIAL, "sequential"),
    (vma_flags::RANDOM, "random"),
    (vma_flags::SEALED, "sealed"),
    (vma_flags::MAYBE_GUARD, "maybeguard"),
];

/// The address space of a process.
pub fn section(task: &Task) -> Section {
    let mm = &task.mm;
    let mut section = Section::new("address space");
    let fields = [
        ("start code", mm.start_code),
        ("end code", mm.end_code),
        ("start data", mm.start_data),
        ("end data", mm.end_data),
        ("start brk", mm.start_brk),
        ("brk", mm.brk),
        ("start stack", mm.start_stack),
        ("arg start", mm.arg_start),
        ("arg end", mm.arg_end),
        ("env start", mm.env_start),
        ("env end", mm.env_end),
        ("mmap base", mm.mmap_base),
        ("vdso", mm.vdso),
    ];
    for (name, value) in fields {
        section.value(name, address(value));
    }
    section
        .value("vdso bytes", number(mm.vdso_bytes))
        .value(
            "vdso crc",
            said(format!("{:08x}", mm.vdso_crc), mm.vdso_crc),
        )
        .value("executable", object(task, mm.exe_object))
        .value("lock future", number(mm.lock_future))
        .value("thp disable", number(mm.thp_disable));
    let mut auxv = Table::new("auxiliary vector", &[">Type", "Value"]);
    let pairs = mm.auxv.chunks_exact(2).take_while(|pair| pair[0] != 0);
    for pair in pairs {
        auxv.row(vec![number(pair[0]), address(pair[1])]);
    }
    let mut mappings = Table::new(
        "mappings",
        &["Start", "End", "Perms", "Offset", "Kind", "Flags", "Name"],
    );
    for (vma, name) in &task.vmas {
        mappings.row(vec![
            hexadecimal(vma.start),
            hexadecimal(vma.end),
            permissions(vma),
            address(vma.offset),
            kind(vma),
            flags(vma),
            match vma.object {
                0 => bytes(name),
                number => object(task, number),
            },
        ]);
    }
    let mut guards = Table::new("guard pages", &["Start", "End"]);
    for guard in &task.guards {
        guards.row(vec![hexadecimal(guard.start), hexadecimal(guard.end)]);
    }
    section.table(auxv).table(mappings).table(guards);
    section
}

/// An address as `/proc/<pid>/maps` shows it.
fn hexadecimal(number: u64) -> super::tree::Cell {
    said(format!("{number:08x}"), number)
}

fn object(task: &Task, number: u32) -> super::tree::Cell {
    match task.object(number) {
        Some((_, path)) => bytes(path),
        None => said("-".to_owned(), serde_json::Value::Null),
    }
}

fn permissions(vma: &Vma) -> super::tree::Cell {
    let letter = |flag: u64, letter: char| if vma.flags & flag != 0 { letter } else { '-' };
    let shared = if vma.flags & vma_flags::SHARED != 0 {
        's'
    } else {
        'p'
    };
    let text: String = [
        letter(vma_flags::READ, 'r'),
        letter(vma_flags::WRITE, 'w'),
        letter(vma_flags::EXEC, 'x'),
        shared,
    ]
    .iter()
    .collect();
    said(text.clone(), text)
}

fn kind(vma: &Vma) -> super::tree::Cell {
    let name = match VmaKind::from_number(vma.kind) {
        Some(VmaKind::Anonymous) => "anonymous",
        Some(VmaKind::FilePrivate) => "file, private",
        Some(VmaKind::FileShared) => "file, shared",
        Some(VmaKind::SharedMemory) => "shared memory",
        Some(VmaKind::Vdso) => "vdso",
        Some(VmaKind::Vvar) => "vvar",
        None => "unknown",
    };
    said(name.to_owned(), name)
}

fn flags(vma: &Vma) -> super::tree::Cell {
    let names = FLAGS.iter().filter(|(flag, _)| vma.flags & flag != 0);
    let names: Vec<&str> = names.map(|(_, name)| *name).collect();
    said(names.join(","), names)
}

/// The control table and, when they were read, the stored pages.
pub fn stored(
    (header, extents): &(ControlHeader, Vec<Extent>),
    pages: Option<&[Page]>,
    rows: bool,
) -> Section {
    let mut section = Section::new("memory");
    section
        .value("VMA_Count", number(header.vma_count))
        .value("Address_Count", number(header.address_count))
        .value("Application_ID", number(header.app))
        .value("Base", number(header.base));
    let mut head = vec![">Offset", "Virtual address", ">Version"];
    if !rows {
        head.push(">Pages");
    }
    let mut table = Table::new("control", &head);
    for extent in extents {
        let mut row = |page: u64, last: Option<u64>| {
            let mut cells = vec![
                number(extent.offset + page),
                address(extent.address + page * PAGE_SIZE as u64),
                number(extent.version),
            ];
            cells.extend(last.map(number));
            table.row(cells);
        };
        match rows {
            true => (0..extent.pages).for_each(|page| row(page, None)),
            false => row(0, Some(extent.pages)),
        }
    }
    section.table(table);
    if let Some(pages) = pages {
        let mut table = Table::new(
            "pages",
            &[">Offset", "Virtual address", "Protection", "CRC32C"],
        );
        for (offset, page) in (0u64..).zip(pages) {
            let letter = |bit: u32, letter| match page.protection & bit {
                0 => '-',
                _ => letter,
            };
            let words = [letter(1, 'r'), letter(2, 'w'), letter(4, 'x')];
            table.row(vec![
                number(offset),
                address(page.address),
                said(words.iter().collect(), page.protection),
                said(format!("{:08x}", page.crc), page.crc),
            ]);
        }
        section.table(table);
    }
    section
}
