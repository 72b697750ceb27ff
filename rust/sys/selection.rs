// SPDX-License-Identifier: GPL-2.0

//! Which pages of a mapping a capture visits.

/// Pages of a huge page, and those below one page table.
pub(super) const HUGE_PAGES: u64 = 512;

/// A bit for every page below a page table, which are those of 2 MiB.
pub(crate) type TableBits = [u64; HUGE_PAGES as usize / 64];

/// All pages below a page table.
const EVERY_PAGE: TableBits = [u64::MAX; HUGE_PAGES as usize / 64];

/// No page below a page table.
const NO_PAGE: TableBits = [0; HUGE_PAGES as usize / 64];

/// Whether the page of this number is among them.
pub(super) fn has_page(bits: &TableBits, number: usize) -> bool {
    bits.get(number / 64)
        .is_some_and(|word| word & (1 << (number % 64)) != 0)
}

/// Which pages of a mapping are visited, and how.
pub(crate) trait Selection {
    /// The first page from `address` on, before `end`, that is visited at all.
    fn next(&self, address: u64, end: u64) -> Option<u64>;

    /// Whether every visited page from `start` to `end` is captured only if its entry says that it may
    /// have changed.
    fn all_only_changed(&self, start: u64, end: u64) -> bool;

    /// Of all pages below one page table those that are visited, and those of them that are captured
    /// whatever their entry says. A selection that knows of one table only is asked
    /// for no other.
    fn table(&self) -> (&TableBits, &TableBits);

    /// Whether the visitor wants to know of [`super::mm::Entry::Gone`].
    const TELLS_GONE: bool;
}

/// All pages of a mapping.
pub(crate) struct All<const ONLY_CHANGED: bool>;

/// Every page that there is.
pub(crate) const EVERYTHING: All<false> = All;

/// Every page whose entry says that it may have changed, and every one that is not there.
pub(crate) const SWEEP: All<true> = All;

impl<const ONLY_CHANGED: bool> Selection for All<ONLY_CHANGED> {
    fn next(&self, address: u64, end: u64) -> Option<u64> {
        (address < end).then_some(address)
    }

    fn all_only_changed(&self, _start: u64, _end: u64) -> bool {
        ONLY_CHANGED
    }

    fn table(&self) -> (&TableBits, &TableBits) {
        match ONLY_CHANGED {
            true => (&EVERY_PAGE, &NO_PAGE),
            false => (&EVERY_PAGE, &EVERY_PAGE),
        }
    }

    const TELLS_GONE: bool = ONLY_CHANGED;
}
