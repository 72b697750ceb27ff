// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/geist/apps`: a folder for each tracked application (see
//! `Documentation/ABI/testing/sysfs-kernel-geist`).
//!
//! Removing a folder waits for who reads or writes its files, so only calls of the device and a
//! worker do it ([`settle`]), with nothing locked that the files need.

use super::{tracked, App};
use crate::error::{Failure, Outcome};
use crate::sys::sysfs::{
    may_log, number, Content, File, Folder, Page, PRIVATE, READ_ONLY, WRITABLE,
};
use crate::sys::{global, task};
use crate::uapi;
use core::fmt::{self, Write};
use core::sync::atomic::AtomicBool;
use kernel::{prelude::*, str::CString, sync::Arc};

/// A folder without files.
struct Apps;

impl Content for Apps {
    const FILES: &'static [File<Self>] = &[];
}

macro_rules! figure {
    ($name:literal, $get:ident) => {
        read_only($name, |app, page| write!(page, "{}", app.stats.$get()))
    };
}

type Show = fn(&App, &mut Page<'_>) -> fmt::Result;

const fn read_only(name: &'static CStr, show: Show) -> File<App> {
    File {
        name,
        mode: READ_ONLY,
        show,
        store: File::refuse,
    }
}

impl Content for App {
    const FILES: &'static [File<Self>] = &[
        read_only(c"pid", |app, page| {
            write!(page, "{}", task::id_of(app.leader()))
        }),
        figure!(c"watched", watched),
        File {
            name: c"interval_ms",
            mode: WRITABLE,
            show: |app, page| write!(page, "{}", app.stats.interval_us() / 1000),
            store: set_interval,
        },
        figure!(c"keep", keep),
        figure!(c"version", version),
        figure!(c"dirty", dirty),
        figure!(c"pages", pages),
        figure!(c"bytes", bytes),
        figure!(c"pause_us", pause_us),
        figure!(c"capture_us", capture_us),
        figure!(c"write_us", write_us),
        figure!(c"commit_us", commit_us),
        figure!(c"versions", versions),
        figure!(c"total_pages", total_pages),
        figure!(c"total_bytes", total_bytes),
        figure!(c"total_pause_us", total_pause_us),
        figure!(c"skipped", skips),
        figure!(c"errors", errors),
        figure!(c"missed", misses),
        figure!(c"held_bytes", held_bytes),
        File {
            name: c"last_error",
            // It may name files of the application.
            mode: PRIVATE,
            show: |app, page| {
                app.stats.with_last_error(|sentence| page.push(sentence));
                Ok(())
            },
            store: File::refuse,
        },
    ];
}

fn set_interval(app: &App, text: &str) -> Result {
    const LONGEST_MS: u64 = uapi::INTERVAL_MAX_US / 1000;
    let outcome = match number(text) {
        Ok(interval_ms @ 0..=LONGEST_MS) => app.set_interval_us(interval_ms * 1000),
        _ => Err(Failure::new(
            EINVAL,
            format_args!(
                "interval_ms of application {} takes a number from 0 to {LONGEST_MS}, nothing else",
                app.id
            ),
        )),
    };
    outcome.map_err(|failure| {
        if may_log() {
            pr_warn!("{}\n", format_args!("{failure}"));
        }
        failure.errno
    })
}

struct Shown {
    _folder: Folder<App>,
    app: Arc<App>,
    name: CString,
}

/// The folder `apps`, and those in it, which go first.
struct Shelf {
    shown: KVec<Shown>,
    apps: Folder<Apps>,
}

global::global_mutex! {
    static SHELF: Option<Shelf> = None;
}

static SHELF_READY: AtomicBool = AtomicBool::new(false);

/// Makes the folder `apps` in `root`. When the module is loaded.
pub(super) fn open<P: Content>(root: &Folder<P>) -> Result {
    global::init_lock(&SHELF, &SHELF_READY);
    let apps = Folder::below(root, c"apps", Arc::new(Apps, GFP_KERNEL)?)?;
    *SHELF.lock() = Some(Shelf {
        shown: KVec::new(),
        apps,
    });
    Ok(())
}

/// Removes every folder; none appears any more. May sleep.
pub(super) fn close() {
    let shelf = SHELF.lock().take();
    drop(shelf);
}

/// Stops to track applications that have ended, and has a folder for each that is tracked, and for
/// no other. May sleep, and waits for who is in a file of a folder that goes.
pub(crate) fn settle() {
    tracked::forget_ended();
    let mut shelf = SHELF.lock();
    let Some(shelf) = &mut *shelf else {
        return;
    };
    if let Err(failure) = shelf.settle() {
        if may_log() {
            pr_warn!(
                "/sys/kernel/geist/apps does not show every application: {}\n",
                format_args!("{failure}")
            );
        }
    }
}

impl Shelf {
    fn settle(&mut self) -> Outcome {
        let tracked = tracked::all()?;
        self.shown
            .retain(|shown| tracked.iter().any(|app| Arc::ptr_eq(app, &shown.app)));
        for app in tracked {
            if !self.shown.iter().any(|shown| Arc::ptr_eq(&shown.app, &app)) {
                self.show(app)?;
            }
        }
        Ok(())
    }

    fn show(&mut self, app: Arc<App>) -> Outcome {
        self.shown.reserve(1, GFP_KERNEL)?;
        let mut name = CString::try_from_fmt(fmt!("{}", app.id))?;
        if self.is_taken(&name) {
            // Applications of two stores or pid namespaces may have the same ID.
            let pid = task::global_id_of(app.leader());
            name = CString::try_from_fmt(fmt!("{}-{pid}", app.id))?;
        }
        if self.is_taken(&name) {
            return Ok(());
        }
        let shown = Shown {
            _folder: Folder::below(&self.apps, &name, app.clone())?,
            app,
            name,
        };
        Ok(self.shown.push(shown, GFP_KERNEL)?)
    }

    fn is_taken(&self, name: &CStr) -> bool {
        self.shown.iter().any(|shown| &*shown.name == name)
    }
}
