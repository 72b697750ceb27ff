// SPDX-License-Identifier: GPL-2.0

//! Versions at an interval: a thread of the kernel takes them.
//!
//! The thread acts as who asked for it: with the credentials, from the root directory and into the
//! directory of the store that the caller had. It lives until the watch is ended, or the application.

use super::ledger::Ledger;
use super::{find_or_track, of_process, App};
use crate::checkpoint::{self, Figures, Options, Order};
use crate::error::{fail, Failure, Outcome};
use crate::sys::clock::monotonic_ns;
use crate::sys::creds::{self, ActingAs};
use crate::sys::file::Directory;
use crate::sys::kthread::{Job, Thread, Woken};
use crate::sys::root::{self, KeptRoot};
use crate::uapi;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::{
    cred::Credential,
    new_mutex,
    prelude::*,
    sync::{aref::ARef, Arc, Mutex},
};

/// What of a watch can be changed.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// Interval, microseconds; 0: no version is taken until that changes.
    pub(crate) interval_us: u64,
    /// Newest versions that are kept; 0: all.
    pub(crate) keep: u32,
    /// Every how many versions one is complete; 0: none has to be.
    pub(crate) full_every: u32,
    /// Files are on the disk when a version is committed.
    pub(crate) durable: bool,
    /// How long threads may take to be stilled, milliseconds.
    pub(crate) timeout_ms: u32,
}

/// What a caller asks for.
pub(crate) struct Wish {
    /// The process, in the pid namespace of the caller.
    pub(crate) pid: i32,
    /// Application ID.
    pub(crate) app: u32,
    /// The first version to make.
    pub(crate) version: u64,
    /// Whether that one is complete.
    pub(crate) full: bool,
    /// Directory of the application in the store.
    pub(crate) directory: Directory,
    /// Description of every version, ASCII.
    pub(crate) description: KVec<u8>,
    /// Descriptors that cannot be checkpointed are left out.
    pub(crate) ignore_unsupported_files: bool,
    /// What the directory holds already.
    pub(crate) files: KVVec<uapi::WatchFile>,
    /// The rest.
    pub(crate) settings: Settings,
}

/// Whose turn it is.
struct Turn {
    /// The next version.
    version: u64,
    /// Versions since the last complete one, that one included; 0: there was none.
    since_full: u32,
    /// Sentence of the failure that the log has.
    logged: KVec<u8>,
}

/// An interval, shared by its thread and those who change it.
#[pin_data]
pub(crate) struct Interval {
    app: Arc<App>,
    pid: i32,
    directory: Directory,
    description: KVec<u8>,
    ignore_unsupported_files: bool,
    credentials: ARef<Credential>,
    root: KeptRoot,
    #[pin]
    settings: Mutex<Settings>,
    /// Held while a version is taken.
    #[pin]
    turn: Mutex<Turn>,
    versions: AtomicU64,
    skipped: AtomicU64,
    errors: AtomicU64,
    last_version: AtomicU64,
}

/// What came of a watch.
pub(crate) struct Totals {
    /// Application ID.
    pub(crate) app: u32,
    /// Versions that it took.
    pub(crate) versions: u64,
    /// Ticks that passed without a version.
    pub(crate) skipped: u64,
    /// Versions that failed.
    pub(crate) errors: u64,
    /// The newest version that it committed, or 0.
    pub(crate) last_version: u64,
}

/// Begins to watch a process: takes a first version, and has a thread take the others. `EBUSY` when
/// it is watched already. May sleep.
pub(crate) fn watch(wish: Wish) -> Outcome {
    if !root::in_first_namespaces() {
        fail!(
            EOPNOTSUPP,
            "a watch cannot begin in a container yet: call geist outside of it, in the namespaces of the system"
        );
    }
    let leader = checkpoint::find(wish.pid)?;
    let app = find_or_track(&leader, wish.app)?;
    app.begin_interval(|| {
        let full = wish.full;
        let mut ledger = Ledger::new(&wish.files, wish.settings.keep, &wish.directory)?;
        ledger.prepare(wish.version)?;
        {
            let mut progress = app.progress.lock();
            if let Some(base) = &progress.base {
                ledger.adopt(base);
            }
            progress.ledger = Some(ledger);
        }
        let interval = Interval::new(app.clone(), wish)?;
        interval.take(full, &interval.description)?;
        Ok(interval)
    })
}

