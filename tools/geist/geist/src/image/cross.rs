// SPDX-License-Identifier: GPL-2.0

//! What must fit between the files of a version and between the records of a process.

use super::load::{Image, Process};
use super::Damaged;
use geist_image::files::ObjectKind;
use geist_image::mm::VmaKind;
use geist_image::name::Name;
use geist_image::{FileKind, PAGE_SIZE};
use std::collections::BTreeSet;

/// End of the addresses of a program (with five levels of page tables).
const TASK_SIZE: u64 = (1 << 56) - PAGE_SIZE as u64;

/// Everything that does not fit.
pub fn check(image: &Image) -> Vec<Damaged> {
    let summary = &image.summary;
    let version = summary.global.version;
    let stored = summary.global.number();
    let mut damages = Vec::new();
    let mut say = |kind: FileKind, pid: u32, why: String| {
        let number = match kind {
            FileKind::Global => version,
            _ => stored,
        };
        let name = Name::new(kind, pid, number);
        damages.push(Damaged::new(summary.app, version, &name, &why));
    };
    for process in &image.processes {
        let pid = process.node.pid;
        for why in check_memory(process, stored) {
            say(FileKind::Control, pid, why);
        }
        for why in check_mappings(process) {
            say(FileKind::Task, pid, why);
        }
        for why in check_objects(process) {
            say(FileKind::Task, pid, why);
        }
    }
    let pages: u64 = image
        .processes
        .iter()
        .map(|process| process.pages(stored).len() as u64)
        .sum();
    if pages != summary.global.pages {
        say(
            FileKind::Global,
            0,
            format!("it says {} pages, there are {pages}", summary.global.pages),
        );
    }
    let left_out: usize = image.processes.iter().map(|p| p.task.left_out.len()).sum();
    if left_out as u64 != u64::from(summary.global.left_out) {
        say(
            FileKind::Global,
            0,
            "it says another number of descriptors left out than the processes have".to_owned(),
        );
    }
    damages
}

/// Control file against pages and mappings.
fn check_memory(process: &Process, stored: u64) -> Vec<String> {
    let mut problems = Vec::new();
    if process.control.vma_count != process.task.vmas.len() as u64 {
        problems.push(format!(
            "it says {} mappings, the process has {}",
            process.control.vma_count,
            process.task.vmas.len()
        ));
    }
    let own = process.pages(stored);
    let mut named = vec![false; own.len()];
    for extent in &process.extents {
        let pages = process.pages(extent.version);
        for page in 0..extent.pages {
            let address = extent.address + page * PAGE_SIZE as u64;
            let number = extent.offset.saturating_add(page);
            let page = usize::try_from(number).ok().and_then(|n| pages.get(n));
            if page.is_none_or(|page| page.address != address) {
                problems.push(format!(
                    "the page at {address:#x} is not at offset {number} of the task_mm file of version {}",
                    extent.version
                ));
                return problems;
            }
            if extent.version == stored {
                named[number as usize] = true;
            }
        }
    }
    if let Some(number) = named.iter().position(|named| !named) {
        let address = own[number].address;
        problems.push(format!("it lacks the stored page at {address:#x}"));
    }
    for extent in &process.extents {
        if let Some(address) = uncovered(process, extent.address, extent.end()) {
            problems.push(format!("no mapping has the stored page at {address:#x}"));
        }
    }
    problems
}

/// The first address from `start` to `end` that no mapping with stored content has.
fn uncovered(process: &Process, start: u64, end: Option<u64>) -> Option<u64> {
    let end = end?;
    let mut address = start;
    for (vma, _) in &process.task.vmas {
        let stores = [
            VmaKind::Anonymous,
            VmaKind::FilePrivate,
            VmaKind::SharedMemory,
        ];
        if stores.iter().any(|kind| *kind as u32 == vma.kind) && vma.start <= address {
            address = address.max(vma.end.min(end));
        }
    }
    (address < end).then_some(address)
}

/// Mappings: whole pages, ascending, apart from each other, in the range of a program.
fn check_mappings(process: &Process) -> Vec<String> {
    let mut problems = Vec::new();
    let mut last = 0;
    for (vma, _) in &process.task.vmas {
        let range = format!("{:#x}-{:#x}", vma.start, vma.end);
        let whole = |n: u64| n % PAGE_SIZE as u64 == 0;
        if !whole(vma.start) || !whole(vma.end) || vma.start >= vma.end || vma.end > TASK_SIZE {
            problems.push(format!("the mapping {range} is impossible"));
        } else if vma.start < last {
            problems.push(format!("the mapping {range} overlaps the one before"));
        }
        last = vma.end;
        let kind = VmaKind::from_number(vma.kind);
        let object = process.task.object(vma.object);
        let fits = match kind {
            None => false,
            Some(VmaKind::Anonymous | VmaKind::Vdso | VmaKind::Vvar) => vma.object == 0,
            Some(VmaKind::FilePrivate) => object.is_some(),
            Some(VmaKind::FileShared) => object.is_some_and(|(o, _)| !is_memory(o.kind)),
            Some(VmaKind::SharedMemory) => object.is_some_and(|(o, _)| is_memory(o.kind)),
        };
        if !fits {
            problems.push(format!("the mapping {range} names the wrong object"));
        }
    }
    for guard in &process.task.guards {
        let inside = process
            .task
            .vmas
            .iter()
            .any(|(vma, _)| vma.start <= guard.start);
        if guard.start >= guard.end || !inside {
            problems.push(format!("guard pages at {:#x} are impossible", guard.start));
        }
    }
    problems
}

fn is_memory(kind: u32) -> bool {
    kind == ObjectKind::Memfd as u32 || kind == ObjectKind::SharedAnonymous as u32
}

/// Numbers of objects: unique, and known wherever one is named.
fn check_objects(process: &Process) -> Vec<String> {
    let task = &process.task;
    let mut problems = Vec::new();
    let mut numbers = BTreeSet::new();
    for (object, _) in &task.objects {
        if object.object == 0 || !numbers.insert(object.object) {
            problems.push(format!("the number {} of a file object", object.object));
        }
    }
    let mut descriptors = BTreeSet::new();
    for descriptor in &task.descriptors {
        if !descriptors.insert(descriptor.fd) {
            problems.push(format!("descriptor {}", descriptor.fd));
        }
        let memory = ObjectKind::SharedAnonymous as u32;
        if task
            .object(descriptor.object)
            .is_none_or(|(object, _)| object.kind == memory)
        {
            problems.push(format!("the object of descriptor {}", descriptor.fd));
        }
    }
    for lock in &task.locks {
        if !numbers.contains(&lock.object) {
            problems.push("the object of a file lock".to_owned());
        }
    }
    for (content, _) in &task.memfd_content {
        if !numbers.contains(&content.object) {
            problems.push("the object of a memfd's content".to_owned());
        }
    }
    if task.mm.exe_object != 0 && !numbers.contains(&task.mm.exe_object) {
        problems.push("the object of the exe link".to_owned());
    }
    for problem in &mut problems {
        problem.push_str(" is out of range");
    }
    problems
}
