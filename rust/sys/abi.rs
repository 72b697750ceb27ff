// SPDX-License-Identifier: GPL-2.0

//! Constants of the kernel's interface to user space that its bindings lack.

/// `PROT_READ`
pub(crate) const PROT_READ: u32 = 1;
/// `PROT_WRITE`
pub(crate) const PROT_WRITE: u32 = 2;
/// `PROT_EXEC`
pub(crate) const PROT_EXEC: u32 = 4;

/// `MAP_SHARED`
pub(crate) const MAP_SHARED: u32 = 0x1;
/// `MAP_PRIVATE`
pub(crate) const MAP_PRIVATE: u32 = 0x2;
/// `MAP_DROPPABLE`, which stands where `MAP_PRIVATE` does
pub(crate) const MAP_DROPPABLE: u32 = 0x8;
/// `MAP_ANONYMOUS`
pub(crate) const MAP_ANONYMOUS: u32 = 0x20;
/// `MAP_GROWSDOWN`
pub(crate) const MAP_GROWSDOWN: u32 = 0x100;
/// `MAP_NORESERVE`
pub(crate) const MAP_NORESERVE: u32 = 0x4000;
/// `MAP_STACK`: no huge pages
pub(crate) const MAP_STACK: u32 = 0x2_0000;
/// `MAP_FIXED_NOREPLACE`
pub(crate) const MAP_FIXED_NOREPLACE: u32 = 0x10_0000;

/// `MADV_RANDOM`
pub(crate) const MADV_RANDOM: u32 = 1;
/// `MADV_SEQUENTIAL`
pub(crate) const MADV_SEQUENTIAL: u32 = 2;
/// `MADV_DONTFORK`
pub(crate) const MADV_DONTFORK: u32 = 10;
/// `MADV_MERGEABLE`
pub(crate) const MADV_MERGEABLE: u32 = 12;
/// `MADV_HUGEPAGE`
pub(crate) const MADV_HUGEPAGE: u32 = 14;
/// `MADV_DONTDUMP`
pub(crate) const MADV_DONTDUMP: u32 = 16;
/// `MADV_WIPEONFORK`
pub(crate) const MADV_WIPEONFORK: u32 = 18;
/// `MADV_GUARD_INSTALL`
pub(crate) const MADV_GUARD_INSTALL: u32 = 102;

/// `MCL_FUTURE`
pub(super) const MCL_FUTURE: u32 = 2;
/// `MCL_ONFAULT`
pub(super) const MCL_ONFAULT: u32 = 4;

/// `PR_SET_MM`
pub(super) const PR_SET_MM: u32 = 35;
/// `PR_SET_MM_MAP`
pub(super) const PR_SET_MM_MAP: u32 = 14;
/// `PR_SET_THP_DISABLE`
pub(super) const PR_SET_THP_DISABLE: u32 = 41;
/// `PR_SET_VMA`
pub(super) const PR_SET_VMA: u32 = 0x5356_4d41;
/// `PR_SET_VMA_ANON_NAME`
pub(super) const PR_SET_VMA_ANON_NAME: u32 = 0;
/// `ARCH_MAP_VDSO_64`
pub(super) const ARCH_MAP_VDSO_64: u32 = 0x2003;
/// `RSEQ_FLAG_UNREGISTER`
pub(super) const RSEQ_FLAG_UNREGISTER: u32 = 1;

/// `READ_IMPLIES_EXEC` of `personality(2)`
pub(crate) const READ_IMPLIES_EXEC: u32 = 0x40_0000;
