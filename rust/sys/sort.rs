// SPDX-License-Identifier: GPL-2.0

//! The kernel's heap sort. (Rust's own is followed by objtool with warnings only.)

use kernel::ffi;

extern "C" {
    // From `<linux/sort.h>`.
    fn sort_r(
        base: *mut ffi::c_void,
        count: usize,
        size: usize,
        compare: unsafe extern "C" fn(
            *const ffi::c_void,
            *const ffi::c_void,
            *const ffi::c_void,
        ) -> ffi::c_int,
        swap: *const ffi::c_void,
        private: *const ffi::c_void,
    );
}

/// Compares two elements by the key that `key` gives.
///
/// # Safety
///
/// `one` and `other` are elements of type `T`, and `key` is a `fn(&T) -> u64`.
unsafe extern "C" fn compare<T>(
    one: *const ffi::c_void,
    other: *const ffi::c_void,
    key: *const ffi::c_void,
) -> ffi::c_int {
    // SAFETY: `sort_r` passes elements of the slice, and what it was given as private data.
    let (one, other, key) = unsafe {
        (
            &*one.cast::<T>(),
            &*other.cast::<T>(),
            &*key.cast::<fn(&T) -> u64>(),
        )
    };
    key(one).cmp(&key(other)) as ffi::c_int
}

/// Sorts `slice` by `key`, ascending. Not stable. Sleeps at most to let others run.
pub(crate) fn sort_by_key<T>(slice: &mut [T], key: fn(&T) -> u64) {
    // SAFETY: base, number and size are those of the slice, whose elements may be moved bytewise
    // while nobody else sees them; the comparison neither panics nor changes them, and the pointer
    // to the key is valid for the call.
    unsafe {
        sort_r(
            slice.as_mut_ptr().cast(),
            slice.len(),
            core::mem::size_of::<T>(),
            compare::<T>,
            core::ptr::null(),
            (&raw const key).cast(),
        )
    }
}
