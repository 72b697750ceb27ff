// SPDX-License-Identifier: GPL-2.0

//! Between capture and commit: how much captured memory is held, and when the process runs on.

use super::micros;
use super::task_mm::Pages;
use crate::app::{Frozen, Stats};
use crate::image::PAGE_SIZE;
use crate::knobs::KNOBS;
use crate::sys::mm::AddressSpace;
use kernel::time::{Instant, Monotonic};

/// Captured pages that are not written yet, and the process that they belong to: it runs on once
/// they hold no more memory than the knob `memory_limit` allows, and no more than its control groups
/// have room for. (A page that it writes while it is held is copied at its expense, and where there
/// is no room for that, the kernel kills it.)
pub(super) struct Held<'a> {
    stats: &'a Stats,
    /// Bytes that may be held while the process runs.
    limit: u64,
    /// Bytes of them that may be the process's own pages: half of what it may still have, since it
    /// wants more memory for itself, too.
    own_limit: u64,
    /// Bytes that are copies already, which are the last that are written.
    copied: u64,
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
        space: &AddressSpace,
        frozen: Frozen,
        freezing: Instant<Monotonic>,
        to_the_end: bool,
    ) -> Self {
        Self {
            stats,
            limit: KNOBS.memory_limit().unwrap_or(u64::MAX),
            own_limit: space.room() / 2,
            copied: 0,
            frozen: Some(frozen),
            freezing,
            pause_us: 0,
            to_the_end,
        }
    }

    /// Where the process would have to wait for its control group, and the knob `memory_charge` says
    /// so, copies are made of as many of the last of `pages` as do not fit. Where there is no memory for
    /// one, it waits after all. May sleep.
    pub(super) fn relieve(&mut self, pages: &mut Pages) {
        let bytes = pages.len() as u64 * PAGE_SIZE as u64;
        if self.pause_us != 0 || !KNOBS.system_pays() || bytes > self.limit {
            return;
        }
        let count = bytes
            .saturating_sub(self.own_limit)
            .div_ceil(PAGE_SIZE as u64);
        for index in (0..pages.len()).rev().take(count as usize) {
            if pages.replace_by_copy(index).is_err() {
                break;
            }
            self.copied += PAGE_SIZE as u64;
        }
    }

    /// So many pages are left.
    pub(super) fn left(&mut self, pages: usize) {
        let bytes = pages as u64 * PAGE_SIZE as u64;
        self.stats.holds(bytes);
        let own = bytes.saturating_sub(self.copied);
        if bytes > self.limit || own > self.own_limit || self.pause_us != 0 {
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
