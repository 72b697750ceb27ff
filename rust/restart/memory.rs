// SPDX-License-Identifier: GPL-2.0

//! Rebuilding a memory: its mappings, their content, what they are advised.
//!
//! Runs in the process that is restarted, with the credentials of the restarting user.

use super::check::{at, holds_content};
use super::image::{damaged, Mapping, ProcessImage};
use super::pages::Reader;
use super::scratch::Scratch;
use super::Member;
use crate::error::{fail, Context, Outcome};
use crate::image::files::ObjectKind;
use crate::image::mm::{vma_flags, VmaKind};
use crate::image::{Damage, PAGE_SIZE};
use crate::sys::file::OpenFile;
use crate::sys::{abi, restart_mm, syscall};
use kernel::prelude::*;

/// Shared anonymous memory that was made anew: numbers of objects and their files.
type SharedMemory = KVec<(u32, OpenFile)>;

/// Maps everything, fills it and protects it. Returns the number of pages filled. May sleep.
pub(super) fn rebuild(member: &Member<'_>) -> Outcome<u64> {
    let image = member.image;
    restart_mm::set_mmap_base(image.space.mmap_base)
        .within(format_args!("the place where mmap looks for room"))?;
    if image.space.thp_disable != 0 {
        syscall::disable_huge_pages(u64::from(image.space.thp_disable & !1))
            .within(format_args!("disabling huge pages"))?;
    }
    map_vdso(image)?;
    let shared = make_shared_memory(image)?;
    let mut extents = image.pages.extents().iter().peekable();
    let mut end_before = 0;
    for mapping in image.mappings.iter() {
        member.proceed()?;
        while extents
            .next_if(|one| one.end().is_none_or(|end| end <= mapping.vma.start))
            .is_some()
        {}
        let filled = extents
            .peek()
            .is_some_and(|one| one.address < mapping.vma.end);
        if mapping.vma.start == end_before && is_plain_heap(image, mapping) {
            restart_mm::map_heap(mapping.vma.start, mapping.vma.end).within(at!(mapping.vma))?;
        } else {
            map(member, mapping, &shared, filled).within(at!(mapping.vma))?;
        }
        end_before = mapping.vma.end;
    }
    let memfds = reopen_memfds(member)?;
    let pages = fill(member, &shared, &memfds)?;
    drop(memfds);
    for mapping in image.mappings.iter() {
        protect(mapping).within(at!(mapping.vma))?;
        advise(mapping).within(at!(mapping.vma))?;
    }
    for mapping in image.mappings.iter() {
        // Kept by the kernel where a mapping with guard pages was split: no advice sets it.
        if mapping.vma.flags & vma_flags::MAYBE_GUARD != 0 {
            restart_mm::may_have_guards(mapping.vma.start);
        }
    }
    for guard in image.guards.iter() {
        syscall::madvise(
            guard.start,
            guard.end - guard.start,
            abi::MADV_GUARD_INSTALL,
        )
        .within(format_args!(
            "the guard pages at {:#x}-{:#x}",
            guard.start, guard.end
        ))?;
    }
    Ok(pages)
}

fn map_vdso(image: &ProcessImage) -> Outcome {
    if image.space.vdso_bytes == 0 {
        return Ok(());
    }
    let start = image
        .space
        .vdso
        .checked_sub(restart_mm::vdso_data_bytes())
        .ok_or_else(|| damaged(Damage::Value("the address of the vDSO")))?;
    syscall::map_vdso(start).within(format_args!("the vDSO at {:#x}", image.space.vdso))
}

/// Makes every object of shared anonymous memory that a mapping shows.
fn make_shared_memory(image: &ProcessImage) -> Outcome<SharedMemory> {
    let mut shared = SharedMemory::new();
    for object in image.objects.iter() {
        if object.kind != ObjectKind::SharedAnonymous as u32 {
            continue;
        }
        let reserve = !image.mappings.iter().any(|mapping| {
            mapping.vma.object == object.object && mapping.vma.flags & vma_flags::NO_RESERVE != 0
        });
        let file = restart_mm::shared_memory(object.size, reserve).within(format_args!(
            "shared memory of {} bytes (object {})",
            object.size, object.object
        ))?;
        shared.push((object.object, file), GFP_KERNEL)?;
    }
    Ok(shared)
}

/// Opens every memfd that a mapping shows for writing: the caller's may be open for reading only.
fn reopen_memfds(member: &Member<'_>) -> Outcome<SharedMemory> {
    let mut memfds = SharedMemory::new();
    for object in member.image.objects.iter() {
        let shown = member
            .image
            .mappings
            .iter()
            .any(|one| one.vma.object == object.object && one.kind == VmaKind::SharedMemory);
        if object.kind != ObjectKind::Memfd as u32 || !shown {
            continue;
        }
        let Some(file) = member.file(object.object) else {
            fail!(EBADF, "a memfd of a mapping was not handed in");
        };
        let file = file
            .reopen_memfd()
            .within(format_args!("the memfd of object {}", object.object))?;
        memfds.push((object.object, file), GFP_KERNEL)?;
    }
    Ok(memfds)
}

