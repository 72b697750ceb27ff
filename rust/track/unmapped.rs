// SPDX-License-Identifier: GPL-2.0

//! Ranges that were unmapped since the last capture.
//!
//! What is mapped there now is not what that capture saw, even where the layout is the same again:
//! a mapping that `mremap(2)` moved there brought pages that were captured at their old address and
//! whose entries say that they have not changed.

use crate::sys::sort::sort_by_key;
use kernel::prelude::*;

/// Ranges that are told apart. What is more widens one of them: too much is captured then, and
/// nothing missed.
const MOST: usize = 128;

/// A range of addresses, end exclusive.
type Range = (u64, u64);

/// Unmapped ranges, in no order.
pub(super) struct Unmapped {
    ranges: KVVec<Range>,
}

impl Unmapped {
    /// No range. May sleep.
    pub(super) fn new() -> Result<Self> {
        Ok(Self { ranges: room()? })
    }

    /// Adds a range. Any context.
    pub(super) fn add(&mut self, start: u64, end: u64) {
        let hull = |range: &Range| (range.0.min(start), range.1.max(end));
        let growth = |range: &&mut Range| {
            let hull = hull(range);
            (hull.1 - hull.0) - (range.1 - range.0)
        };
        let full = self.ranges.len() == MOST;
        // A range that touches the new one grows less than any that does not.
        let nearest = self.ranges.iter_mut().min_by_key(growth);
        match nearest.filter(|range| full || (range.0 <= end && start <= range.1)) {
            Some(range) => *range = hull(range),
            None => {
                // Cannot fail: there is room for as many.
                let _ = self.ranges.push_within_capacity((start, end));
            }
        }
    }

    /// Whether nothing was unmapped.
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Exchanges the ranges for `empty`, which [`room`] made. Any context.
    pub(super) fn exchange(&mut self, empty: KVVec<Range>) -> KVVec<Range> {
        core::mem::replace(&mut self.ranges, empty)
    }
}

/// Room for all ranges. May sleep.
pub(super) fn room() -> Result<KVVec<Range>> {
    Ok(KVVec::with_capacity(MOST, GFP_KERNEL)?)
}

/// Puts ranges into ascending order and joins those that touch. May sleep.
pub(crate) fn join_ranges(ranges: &mut KVVec<Range>) {
    sort_by_key(ranges, |range| range.0);
    let mut last: usize = 0;
    for index in 0..ranges.len() {
        let Some(range) = ranges.get(index).copied() else {
            break;
        };
        match ranges.get_mut(last) {
            Some(before) if range.0 <= before.1 => before.1 = before.1.max(range.1),
            _ => {
                last += 1;
                if let Some(place) = ranges.get_mut(last) {
                    *place = range;
                }
            }
        }
    }
    ranges.truncate(last + 1);
}
