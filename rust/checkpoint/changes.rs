// SPDX-License-Identifier: GPL-2.0

//! What an increment says to have changed, to be asked page by page.

use super::pages::Range;
use crate::sys::sort::sort_by_key;
use crate::track::join_ranges;
use kernel::prelude::*;

/// What an increment says to have changed.
pub(super) struct Changes {
    captured: KVVec<u64>,
    gone: KVVec<Range>,
}

impl Changes {
    /// Pages that it captured, and ranges that it says are gone; in any order. May sleep.
    pub(super) fn new(captured: impl Iterator<Item = u64>, gone: &[Range]) -> Result<Self> {
        let mut changes = Self {
            captured: KVVec::new(),
            gone: KVVec::with_capacity(gone.len(), GFP_KERNEL)?,
        };
        for address in captured {
            changes.captured.push(address, GFP_KERNEL)?;
        }
        sort_by_key(&mut changes.captured, |address| *address);
        changes.gone.extend_from_slice(gone, GFP_KERNEL)?;
        join_ranges(&mut changes.gone);
        Ok(changes)
    }

    /// Whether it captured the page at `address`.
    pub(super) fn captured(&self, address: u64) -> bool {
        self.captured.binary_search(&address).is_ok()
    }

    /// Whether the page at `address` lies in a range that is gone.
    pub(super) fn gone(&self, address: u64) -> bool {
        let next = self.gone.partition_point(|range| range.1 <= address);
        self.gone.get(next).is_some_and(|range| range.0 <= address)
    }

    /// Whether it says anything of the page at `address`.
    pub(super) fn has(&self, address: u64) -> bool {
        self.captured(address) || self.gone(address)
    }
}
