// SPDX-License-Identifier: GPL-2.0

//! Pages that geist holds.

use super::helpers;
use crate::image::PAGE_SIZE;
use core::ptr::NonNull;
use kernel::{bindings, page::Page, prelude::*};

/// A held page and its address, in whose low bits something else may stand.
#[repr(C)]
pub(crate) struct AddressedPage {
    pub(crate) address: u64,
    pub(crate) page: HeldPage,
}

/// A reference to a page. Its content is that of the moment of the capture.
#[repr(transparent)]
pub(crate) struct HeldPage {
    page: NonNull<bindings::page>,
}

// SAFETY: a reference to a page may be dropped by any task.
unsafe impl Send for HeldPage {}

impl HeldPage {
    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `page` is valid, and the caller gives up a reference to it.
    pub(super) unsafe fn from_raw(page: *mut bindings::page) -> Self {
        // SAFETY: a valid pointer is not null.
        let page = unsafe { NonNull::new_unchecked(page) };
        Self { page }
    }

    /// A new page with the content of this one. May sleep.
    pub(crate) fn copy(&self) -> Result<Self> {
        let mut copy = NewPage::new()?;
        copy.bytes().copy_from_slice(self.bytes());
        Ok(copy.hold())
    }

    /// Page number `n` of a huge page whose first page this is. `n` is below 512.
    pub(super) fn nth(&self, n: usize) -> Self {
        // SAFETY: the caller says that the page is the first of a huge page; the reference to any
        // page of a folio keeps all of them.
        unsafe {
            let page = helpers::geist_page_nth(self.page.as_ptr(), n);
            helpers::geist_page_get(page);
            Self::from_raw(page)
        }
    }

    /// The content.
    pub(crate) fn bytes(&self) -> &[u8; PAGE_SIZE] {
        // SAFETY: x86-64 maps all memory; the page is held. Nobody writes to it: a captured page is
        // write-protected everywhere, a copy belongs to geist. (One that is pinned may be written
        // by a device while it is copied, which the file format's checksum, taken of the copy, does
        // not see.)
        unsafe { &*helpers::geist_page_address(self.page.as_ptr()).cast() }
    }

    /// The page, for an I/O vector.
    pub(super) fn as_ptr(&self) -> *mut bindings::page {
        self.page.as_ptr()
    }
}

impl Drop for HeldPage {
    fn drop(&mut self) {
        // SAFETY: this gives up the reference that the value owns.
        unsafe { helpers::geist_page_put(self.page.as_ptr()) }
    }
}

/// A page being filled.
pub(crate) struct NewPage {
    page: Page,
}

impl NewPage {
    /// A page with undefined content (zeroed). May sleep. `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            page: Page::alloc_page(GFP_KERNEL | __GFP_ZERO)?,
        })
    }

    /// The content.
    pub(crate) fn bytes(&mut self) -> &mut [u8; PAGE_SIZE] {
        // SAFETY: x86-64 maps all memory, and nobody else knows the page.
        unsafe { &mut *helpers::geist_page_address(self.page.as_ptr()).cast() }
    }

    /// The page, filled.
    pub(crate) fn hold(self) -> HeldPage {
        // SAFETY: the page is valid; the reference taken belongs to the new value, that of `Page`
        // is dropped with it.
        unsafe {
            helpers::geist_page_get(self.page.as_ptr());
            HeldPage::from_raw(self.page.as_ptr())
        }
    }
}
