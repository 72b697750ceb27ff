// SPDX-License-Identifier: GPL-2.0

//! What an application's checkpoints took, for whoever looks: its folder below
//! `/sys/kernel/geist/apps`.

use crate::checkpoint::Figures;
use crate::error::Failure;
use crate::track::DirtyCounter;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use kernel::{new_mutex, prelude::*, sync::Mutex};

/// Figures of an application. Each can be read at any time, without waiting for a checkpoint that is
/// under way; together they are not of one moment.
#[pin_data]
pub(crate) struct Stats {
    version: AtomicU64,
    pages: AtomicU64,
    bytes: AtomicU64,
    pause_us: AtomicU64,
    capture_us: AtomicU64,
    write_us: AtomicU64,
    commit_us: AtomicU64,
    versions: AtomicU64,
    total_pages: AtomicU64,
    total_bytes: AtomicU64,
    total_pause_us: AtomicU64,
    skipped: AtomicU64,
    errors: AtomicU64,
    missed: AtomicU64,
    held_bytes: AtomicU64,
    watched: AtomicBool,
    interval_us: AtomicU64,
    keep: AtomicU32,
    /// Sentence of the last failure.
    #[pin]
    last_error: Mutex<KVec<u8>>,
    #[pin]
    dirty: Mutex<DirtyCounter>,
}

impl Stats {
    /// Those of an application whose last version is `version`, 0 where there is none.
    pub(crate) fn new(version: u64, dirty: DirtyCounter) -> impl PinInit<Self> {
        pin_init!(Self {
            version: AtomicU64::new(version),
            pages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            pause_us: AtomicU64::new(0),
            capture_us: AtomicU64::new(0),
            write_us: AtomicU64::new(0),
            commit_us: AtomicU64::new(0),
            versions: AtomicU64::new(0),
            total_pages: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
            total_pause_us: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            held_bytes: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            interval_us: AtomicU64::new(0),
            keep: AtomicU32::new(0),
            last_error <- new_mutex!(KVec::new()),
            dirty <- new_mutex!(dirty),
        })
    }

    /// `version` was committed.
    pub(crate) fn committed(&self, figures: &Figures, version: u64) {
        self.pages.store(figures.pages, Relaxed);
        self.bytes.store(figures.bytes, Relaxed);
        self.pause_us.store(figures.pause_us, Relaxed);
        self.capture_us.store(figures.capture_us, Relaxed);
        self.write_us.store(figures.write_us, Relaxed);
        self.commit_us.store(figures.commit_us, Relaxed);
        self.total_pages.fetch_add(figures.pages, Relaxed);
        self.total_bytes.fetch_add(figures.bytes, Relaxed);
        self.total_pause_us.fetch_add(figures.pause_us, Relaxed);
        self.versions.fetch_add(1, Relaxed);
        self.version.store(version, Relaxed);
    }

    /// A version failed.
    pub(crate) fn failed(&self, failure: &Failure) {
        let mut sentence = KVec::new();
        // Without memory for the sentence the count has to do.
        let _ = sentence.extend_from_slice(failure.sentence(), GFP_KERNEL);
        *self.last_error.lock() = sentence;
        self.errors.fetch_add(1, Relaxed);
    }

    /// A version failed because a change was missed, which the knob `paranoid` found.
    pub(crate) fn missed(&self) {
        self.missed.fetch_add(1, Relaxed);
    }

    /// `ticks` of the interval passed without a version, because the one before was not done.
    pub(crate) fn skipped(&self, ticks: u64) {
        self.skipped.fetch_add(ticks, Relaxed);
    }

    /// Whether the application is watched from now on, and with which interval (0: suspended) and
    /// number of versions to keep.
    pub(crate) fn watch(&self, watched: bool, interval_us: u64, keep: u32) {
        self.watched.store(watched, Relaxed);
        self.keep.store(keep, Relaxed);
        self.interval_us.store(interval_us, Relaxed);
    }

    /// 1 when it is watched, also where that is suspended, else 0.
    pub(crate) fn watched(&self) -> u32 {
        self.watched.load(Relaxed).into()
    }

    /// Captured pages hold so many bytes until they are written; 0 when they are.
    pub(crate) fn holds(&self, bytes: u64) {
        self.held_bytes.store(bytes, Relaxed);
    }

    /// Another tracker took over.
    pub(crate) fn tracked_by(&self, dirty: DirtyCounter) {
        let before = core::mem::replace(&mut *self.dirty.lock(), dirty);
        drop(before);
    }

    /// Last version that was committed, or that the application was restarted from; 0: none.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    /// Pages of the last version's `task_mm` file.
    pub(crate) fn pages(&self) -> u64 {
        self.pages.load(Relaxed)
    }

    /// Bytes of all files of the last version.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Microseconds from freeze to thaw of the last version.
    pub(crate) fn pause_us(&self) -> u64 {
        self.pause_us.load(Relaxed)
    }

    /// Microseconds of its capture.
    pub(crate) fn capture_us(&self) -> u64 {
        self.capture_us.load(Relaxed)
    }

    /// Microseconds that its files took to be written.
    pub(crate) fn write_us(&self) -> u64 {
        self.write_us.load(Relaxed)
    }

    /// Microseconds of its commit.
    pub(crate) fn commit_us(&self) -> u64 {
        self.commit_us.load(Relaxed)
    }

    /// Versions that were committed since tracking began.
    pub(crate) fn versions(&self) -> u64 {
        self.versions.load(Relaxed)
    }

    /// Their pages.
    pub(crate) fn total_pages(&self) -> u64 {
        self.total_pages.load(Relaxed)
    }

    /// Their bytes.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.total_bytes.load(Relaxed)
    }

    /// Their pauses, microseconds.
    pub(crate) fn total_pause_us(&self) -> u64 {
        self.total_pause_us.load(Relaxed)
    }

    /// Ticks of the interval that passed without a version.
    pub(crate) fn skips(&self) -> u64 {
        self.skipped.load(Relaxed)
    }

    /// Versions that failed.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    /// Those that failed because a change was missed.
    pub(crate) fn misses(&self) -> u64 {
        self.missed.load(Relaxed)
    }

    /// Bytes that captured pages hold now.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Relaxed)
    }

    /// Interval of the watch, microseconds; 0: the application is not watched.
    pub(crate) fn interval_us(&self) -> u64 {
        self.interval_us.load(Relaxed)
    }

    /// Versions that the watch keeps; 0: all.
    pub(crate) fn keep(&self) -> u32 {
        self.keep.load(Relaxed)
    }

    /// Pages that may have changed since the last capture.
    pub(crate) fn dirty(&self) -> u64 {
        self.dirty.lock().pages()
    }

    /// Calls `then` with the sentence of the last failure, which is empty where there was none.
    pub(crate) fn with_last_error<R>(&self, then: impl FnOnce(&[u8]) -> R) -> R {
        then(&self.last_error.lock())
    }
}
