// SPDX-License-Identifier: GPL-2.0

//! The knobs: what holds for every application that does not say otherwise.
//!
//! Files of `/sys/kernel/geist`, described in `Documentation/ABI/testing/sysfs-kernel-geist`. Any
//! of them may change at any moment, so whoever needs a value twice reads it once.

use crate::sys::host;
use crate::uapi;
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::prelude::*;

/// A number that can be read and set at any time.
pub(crate) struct Knob {
    value: AtomicU64,
    allowed: RangeInclusive<u64>,
}

impl Knob {
    const fn new(default: u64, allowed: RangeInclusive<u64>) -> Self {
        Self {
            value: AtomicU64::new(default),
            allowed,
        }
    }

    /// What it is set to.
    pub(crate) fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// Sets it; `EINVAL` and nothing changes where the value is not allowed.
    pub(crate) fn set(&self, value: u64) -> Result {
        if !self.allowed.contains(&value) {
            return Err(EINVAL);
        }
        self.value.store(value, Ordering::Relaxed);
        Ok(())
    }

    /// The values that it takes.
    pub(crate) fn allowed(&self) -> &RangeInclusive<u64> {
        &self.allowed
    }
}

/// Values of the knob `memory_charge`.
pub(crate) mod charge {
    /// The application, which stays frozen until enough is written.
    pub(crate) const APPLICATION: u64 = 0;
    /// The system: they are copied before the application runs on.
    pub(crate) const SYSTEM: u64 = 1;
}

/// What tracking learns of changes from. Values of the knob `blind`, which switches one of them off
/// for a test; 0 switches off none.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// Write faults.
    Writes = 1,
    /// Faults where nothing is mapped: any page of the block may come with them.
    Absences = 2,
    /// What a notifier tells of pages that are cleared or replaced.
    Clearings = 3,
    /// What a notifier tells of ranges that are unmapped or moved.
    Unmappings = 4,
    /// What a notifier tells of forks.
    Forks = 5,
    /// The difference of two layouts.
    Layouts = 6,
    /// Ranges that begin or end to belong to a userfaultfd.
    Userfaults = 7,
}

/// All knobs.
pub(crate) struct Knobs {
    /// Interval of a watch, milliseconds.
    pub(crate) interval_ms: Knob,
    /// Versions of a watched application that are kept; 0: all.
    pub(crate) keep: Knob,
    /// Durability of the versions of a watch: `uapi::DURABILITY_*`.
    pub(crate) durability: Knob,
    /// Every how many versions one is complete; 0: none has to be.
    pub(crate) full_every: Knob,
    /// 1: a version is complete where the number of mappings or addresses changed.
    pub(crate) seed_layout_rule: Knob,
    /// Bytes of memory that captured pages may hold together; 0: any number.
    pub(crate) memory_limit: Knob,
    /// Who pays for captured pages that do not fit into the control group of their process: one of
    /// [`charge`].
    pub(crate) memory_charge: Knob,
    /// 1: every increment looks at all pages, and complains about one that tracking missed.
    pub(crate) paranoid: Knob,
    /// A [`Source`] that is not listened to, so that tests see what is missed without it; 0: none.
    pub(crate) blind: Knob,
}

/// The knobs of the module.
pub(crate) static KNOBS: Knobs = Knobs {
    interval_ms: Knob::new(10, 1..=uapi::INTERVAL_MAX_US / 1000),
    keep: Knob::new(0, 0..=u32::MAX as u64 - 1),
    durability: Knob::new(
        uapi::DURABILITY_NONE as u64,
        uapi::DURABILITY_NONE as u64..=uapi::DURABILITY_DATA as u64,
    ),
    full_every: Knob::new(0, 0..=u32::MAX as u64 - 1),
    seed_layout_rule: Knob::new(0, 0..=1),
    memory_limit: Knob::new(0, 0..=u64::MAX),
    memory_charge: Knob::new(charge::APPLICATION, charge::APPLICATION..=charge::SYSTEM),
    paranoid: Knob::new(0, 0..=1),
    blind: Knob::new(0, 0..=Source::Userfaults as u64),
};

impl Knobs {
    /// Gives those their default that depends on the machine. When the module is loaded.
    pub(crate) fn init(&self) -> Result {
        self.memory_limit.set(host::ram_bytes() / 2)
    }

    /// Interval of a watch, microseconds.
    pub(crate) fn interval_us(&self) -> u64 {
        self.interval_ms.get() * 1000
    }

    /// Versions of a watched application that are kept; 0: all.
    pub(crate) fn keep(&self) -> u32 {
        self.keep.get() as u32
    }

    /// Whether the versions of a watch are on the disk when they are committed.
    pub(crate) fn durable(&self) -> bool {
        self.durability.get() == u64::from(uapi::DURABILITY_DATA)
    }

    /// Every how many versions one is complete; 0: none has to be.
    pub(crate) fn full_every(&self) -> u32 {
        self.full_every.get() as u32
    }

    /// Whether a version is complete where the number of mappings or addresses changed.
    pub(crate) fn seed_layout_rule(&self) -> bool {
        self.seed_layout_rule.get() != 0
    }

    /// Bytes of memory that captured pages may hold together, if that is limited.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        Some(self.memory_limit.get()).filter(|limit| *limit != 0)
    }

    /// Whether captured pages for whose copies a process has no room are copied by the module.
    pub(crate) fn system_pays(&self) -> bool {
        self.memory_charge.get() == charge::SYSTEM
    }

    /// Whether a source of changes is listened to. Any context.
    pub(crate) fn listens_to(&self, source: Source) -> bool {
        self.blind.get() != source as u64
    }

    /// Whether every increment looks at all pages.
    pub(crate) fn paranoid(&self) -> bool {
        self.paranoid.get() != 0
    }
}
