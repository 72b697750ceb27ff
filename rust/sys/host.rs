// SPDX-License-Identifier: GPL-2.0

//! The running kernel.

use super::helpers;
use kernel::bindings;

/// Its release (`uname -r`), filled up with zeros.
pub(crate) fn kernel_release() -> [u8; 64] {
    let mut release = [0; 64];
    // SAFETY: the buffer has room for what the helper writes at most.
    unsafe { helpers::geist_kernel_release(release.as_mut_ptr().cast(), release.len()) };
    release
}

/// A random number, of the quality that keys have.
pub(crate) fn random() -> u64 {
    // SAFETY: it may be called from everywhere.
    unsafe { bindings::get_random_u64() }
}

/// Bytes of main memory.
pub(crate) fn ram_bytes() -> u64 {
    let mut info = bindings::sysinfo::default();
    // SAFETY: the structure is filled by the call.
    unsafe { bindings::si_meminfo(&mut info) };
    info.totalram as u64 * u64::from(info.mem_unit)
}
