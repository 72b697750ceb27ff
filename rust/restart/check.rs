// SPDX-License-Identifier: GPL-2.0

//! What can be refused before anything is touched.

use super::image::{damaged, Mapping, ProcessImage};
use crate::error::{fail, Context, Outcome};
use crate::image::files::ObjectKind;
use crate::image::mm::{vma_flags, AddressSpace, GuardPages, Vma, VmaKind};
use crate::image::record::Record;
use crate::image::thread::{Registers, Xstate};
use crate::image::{Damage, CRC_START, PAGE_SIZE};
use crate::sys::crc32c::crc32c;
use crate::sys::regset_set::{has_vector_features, RegisterSet};
use crate::sys::restart_mm;
use kernel::prelude::*;

/// Selector of 64-bit user code.
const USER_CS: u64 = 0x33;

/// Offset of the header of an XSAVE area, which begins with the features that it holds.
const XSAVE_HEADER: usize = 512;

fn is_page_aligned(address: u64) -> bool {
    address % PAGE_SIZE as u64 == 0
}

/// Checks everything but the pages. May sleep.
pub(super) fn check(image: &ProcessImage) -> Outcome {
    check_machine(image)?;
    check_mappings(image)?;
    check_space(image)?;
    if let Some(call) = &image.call {
        super::call::check(call)?;
    }
    Ok(())
}

/// The registers fit the machine.
fn check_machine(image: &ProcessImage) -> Outcome {
    if image.registers.len() != RegisterSet::General.bytes() {
        return Err(damaged(Damage::Value(Registers::NAME)));
    }
    if super::registers::code_selector(&image.registers) != Some(USER_CS) {
        fail!(
            EOPNOTSUPP,
            "the process ran 32-bit code, which geist cannot restart"
        );
    }
    let wanted = RegisterSet::Vector.bytes();
    if image.xstate.len() != wanted {
        fail!(
            EOPNOTSUPP,
            "its vector registers have {} bytes, those of this CPU {wanted}; restart it on the kind of machine where it was checkpointed",
            image.xstate.len()
        );
    }
    let Some(Ok(features)) = image
        .xstate
        .get(XSAVE_HEADER..XSAVE_HEADER + 8)
        .map(<[u8; 8]>::try_from)
    else {
        return Err(damaged(Damage::Value(Xstate::NAME)));
    };
    let features = u64::from_le_bytes(features);
    if !has_vector_features(features) {
        fail!(
            EOPNOTSUPP,
            "it uses vector registers (features {features:#x}) that this CPU does not have; restart it on the kind of machine where it was checkpointed"
        );
    }
    Ok(())
}

/// Words for a mapping.
macro_rules! at {
    ($vma:expr) => {
        format_args!("the mapping at {:#x}-{:#x}", $vma.start, $vma.end)
    };
}
pub(super) use at;

fn check_mappings(image: &ProcessImage) -> Outcome {
    if image.space.vmas != image.mappings.len() as u64 {
        return Err(damaged(Damage::Value("the number of mappings")));
    }
    let mut last = 0;
    for mapping in image.mappings.iter() {
        let vma = &mapping.vma;
        if vma.start < last
            || vma.start >= vma.end
            || vma.end > restart_mm::task_size()
            || !is_page_aligned(vma.start)
            || !is_page_aligned(vma.end)
        {
            return Err(damaged(Damage::Value(Vma::NAME)));
        }
        last = vma.end;
        check_mapping(image, mapping).within(at!(vma))?;
    }
    for guard in image.guards.iter() {
        if guard.start >= guard.end
            || guard.end > restart_mm::task_size()
            || !is_page_aligned(guard.start)
            || !is_page_aligned(guard.end)
        {
            return Err(damaged(Damage::Value(GuardPages::NAME)));
        }
    }
    Ok(())
}