fn shared_file(shared: &SharedMemory, object: u32) -> Option<&OpenFile> {
    shared
        .iter()
        .find(|(number, _)| *number == object)
        .map(|(_, file)| file)
}

/// The access that user space has (`PROT_*`).
fn protection(mapping: &Mapping) -> u32 {
    [
        (vma_flags::READ, abi::PROT_READ),
        (vma_flags::WRITE, abi::PROT_WRITE),
        (vma_flags::EXEC, abi::PROT_EXEC),
    ]
    .into_iter()
    .filter(|(flag, _)| mapping.vma.flags & flag != 0)
    .fold(0, |all, (_, one)| all | one)
}

/// Whether the mapping is made writable at first, for its content.
fn is_private(mapping: &Mapping) -> bool {
    matches!(mapping.kind, VmaKind::Anonymous | VmaKind::FilePrivate)
}

/// Whether the mapping is where the heap begins, as `brk(2)` makes it: never one with what lies before
/// it, even where that is of the same kind. Two mappings with a border between them would be one.
fn is_plain_heap(image: &ProcessImage, mapping: &Mapping) -> bool {
    let special = vma_flags::GROWS_DOWN
        | vma_flags::NO_RESERVE
        | vma_flags::DROPPABLE
        | vma_flags::HUGE_PAGE
        | vma_flags::NO_HUGE_PAGE;
    mapping.kind == VmaKind::Anonymous
        && mapping.vma.start == image.space.start_brk
        && protection(mapping) == abi::PROT_READ | abi::PROT_WRITE
        && mapping.vma.flags & special == 0
        && mapping.name.is_empty()
}

/// Makes a mapping. A private one with content is writable until that is in.
fn map(member: &Member<'_>, mapping: &Mapping, shared: &SharedMemory, filled: bool) -> Outcome {
    let vma = &mapping.vma;
    let has = |flag| vma.flags & flag != 0;
    let mut flags = abi::MAP_FIXED_NOREPLACE;
    let file = match mapping.kind {
        VmaKind::Vdso | VmaKind::Vvar => return Ok(()),
        VmaKind::Anonymous if has(vma_flags::DROPPABLE) => {
            flags |= abi::MAP_DROPPABLE | abi::MAP_ANONYMOUS;
            None
        }
        VmaKind::Anonymous => {
            flags |= abi::MAP_PRIVATE | abi::MAP_ANONYMOUS;
            None
        }
        VmaKind::FilePrivate | VmaKind::FileShared | VmaKind::SharedMemory => {
            flags |= if mapping.kind == VmaKind::FilePrivate {
                abi::MAP_PRIVATE
            } else {
                abi::MAP_SHARED
            };
            let file = shared_file(shared, vma.object).or_else(|| member.file(vma.object));
            if file.is_none() {
                fail!(EBADF, "the file of the mapping was not handed in");
            }
            file
        }
    };
    for (flag, bit) in [
        (vma_flags::GROWS_DOWN, abi::MAP_GROWSDOWN),
        (vma_flags::NO_RESERVE, abi::MAP_NORESERVE),
        (vma_flags::NO_HUGE_PAGE, abi::MAP_STACK),
    ] {
        if has(flag) {
            flags |= bit;
        }
    }
    let mut protection = protection(mapping);
    if filled && is_private(mapping) {
        protection |= abi::PROT_READ | abi::PROT_WRITE;
    }
    // A mapping of a memfd that was sealed against writing: the seals come back later, when nothing
    // is written any more, so until then the open file has to keep the mapping from being writable.
    let read_only = match file {
        Some(file) if mapping.kind == VmaKind::SharedMemory && !has(vma_flags::MAY_WRITE) => {
            Some(file.reopen_read_only()?)
        }
        _ => None,
    };
    let file = read_only.as_ref().or(file);
    let offset = if file.is_some() { vma.offset } else { 0 };
    restart_mm::map(file, vma.start, mapping.length(), protection, flags, offset)?;
    if has(vma_flags::HUGE_PAGE) {
        syscall::madvise(vma.start, mapping.length(), abi::MADV_HUGEPAGE)
            .within(format_args!("madvise(MADV_HUGEPAGE)"))?;
    }
    if !mapping.name.is_empty() {
        name(mapping)?;
    }
    Ok(())
}

fn name(mapping: &Mapping) -> Outcome {
    let scratch = Scratch::new()?;
    let mut name = KVec::with_capacity(mapping.name.len() + 1, GFP_KERNEL)?;
    name.extend_from_slice(&mapping.name, GFP_KERNEL)?;
    name.push(0, GFP_KERNEL)?;
    let address = scratch.write(0, &name)?;
    syscall::name_mapping(mapping.vma.start, mapping.length(), address)
        .within(format_args!("naming it"))
}

