// SPDX-License-Identifier: GPL-2.0

//! Between capture and commit: how much captured memory is held, and when the process runs on.

use super::micros;
use crate::app::{Frozen, Stats};
use crate::image::PAGE_SIZE;
use crate::knobs::KNOBS;
use kernel::time::{Instant, Monotonic};

/// Captured pages that are not written yet, and the process that they belong to: it runs on once
/// they hold no more memory than the knob `memory_limit` allows.
pub(super) struct Held<'a> {
    stats: &'a Stats,
    limit: u64,
    frozen: Option<Frozen>,
    freezing: Instant<Monotonic>,
    /// From the beginning of the freeze to the thaw, microseconds; 0 before the thaw.
    pub(super) pause_us: u64,
    /// The process is to be killed: it must not run on before that.
    to_the_end: bool,
}

impl<'a> Held<'a> {
    /// Counts from the moment `freezing`, when the freeze began.
    pub(super) fn new(
        stats: &'a Stats,
        frozen: Frozen,
        freezing: Instant<Monotonic>,
        to_the_end: bool,
    ) -> Self {
        Self {
            stats,
            limit: KNOBS.memory_limit().unwrap_or(u64::MAX),
            frozen: Some(frozen),
            freezing,
            pause_us: 0,
            to_the_end,
        }
    }

    /// So many pages are left.
    pub(super) fn left(&mut self, pages: usize) {
        let bytes = pages as u64 * PAGE_SIZE as u64;
        self.stats.holds(bytes);
        if bytes > self.limit || self.pause_us != 0 {
            return;
        }
        if !self.to_the_end {
            self.frozen = None;
        }
        self.pause_us = micros(self.freezing);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.stats.holds(0);
    }
}
