// SPDX-License-Identifier: GPL-2.0

//! Records of an address space: its fields, mappings, guard pages, auxiliary vector.

use super::record::record;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The address space (`struct prctl_mm_map` and what it lacks).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AddressSpace {
    /// `/proc/<pid>/stat`: code.
    pub start_code: u64,
    /// End of the code.
    pub end_code: u64,
    /// Initialised data.
    pub start_data: u64,
    /// End of the data.
    pub end_data: u64,
    /// Heap.
    pub start_brk: u64,
    /// End of the heap.
    pub brk: u64,
    /// Stack at exec.
    pub start_stack: u64,
    /// Command line.
    pub arg_start: u64,
    /// End of the command line.
    pub arg_end: u64,
    /// Environment.
    pub env_start: u64,
    /// End of the environment.
    pub env_end: u64,
    /// Where `mmap(2)` looks for room first.
    pub mmap_base: u64,
    /// Address of the vDSO's code, 0 when there is none.
    pub vdso: u64,
    /// Bytes of the vDSO's code mapping.
    pub vdso_bytes: u64,
    /// CRC32C of the vDSO's code.
    pub vdso_crc: u32,
    /// The [`super::files::FileObject`] of the exe link.
    pub exe_object: u32,
    /// `mlockall(MCL_FUTURE)`: 1; with `MCL_ONFAULT`: 3.
    pub lock_future: u32,
    /// `PR_SET_THP_DISABLE`.
    pub thp_disable: u32,
    /// Number of [`Vma`] records.
    pub vmas: u64,
    /// Auxiliary vector, pairs of type and value, ended by type 0.
    pub auxv: [u64; 64],
}
record!(AddressSpace, 96, "the address space", 0);

/// What backs a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum VmaKind {
    /// Private anonymous memory: heap, stack, `mmap(2)`.
    Anonymous = 1,
    /// A private mapping of a file object; its changed pages are saved.
    FilePrivate = 2,
    /// A shared mapping of a file object; nothing is saved but its place.
    FileShared = 3,
    /// A shared mapping of a memfd or of shared anonymous memory; its content is saved.
    SharedMemory = 4,
    /// The vDSO's code.
    Vdso = 5,
    /// The vDSO's data (vvar).
    Vvar = 6,
}

impl VmaKind {
    /// The one with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        [
            Self::Anonymous,
            Self::FilePrivate,
            Self::FileShared,
            Self::SharedMemory,
            Self::Vdso,
            Self::Vvar,
        ]
        .into_iter()
        .find(|one| *one as u32 == number)
    }
}

/// Flags of a mapping.
pub mod vma_flags {
    /// `PROT_READ`.
    pub const READ: u64 = 1 << 0;
    /// `PROT_WRITE`.
    pub const WRITE: u64 = 1 << 1;
    /// `PROT_EXEC`.
    pub const EXEC: u64 = 1 << 2;
    /// May be made readable.
    pub const MAY_READ: u64 = 1 << 3;
    /// May be made writable.
    pub const MAY_WRITE: u64 = 1 << 4;
    /// May be made executable.
    pub const MAY_EXEC: u64 = 1 << 5;
    /// `MAP_SHARED`.
    pub const SHARED: u64 = 1 << 6;
    /// `MAP_GROWSDOWN`: a stack.
    pub const GROWS_DOWN: u64 = 1 << 7;
    /// `mlock(2)`.
    pub const LOCKED: u64 = 1 << 8;
    /// `mlock2(MLOCK_ONFAULT)`.
    pub const LOCK_ON_FAULT: u64 = 1 << 9;
    /// `MAP_NORESERVE`.
    pub const NO_RESERVE: u64 = 1 << 10;
    /// `MADV_DONTFORK`.
    pub const DONT_FORK: u64 = 1 << 11;
    /// `MADV_DONTDUMP`.
    pub const DONT_DUMP: u64 = 1 << 12;
    /// `MADV_WIPEONFORK`.
    pub const WIPE_ON_FORK: u64 = 1 << 13;
    /// `MADV_MERGEABLE`.
    pub const MERGEABLE: u64 = 1 << 14;
    /// `MADV_HUGEPAGE`.
    pub const HUGE_PAGE: u64 = 1 << 15;
    /// `MADV_NOHUGEPAGE` (also `MAP_STACK`).
    pub const NO_HUGE_PAGE: u64 = 1 << 16;
    /// `MAP_DROPPABLE`: content is not saved.
    pub const DROPPABLE: u64 = 1 << 17;
    /// `MADV_SEQUENTIAL`.
    pub const SEQUENTIAL: u64 = 1 << 18;
    /// `MADV_RANDOM`.
    pub const RANDOM: u64 = 1 << 19;
    /// `mseal(2)`.
    pub const SEALED: u64 = 1 << 20;
    /// It had guard pages once, or was one with a mapping that had.
    pub const MAYBE_GUARD: u64 = 1 << 21;
    /// Every flag that there is.
    pub const ALL: u64 = (1 << 22) - 1;
}

/// A mapping. The tail is the name that `PR_SET_VMA_ANON_NAME` gave it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Vma {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// [`vma_flags`].
    pub flags: u64,
    /// Offset in the file, bytes.
    pub offset: u64,
    /// A [`VmaKind`].
    pub kind: u32,
    /// The [`super::files::FileObject`], or 0.
    pub object: u32,
}
record!(Vma, 97, "a mapping", 80);

/// Pages that `madvise(MADV_GUARD_INSTALL)` made guards.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GuardPages {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
}
record!(GuardPages, 98, "guard pages", 0);
