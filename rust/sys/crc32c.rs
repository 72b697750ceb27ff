// SPDX-License-Identifier: GPL-2.0

//! The kernel's CRC32C.

use kernel::ffi;

extern "C" {
    // From `<linux/crc32.h>`.
    #[link_name = "crc32c"]
    fn kernel_crc32c(crc: u32, bytes: *const ffi::c_void, length: usize) -> u32;
}

/// Continues a running CRC32C (see [`crate::image::Crc32c`]). Any context.
pub(crate) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    // SAFETY: the pointer and the length are those of a slice.
    unsafe { kernel_crc32c(crc, bytes.as_ptr().cast(), bytes.len()) }
}
