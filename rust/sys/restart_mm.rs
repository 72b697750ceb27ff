// SPDX-License-Identifier: GPL-2.0

//! The address space of the calling process, as it is rebuilt.
//!
//! All of this goes the ways of ordinary system calls: whatever the arguments, the worst is an
//! error or an address space that is of no use to its owner.

use super::file::OpenFile;
use super::{helpers, syscall};
use kernel::{bindings, error::from_err_ptr, prelude::*, uaccess::UserPtr, uaccess::UserSlice};

/// Address behind the last one that the calling process may use.
pub(crate) fn task_size() -> u64 {
    // SAFETY: always callable in process context.
    unsafe { helpers::geist_task_size() as u64 }
}

/// Bytes of the vDSO's data (vvar), which lies before its code.
pub(crate) fn vdso_data_bytes() -> u64 {
    // SAFETY: a constant.
    unsafe { helpers::geist_vdso_data_bytes() as u64 }
}

/// Maps `length` bytes at `address` (`mmap(2)`). Takes `mmap_lock`. Returns the address.
pub(crate) fn map(
    file: Option<&OpenFile>,
    address: u64,
    length: u64,
    protection: u32,
    flags: u32,
    offset: u64,
) -> Result<u64> {
    let file = file.map_or(core::ptr::null_mut(), OpenFile::as_ptr);
    // SAFETY: the file, if any, is open; everything else is checked by the kernel.
    let result = unsafe {
        bindings::vm_mmap(
            file,
            address as usize,
            length as usize,
            protection as usize,
            flags as usize,
            offset as usize,
        )
    };
    match result as isize {
        error @ -4095..=-1 => Err(Error::from_errno(error as i32)),
        _ => Ok(result as u64),
    }
}

/// Removes every mapping in a range (`munmap(2)`). Takes `mmap_lock`.
pub(crate) fn unmap(address: u64, length: u64) -> Result {
    // SAFETY: only mappings of user space are removed; nothing of the kernel's relies on them.
    kernel::error::to_result(unsafe { bindings::vm_munmap(address as usize, length as usize) })
}

/// Where `mmap(2)` looks for room first. Takes `mmap_lock`.
pub(crate) fn set_mmap_base(base: u64) -> Result {
    if base > task_size() || base % crate::image::PAGE_SIZE as u64 != 0 {
        return Err(EINVAL);
    }
    // SAFETY: the calling process has an address space; the value is only a place to search from.
    unsafe { helpers::geist_set_mmap_base(base as usize) };
    Ok(())
}

/// Makes the heap from `start` to `end` (`brk(2)`). Takes `mmap_lock`. `ENOMEM`.
pub(crate) fn map_heap(start: u64, end: u64) -> Result {
    // SAFETY: the calling process has an address space; brk(2) checks where its heap may be.
    unsafe { helpers::geist_set_heap_start(start as usize) };
    if syscall::brk(end)? == end {
        Ok(())
    } else {
        Err(ENOMEM)
    }
}

/// Marks the mapping at `address`, if there is one, as one that may have guard pages. Takes `mmap_lock`.
pub(crate) fn may_have_guards(address: u64) {
    // SAFETY: the calling process has an address space; the mark makes the kernel look, no more.
    unsafe { helpers::geist_maybe_guard(address as usize) }
}

/// A file of shared anonymous memory of this size, as `mmap(2)` makes it. With `reserve` the memory
/// is accounted at once. `ENOMEM`, `EINVAL` (too large).
pub(crate) fn shared_memory(bytes: u64, reserve: bool) -> Result<OpenFile> {
    // SAFETY: any size may be given.
    let file = from_err_ptr(unsafe { helpers::geist_shared_memory(bytes as usize, reserve) })?;
    // SAFETY: the reference to the new file is handed over.
    Ok(unsafe { OpenFile::from_raw(file) })
}

/// Writes to the memory of the calling process. `EFAULT`. May sleep.
pub(crate) fn write_user(address: u64, bytes: &[u8]) -> Result {
    UserSlice::new(UserPtr::from_addr(address as usize), bytes.len())
        .writer()
        .write_slice(bytes)
}

/// Reads the memory of the calling process. `EFAULT`. May sleep.
pub(crate) fn read_user(address: u64, bytes: &mut [u8]) -> Result {
    UserSlice::new(UserPtr::from_addr(address as usize), bytes.len())
        .reader()
        .read_slice(bytes)
}