/// Its kind, object and flags go together.
fn check_mapping(image: &ProcessImage, mapping: &Mapping) -> Outcome {
    let vma = &mapping.vma;
    let object = image.object_kind(vma.object);
    let fits = match mapping.kind {
        VmaKind::Anonymous | VmaKind::Vdso | VmaKind::Vvar => vma.object == 0,
        VmaKind::FilePrivate | VmaKind::FileShared => matches!(
            object,
            Some(ObjectKind::Regular | ObjectKind::Memfd | ObjectKind::SharedAnonymous)
        ),
        VmaKind::SharedMemory => {
            matches!(
                object,
                Some(ObjectKind::Memfd | ObjectKind::SharedAnonymous)
            )
        }
    };
    let shared = matches!(mapping.kind, VmaKind::FileShared | VmaKind::SharedMemory);
    let special = vma_flags::GROWS_DOWN | vma_flags::DROPPABLE;
    if !fits
        || shared != (vma.flags & vma_flags::SHARED != 0)
        || (vma.flags & special != 0 && mapping.kind != VmaKind::Anonymous)
        || vma.flags & special == special
        || (vma.object != 0
            && (!is_page_aligned(vma.offset) || vma.offset.checked_add(mapping.length()).is_none()))
    {
        return Err(damaged(Damage::Value(Vma::NAME)));
    }
    Ok(())
}

fn check_space(image: &ProcessImage) -> Outcome {
    let space = &image.space;
    if image.object_kind(space.exe_object) != Some(ObjectKind::Regular)
        || super::space::auxv_bytes(&space.auxv).is_none()
        || space.mmap_base > restart_mm::task_size()
        || !is_page_aligned(space.mmap_base)
    {
        return Err(damaged(Damage::Value(AddressSpace::NAME)));
    }
    let code = image
        .mappings
        .iter()
        .filter(|one| one.kind == VmaKind::Vdso);
    let mut parts = 0;
    for mapping in code {
        parts += 1;
        if mapping.vma.start != space.vdso || mapping.length() != space.vdso_bytes {
            fail!(
                EOPNOTSUPP,
                "the process moved or split its vDSO, which geist cannot restart"
            );
        }
    }
    if parts > 1 || (parts == 0) != (space.vdso_bytes == 0) {
        return Err(damaged(Damage::Value(AddressSpace::NAME)));
    }
    if parts == 1 {
        check_vdso(space)?;
    }
    Ok(())
}

/// The vDSO of the running kernel, as the calling process has it, is that of the image: the process
/// may have been in its code, and has addresses of its functions.
fn check_vdso(space: &AddressSpace) -> Outcome {
    const LARGEST: u64 = 1 << 20;
    let differs = format_args!(
        "the vDSO of this kernel differs from that of the kernel on which the process was checkpointed; restart it on that kernel"
    );
    let own = super::space::own_vdso().within(format_args!("the vDSO"))?;
    let Some(own) = own.filter(|own| own.end - own.start == space.vdso_bytes) else {
        fail!(EOPNOTSUPP, "{differs}");
    };
    if space.vdso_bytes > LARGEST || space.vdso < restart_mm::vdso_data_bytes() {
        return Err(damaged(Damage::Value(AddressSpace::NAME)));
    }
    let mut code = KVVec::from_elem(0u8, space.vdso_bytes as usize, GFP_KERNEL)?;
    restart_mm::read_user(own.start, &mut code).within(format_args!("the vDSO"))?;
    if crc32c(CRC_START, &code) != space.vdso_crc {
        fail!(EOPNOTSUPP, "{differs}");
    }
    Ok(())
}

/// Every page lies in a mapping whose content is saved.
pub(super) fn check_pages(image: &ProcessImage) -> Outcome {
    let mut mappings = image
        .mappings
        .iter()
        .filter(|one| holds_content(one))
        .peekable();
    for extent in image.pages.extents() {
        let Some(end) = extent.end() else {
            return Err(damaged(Damage::Value("an extent")));
        };
        let mut address = extent.address;
        while address < end {
            while mappings.next_if(|one| one.vma.end <= address).is_some() {}
            match mappings.peek() {
                Some(one) if one.vma.start <= address => address = one.vma.end,
                _ => fail!(
                    EBADMSG,
                    "the page at {address:#x} lies in no mapping with saved content: it is damaged"
                ),
            }
        }
    }
    Ok(())
}

/// Whether pages of the mapping are in the image.
pub(super) fn holds_content(mapping: &Mapping) -> bool {
    match mapping.kind {
        VmaKind::Anonymous => mapping.vma.flags & vma_flags::DROPPABLE == 0,
        VmaKind::FilePrivate | VmaKind::SharedMemory => true,
        VmaKind::FileShared | VmaKind::Vdso | VmaKind::Vvar => false,
    }
}