/// Replaces the settings of the watch of process `pid` by what `change` makes of them. `ENODATA` when
/// it is not watched.
pub(crate) fn change(pid: i32, change: impl FnOnce(&Settings) -> Outcome<Settings>) -> Outcome {
    let (app, interval) = watched(pid)?;
    interval.set(&app, change)
}

/// Ends the watch of process `pid`; no version is in the making when this returns. `ENODATA` when it
/// is not watched. May sleep.
pub(crate) fn unwatch(pid: i32) -> Outcome<Totals> {
    let (app, _) = watched(pid)?;
    match app.end_interval() {
        Some(interval) => Ok(interval.totals()),
        None => not_watched(pid),
    }
}

/// Takes the next version of a watched process right now. Returns its number. `ENODATA` when it is
/// not watched.
pub(crate) fn take_now(pid: i32, options: Options, description: &[u8]) -> Outcome<(u64, Figures)> {
    let (_, interval) = watched(pid)?;
    let description = match description {
        [] => &interval.description,
        own => own,
    };
    interval.take_with(description, |settings, _| Options {
        durable: options.durable || settings.durable,
        ignore_unsupported_files: options.ignore_unsupported_files
            || interval.ignore_unsupported_files,
        ..options
    })
}

fn watched(pid: i32) -> Outcome<(Arc<App>, Arc<Interval>)> {
    let leader = checkpoint::find(pid)?;
    let app = of_process(&leader);
    match app.and_then(|app| app.interval().map(|interval| (app, interval))) {
        Some(both) => Ok(both),
        None => not_watched(pid),
    }
}

fn not_watched<T>(pid: i32) -> Outcome<T> {
    fail!(ENODATA, "pid {pid} is not watched")
}

impl App {
    /// Changes the interval of the watch, microseconds; 0 suspends it. `EINVAL` without a watch.
    pub(crate) fn set_interval_us(&self, interval_us: u64) -> Outcome {
        let Some(interval) = self.interval() else {
            fail!(EINVAL, "application {} is not watched", self.id);
        };
        interval.set(self, |settings| {
            Ok(Settings {
                interval_us,
                ..*settings
            })
        })
    }
}

impl Interval {
    fn new(app: Arc<App>, wish: Wish) -> Outcome<Arc<Self>> {
        let credentials = creds::credentials()?;
        let root = KeptRoot::of_caller()?;
        Ok(Arc::pin_init(
            pin_init!(Self {
                app,
                pid: wish.pid,
                directory: wish.directory,
                description: wish.description,
                ignore_unsupported_files: wish.ignore_unsupported_files,
                credentials,
                root,
                settings <- new_mutex!(wish.settings),
                turn <- new_mutex!(Turn {
                    version: wish.version,
                    since_full: 0,
                    logged: KVec::new(),
                }),
                versions: AtomicU64::new(0),
                skipped: AtomicU64::new(0),
                errors: AtomicU64::new(0),
                last_version: AtomicU64::new(0),
            }),
            GFP_KERNEL,
        )?)
    }

    fn set(&self, app: &App, change: impl FnOnce(&Settings) -> Outcome<Settings>) -> Outcome {
        let mut settings = self.settings.lock();
        *settings = change(&settings)?;
        drop(settings);
        app.interval_changed();
        Ok(())
    }

    /// How it is now.
    pub(super) fn settings(&self) -> Settings {
        *self.settings.lock()
    }

    fn totals(&self) -> Totals {
        Totals {
            app: self.app.id,
            versions: self.versions.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            last_version: self.last_version.load(Ordering::Relaxed),
        }
    }

    /// Takes the next version as the settings say; `full`: in any case a complete one.
    fn take(&self, full: bool, description: &[u8]) -> Outcome<(u64, Figures)> {
        self.take_with(description, |settings, since_full| Options {
            full: full || settings.full_every != 0 && since_full >= settings.full_every,
            ignore_unsupported_files: self.ignore_unsupported_files,
            kill: None,
            stop: false,
            durable: settings.durable,
            timeout_ms: settings.timeout_ms,
        })
    }

