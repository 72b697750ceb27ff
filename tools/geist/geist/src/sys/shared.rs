// SPDX-License-Identifier: GPL-2.0

//! A page of memory that this process and its later children share.

use rustix::mm::{mmap_anonymous, munmap, MapFlags, ProtFlags};
use std::io;

/// Bytes of the page.
const BYTES: usize = 4096;

/// The page, filled with zeros at first.
pub struct SharedPage {
    start: *mut u8,
}

impl SharedPage {
    /// Maps a page.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the kernel chooses a free address, so no existing mapping is replaced.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
            )
        }?;
        Ok(Self {
            start: start.cast(),
        })
    }

    /// Its address.
    pub fn address(&self) -> u64 {
        self.start as u64
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        BYTES
    }

    /// A copy of its content.
    pub fn content(&self) -> Vec<u8> {
        let mut copy = vec![0; BYTES];
        // SAFETY: the page is mapped readable for the life of `self`, `copy` has its size.
        unsafe { std::ptr::copy_nonoverlapping(self.start, copy.as_mut_ptr(), BYTES) };
        copy
    }

    /// Replaces its content by the beginning of `text`, ended by a zero.
    pub fn set(&mut self, text: &str) {
        let length = text.len().min(BYTES - 1);
        // SAFETY: the page is mapped writable for the life of `self` and longer than `length`.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), self.start, length);
            *self.start.add(length) = 0;
        }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: this mapping was made in `new`, and nothing borrows from it.
        // A failure would leave a page mapped, which is harmless.
        let _ = unsafe { munmap(self.start.cast(), BYTES) };
    }
}
