// SPDX-License-Identifier: GPL-2.0

//! Flags of mappings, as images have them.

use super::mm::{vma_bits, Mapping};
use crate::image::mm::vma_flags;

/// Flags of a mapping in the image, and the kernel's bits for them.
static FLAGS: [(u64, u32); 22] = [
    (vma_flags::READ, vma_bits::READ),
    (vma_flags::WRITE, vma_bits::WRITE),
    (vma_flags::EXEC, vma_bits::EXEC),
    (vma_flags::MAY_READ, vma_bits::MAY_READ),
    (vma_flags::MAY_WRITE, vma_bits::MAY_WRITE),
    (vma_flags::MAY_EXEC, vma_bits::MAY_EXEC),
    (vma_flags::SHARED, vma_bits::MAY_SHARE),
    (vma_flags::GROWS_DOWN, vma_bits::GROWS_DOWN),
    (vma_flags::LOCKED, vma_bits::LOCKED),
    (vma_flags::LOCK_ON_FAULT, vma_bits::LOCK_ON_FAULT),
    (vma_flags::NO_RESERVE, vma_bits::NO_RESERVE),
    (vma_flags::DONT_FORK, vma_bits::DONT_COPY),
    (vma_flags::DONT_DUMP, vma_bits::DONT_DUMP),
    (vma_flags::WIPE_ON_FORK, vma_bits::WIPE_ON_FORK),
    (vma_flags::MERGEABLE, vma_bits::MERGEABLE),
    (vma_flags::HUGE_PAGE, vma_bits::HUGE_PAGE),
    (vma_flags::NO_HUGE_PAGE, vma_bits::NO_HUGE_PAGE),
    (vma_flags::DROPPABLE, vma_bits::DROPPABLE),
    (vma_flags::SEQUENTIAL, vma_bits::SEQUENTIAL),
    (vma_flags::RANDOM, vma_bits::RANDOM),
    (vma_flags::SEALED, vma_bits::SEALED),
    (vma_flags::MAYBE_GUARD, vma_bits::MAY_HAVE_GUARDS),
];

impl Mapping<'_> {
    /// The [`vma_flags`] of the mapping.
    pub(crate) fn image_flags(&self) -> u64 {
        FLAGS
            .iter()
            .filter(|(_, bit)| self.flag(*bit))
            .fold(0, |flags, (flag, _)| flags | flag)
    }
}