    /// Takes the next version with what `options` says of the settings and the number of versions
    /// since the last complete one.
    fn take_with(
        &self,
        description: &[u8],
        options: impl FnOnce(&Settings, u32) -> Options,
    ) -> Outcome<(u64, Figures)> {
        let mut turn = self.turn.lock();
        let settings = self.settings();
        let mut progress = self.app.progress.lock();
        let mut version = turn.version;
        let mut options = options(&settings, turn.since_full);
        if let Some(ledger) = progress.ledger_of(&self.directory) {
            ledger.set_keep(settings.keep);
            options.full |= ledger.wants_complete();
            // What failed may have left files.
            version = version.max(ledger.newest() + 1);
        }
        let order = Order {
            pid: self.pid,
            app: self.app.id,
            version,
            directory: &self.directory,
            description,
            options,
        };
        let figures =
            checkpoint::take(&self.app, &mut progress, &order).inspect_err(|failure| {
                // Somebody else's file lies there.
                if failure.errno == EEXIST {
                    turn.version = version + 1;
                }
            })?;
        turn.version = version + 1;
        turn.since_full = match figures.parent {
            0 => 1,
            _ => turn.since_full.saturating_add(1),
        };
        self.versions.fetch_add(1, Ordering::Relaxed);
        self.last_version.store(version, Ordering::Relaxed);
        Ok((version, figures))
    }

    /// Takes a version when its time has come. Returns whether there may be others.
    fn tick(&self) -> bool {
        match self.take(false, &self.description) {
            Ok(_) => {
                self.turn.lock().logged.clear();
                true
            }
            Err(failure) if failure.errno == ESRCH => false,
            Err(failure) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                self.log_once(&failure);
                true
            }
        }
    }

    /// Logs a failure, unless the one before was the same.
    fn log_once(&self, failure: &Failure) {
        let mut turn = self.turn.lock();
        if turn.logged.as_slice() == failure.sentence() {
            return;
        }
        pr_warn!(
            "application {}: version {} failed and is tried again: {}\n",
            self.app.id,
            turn.version,
            format_args!("{failure}")
        );
        turn.logged.clear();
        // Without memory for it the sentence is logged once more.
        let _ = turn
            .logged
            .extend_from_slice(failure.sentence(), GFP_KERNEL);
    }

    /// Interval, nanoseconds, unless it is suspended.
    fn nanoseconds(&self) -> Option<u64> {
        let interval_us = self.settings().interval_us;
        Some(interval_us * 1000).filter(|interval| *interval != 0)
    }

    /// The tick after the one of `due`, nanoseconds of the monotonic clock. Those that have passed
    /// already are counted as skipped.
    fn next_tick(&self, due: u64, interval: u64) -> u64 {
        let missed = monotonic_ns().saturating_sub(due) / interval;
        if missed > 0 {
            self.skipped.fetch_add(missed, Ordering::Relaxed);
            self.app.stats.skipped(missed);
        }
        due + (missed + 1) * interval
    }

    /// Takes versions until the thread is told to stop, or there can be no more.
    fn take_versions(&self, thread: &Thread) {
        let from_now = || self.nanoseconds().map(|interval| monotonic_ns() + interval);
        let mut next = from_now();
        loop {
            match (thread.sleep_until(next), next) {
                (Woken::Stop, _) => return,
                (Woken::Due, Some(due)) => {
                    if !self.tick() {
                        return;
                    }
                    next = self
                        .nanoseconds()
                        .map(|interval| self.next_tick(due, interval));
                }
                (Woken::Notified, _) => {
                    self.keep_fewer();
                    next = from_now();
                }
                (Woken::Due, None) => next = from_now(),
            }
        }
    }

    /// Drops the versions that are too many since the settings were changed. Where versions have to be
    /// on the disk and the last one is not, that waits for the next one.
    fn keep_fewer(&self) {
        let settings = self.settings();
        let mut progress = self.app.progress.lock();
        let durable = progress.base.as_ref().is_some_and(|base| base.durable);
        if settings.durable && !durable {
            return;
        }
        if let Some(ledger) = &mut progress.ledger {
            ledger.set_keep(settings.keep);
            self.collect_all(ledger, settings.durable);
        }
    }

    /// Removes what is to be removed.
    fn collect_all(&self, ledger: &mut Ledger, durable: bool) {
        loop {
            let collected = ledger.collect(&self.directory, self.pid as u32, durable);
            if let Some(failure) = &collected.failure {
                self.app.stats.failed(failure);
            }
            if !collected.more {
                return;
            }
        }
    }

    /// Removes what is still to be removed. From here on nobody knows what lies in the directory.
    fn close_ledger(&self) {
        let durable = self.settings().durable;
        let mut progress = self.app.progress.lock();
        if let Some(mut ledger) = progress.ledger.take() {
            self.collect_all(&mut ledger, durable);
        }
    }
}

impl Job for Interval {
    fn run(&self, thread: &Thread) {
        let _acting = ActingAs::new(&self.credentials);
        let _root = self.root.enter();
        self.take_versions(thread);
        self.close_ledger();
    }
}
