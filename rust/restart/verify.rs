// SPDX-License-Identifier: GPL-2.0

//! Whether the mappings of a process are those of its image.
//!
//! They were made by system calls that have ways of their own with flags: what a file lets in, what
//! a limit forbids, what this kernel lacks. A process never runs on with a difference.

use super::check::at;
use super::image::{Mapping, ProcessImage};
use crate::error::{fail, Context, Outcome};
use crate::image::mm::{vma_flags, VmaKind};
use crate::sys::mm::{AddressSpace, Locked};
use kernel::prelude::*;

/// Flags that may differ: whether memory is reserved is the administrator's choice as well.
const MAY_DIFFER: u64 = vma_flags::NO_RESERVE;

/// Compares the mappings of the calling process with those of the image. Takes `mmap_lock`.
pub(super) fn verify(image: &ProcessImage) -> Outcome {
    let space = AddressSpace::of(kernel::current!())?;
    let locked = space.lock()?;
    let mut bytes = 0u64;
    for mapping in image.mappings.iter() {
        compare(&locked, mapping).within(at!(mapping.vma))?;
        bytes = bytes.saturating_add(mapping.length());
    }
    let mut mapped = 0u64;
    let mut address = 0;
    while let Some(mapping) = locked.next_mapping(address) {
        address = mapping.end();
        mapped = mapped.saturating_add(mapping.end().saturating_sub(mapping.start()));
    }
    if mapped != bytes {
        fail!(EINVAL, "{mapped} bytes are mapped, {bytes} were");
    }
    Ok(())
}

fn compare(locked: &Locked<'_>, wanted: &Mapping) -> Outcome {
    let special = matches!(wanted.kind, VmaKind::Vdso | VmaKind::Vvar);
    let mut address = wanted.vma.start;
    while address < wanted.vma.end {
        // Neighbours that are alike in everything may have become one.
        let Some(found) = locked
            .next_mapping(address)
            .filter(|one| one.start() <= address)
        else {
            fail!(EINVAL, "nothing is mapped at {address:#x}");
        };
        if special != found.special_name().is_some() {
            fail!(EINVAL, "it is not of the same kind any more");
        }
        let differing = (found.image_flags() ^ wanted.vma.flags) & !MAY_DIFFER;
        if !special && differing != 0 {
            fail!(
                EINVAL,
                "its flags are {:#x}, they were {:#x} (they differ in {differing:#x})",
                found.image_flags(),
                wanted.vma.flags
            );
        }
        address = found.end();
    }
    Ok(())
}
