// SPDX-License-Identifier: GPL-2.0

//! Telling pages apart by a number.

use kernel::ffi;

extern "C" {
    // From `<linux/xxhash.h>`.
    fn xxh64(bytes: *const ffi::c_void, length: usize, seed: u64) -> u64;
}

/// A number that two different pages have in common once in 2^64 (the kernel's xxHash). Any context.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    // SAFETY: the pointer and the length are those of a slice.
    unsafe { xxh64(bytes.as_ptr().cast(), bytes.len(), 0) }
}