/// Fills all pages. What no mapping shows of a memfd is in it already.
fn fill(member: &Member<'_>, shared: &SharedMemory, memfds: &SharedMemory) -> Outcome<u64> {
    let image = member.image;
    let mut reader = Reader::new(&image.pages)?;
    let mut mappings = image
        .mappings
        .iter()
        .filter(|one| holds_content(one))
        .peekable();
    let mut filled = 0;
    for extent in image.pages.extents() {
        let mut skip = 0;
        while skip < extent.pages {
            member.proceed()?;
            let address = extent.address + skip * PAGE_SIZE as u64;
            while mappings.next_if(|one| one.vma.end <= address).is_some() {}
            let Some(mapping) = mappings.peek() else {
                return Err(damaged(Damage::Value("an extent")));
            };
            let here = mapping.vma.end.saturating_sub(address) / PAGE_SIZE as u64;
            let wanted = here.min(extent.pages - skip);
            if mapping.kind == VmaKind::SharedMemory {
                let object = mapping.vma.object;
                let file = shared_file(shared, object).or_else(|| shared_file(memfds, object));
                let Some(file) = file else {
                    return Err(damaged(Damage::Value("the object of a mapping")));
                };
                let bytes = reader.read(extent, skip, wanted)?;
                skip += (bytes.len() / PAGE_SIZE) as u64;
                filled += (bytes.len() / PAGE_SIZE) as u64;
                let offset = mapping.vma.offset + address.saturating_sub(mapping.vma.start);
                // The last page may reach behind the end of the memory.
                let size = image.object(object).map_or(0, |one| one.size);
                let room = size.saturating_sub(offset);
                let inside = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                file.write_at(offset, bytes.get(..inside).unwrap_or(bytes))
                    .within(at!(mapping.vma))?;
                continue;
            }
            let bytes = reader.read(extent, skip, wanted)?;
            skip += (bytes.len() / PAGE_SIZE) as u64;
            filled += (bytes.len() / PAGE_SIZE) as u64;
            restart_mm::write_user(address, bytes)
                .within(format_args!("filling the page at {address:#x}"))?;
        }
    }
    Ok(filled)
}

/// Takes the access away that only filling needed.
fn protect(mapping: &Mapping) -> Outcome {
    let wanted = protection(mapping);
    let both = abi::PROT_READ | abi::PROT_WRITE;
    if is_private(mapping) && wanted & both != both {
        syscall::mprotect(mapping.vma.start, mapping.length(), wanted)
            .within(format_args!("mprotect"))?;
    }
    Ok(())
}

fn advise(mapping: &Mapping) -> Outcome {
    let vma = &mapping.vma;
    if matches!(mapping.kind, VmaKind::Vdso | VmaKind::Vvar) {
        return Ok(());
    }
    // A droppable mapping has these two from the beginning.
    let droppable = vma.flags & vma_flags::DROPPABLE != 0;
    for (flag, advice, words, implied) in [
        (
            vma_flags::DONT_FORK,
            abi::MADV_DONTFORK,
            "MADV_DONTFORK",
            false,
        ),
        (
            vma_flags::DONT_DUMP,
            abi::MADV_DONTDUMP,
            "MADV_DONTDUMP",
            droppable,
        ),
        (
            vma_flags::WIPE_ON_FORK,
            abi::MADV_WIPEONFORK,
            "MADV_WIPEONFORK",
            droppable,
        ),
        (
            vma_flags::MERGEABLE,
            abi::MADV_MERGEABLE,
            "MADV_MERGEABLE",
            false,
        ),
        (
            vma_flags::SEQUENTIAL,
            abi::MADV_SEQUENTIAL,
            "MADV_SEQUENTIAL",
            false,
        ),
        (vma_flags::RANDOM, abi::MADV_RANDOM, "MADV_RANDOM", false),
    ] {
        if vma.flags & flag != 0 && !implied {
            syscall::madvise(vma.start, mapping.length(), advice)
                .within(format_args!("madvise({words})"))?;
        }
    }
    Ok(())
}

/// Locks and seals mappings: what must come last, when nothing is changed any more.
pub(super) fn lock_and_seal(image: &ProcessImage) -> Outcome {
    for mapping in image.mappings.iter() {
        let vma = &mapping.vma;
        if vma.flags & vma_flags::LOCKED != 0 {
            let on_fault = vma.flags & vma_flags::LOCK_ON_FAULT != 0;
            // Where it shows guard pages or the end of a file, this fails when all is done that can
            // be; that the mapping is locked is checked afterwards.
            let _ = syscall::mlock(vma.start, mapping.length(), on_fault);
        }
        if vma.flags & vma_flags::SEALED != 0 {
            syscall::mseal(vma.start, mapping.length())
                .within(format_args!("mseal"))
                .within(at!(vma))?;
        }
    }
    match image.space.lock_future {
        0 => Ok(()),
        how => syscall::mlock_future(how == 3).within(format_args!("mlockall(MCL_FUTURE)")),
    }
}
