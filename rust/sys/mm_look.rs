// SPDX-License-Identifier: GPL-2.0

//! Looking at the pages of a locked address space, without changing anything.

use super::helpers;
use super::mm::{AddressSpace, Locked, Mapping};
use super::page::HeldPage;
use super::selection::HUGE_PAGES;
use crate::image::PAGE_SIZE;
use kernel::{bindings, prelude::*};

const PAGE: u64 = PAGE_SIZE as u64;

/// Pages that are looked at under one lock.
const AT_ONCE: u64 = 16;

/// Who looks.
pub(crate) trait Look {
    /// Called before at most 512 calls of [`Look::page`]. May sleep.
    fn prepare(&mut self) -> Result;

    /// A page that is not the file's, and its content; `None`: it is in swap or under migration. Must not sleep.
    fn page(&mut self, address: u64, content: Option<&[u8; PAGE_SIZE]>);
}

impl AddressSpace {
    /// Bytes that its control groups (`memory.max`, of all levels) let it have beside what it has.
    pub(crate) fn room(&self) -> u64 {
        // SAFETY: the address space is valid.
        let pages = unsafe { helpers::geist_mm_room(self.raw()) };
        (pages as u64).saturating_mul(PAGE_SIZE as u64)
    }
}

impl Locked<'_> {
    /// Shows the pages of `mapping` that are no file's, ascending. Brings nothing in. May sleep.
    pub(crate) fn look_at(&self, mapping: &Mapping<'_>, look: &mut impl Look) -> Result {
        let mm = self.space.raw();
        let mut address = mapping.start();
        while address < mapping.end() {
            look.prepare()?;
            let mut next = 0;
            // SAFETY: `mmap_lock` is held for writing: upper tables stay.
            let pmd = unsafe { helpers::geist_pmd_find(mm, address as usize, &mut next) };
            let next = (next as u64).min(mapping.end());
            let mut page = core::ptr::null_mut();
            let kind = if pmd.is_null() {
                helpers::geist_entry_GEIST_ENTRY_NONE
            } else {
                // SAFETY: the entry and the mapping are valid.
                unsafe { helpers::geist_pmd_look(mapping.vma(), pmd, &mut page) as u32 }
            };
            match kind {
                helpers::geist_entry_GEIST_ENTRY_TABLE => {
                    while address < next {
                        address = self.look_at_table(mapping, pmd, address, next, look);
                    }
                }
                helpers::geist_entry_GEIST_ENTRY_ANON => {
                    // SAFETY: the helper took a reference to the folio that starts here.
                    let whole = unsafe { HeldPage::from_raw(page) };
                    for address in (address..next).step_by(PAGE_SIZE) {
                        let one = whole.nth((address / PAGE % HUGE_PAGES) as usize);
                        look.page(address, Some(one.bytes()));
                    }
                }
                helpers::geist_entry_GEIST_ENTRY_ABSENT => {
                    for address in (address..next).step_by(PAGE_SIZE) {
                        look.page(address, None);
                    }
                }
                _ => {}
            }
            address = next;
        }
        Ok(())
    }

    /// Shows some of the pages below one page table. Returns where to go on.
    fn look_at_table(
        &self,
        mapping: &Mapping<'_>,
        pmd: *mut bindings::pmd_t,
        address: u64,
        end: u64,
        look: &mut impl Look,
    ) -> u64 {
        let end = end.min(address + AT_ONCE * PAGE);
        let mut lock = core::ptr::null_mut();
        // SAFETY: the entry is valid.
        let first =
            unsafe { helpers::geist_pte_lock(self.space.raw(), pmd, address as usize, &mut lock) };
        if first.is_null() {
            // It has no table any more: nothing is mapped.
            return end;
        }
        for (number, address) in (address..end).step_by(PAGE_SIZE).enumerate() {
            let mut page = core::ptr::null_mut();
            // SAFETY: the table is locked and has an entry for every address below `end`.
            let kind = unsafe {
                helpers::geist_pte_look(mapping.vma(), first.add(number), &mut page) as u32
            };
            match kind {
                helpers::geist_entry_GEIST_ENTRY_ANON => {
                    // SAFETY: the lock keeps the page mapped; the process does not run, and who
                    // else could write to it waits for `mmap_lock` (but for a device that has it
                    // pinned: then the content is a mixture, which is looked at only).
                    let content = unsafe { &*helpers::geist_page_address(page).cast() };
                    look.page(address, Some(content));
                }
                helpers::geist_entry_GEIST_ENTRY_ABSENT => look.page(address, None),
                _ => {}
            }
        }
        // SAFETY: the lock was taken above.
        unsafe { helpers::geist_pte_unlock(lock) };
        end
    }
}
