// SPDX-License-Identifier: GPL-2.0

//! `geist watch`

mod files;

use crate::cli::{Common, WatchArgs, WatchOptions};
use crate::device::Device;
use crate::output::{self, plain};
use crate::store::Store;
use crate::subject::{self, Subject, Turn};
use crate::sys::ioctl;
use crate::sysfs;
use anyhow::{bail, Result};
use geist_image::uapi;
use serde::Serialize;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

/// What became of a call, as `--json` prints it.
#[derive(Serialize)]
pub struct Report {
    /// Application.
    pub app: u32,
    /// Its process.
    pub pid: u32,
    /// It was watched already, and is now differently.
    changed: bool,
    /// The first version of the watch; none where one was changed.
    version: Option<u64>,
    /// The interval; none where the module does not show it.
    interval_us: Option<u64>,
}

impl Report {
    /// How often versions are taken, for people.
    pub fn interval(&self) -> String {
        match self.interval_us {
            Some(0) => "not at all: its watch is suspended".to_owned(),
            Some(us) => format!("every {}", output::interval(us)),
            None => "at the module's interval".to_owned(),
        }
    }
}

/// Has the module take versions of a process at an interval.
pub fn run(common: &Common, args: &WatchArgs) -> Result<()> {
    let comm = plain(&subject::find(args.pid)?.comm);
    let report = match args.change {
        true => change(common, args.pid, &args.options)?,
        false => begin(common, args.pid, &args.options)?,
    };
    if args.json {
        return output::print_json(&report);
    }
    let (app, interval) = (report.app, report.interval());
    output::print(&match report.version {
        Some(version) => format!(
            "application {app} (`{comm}`) is checkpointed {interval} from version {version} on; `geist unwatch {app}` ends it\n"
        ),
        None => format!("application {app} (`{comm}`) was watched already; it is checkpointed {interval} now\n"),
    })
}

/// Begins to watch a process, or changes how it is watched.
pub fn begin(common: &Common, pid: u32, options: &WatchOptions) -> Result<Report> {
    let running = subject::find(pid)?;
    let description = subject::description(options.description.as_deref())?;
    let device = Device::open(&common.device)?;
    let store = Store::open(&common.store)?;
    let arguments = arguments(pid, options);
    let changed = uapi::Watch {
        flags: uapi::WATCH_CHANGE,
        ..arguments
    };
    let ask = || ioctl::watch(device.as_fd(), changed, &[], &[]);
    let version = match subject::turn(&store, pid, ask)? {
        Turn::Watched(()) => {
            if options.full || options.ignore_unsupported_files || options.description.is_some() {
                output::note(
                    "--full, --ignore-unsupported-files and --description are for the beginning of a watch, and were not changed",
                );
            }
            None
        }
        Turn::Ours(app) => Some(Subject::with(common, &store, &app, &running, |subject| {
            let begun = uapi::Watch {
                version: subject.next,
                dir_fd: app.dir().as_raw_fd(),
                ..arguments
            };
            let held = files::held(&app)?;
            ioctl::watch(device.as_fd(), begun, &held, description)?;
            Ok(subject.next)
        })?),
    };
    Ok(report(pid, options, version))
}

/// Changes how a process is watched.
fn change(common: &Common, pid: u32, options: &WatchOptions) -> Result<Report> {
    let device = Device::open(&common.device)?;
    let changed = uapi::Watch {
        flags: uapi::WATCH_CHANGE,
        ..arguments(pid, options)
    };
    match ioctl::watch(device.as_fd(), changed, &[], &[]) {
        Ok(()) => Ok(report(pid, options, None)),
        Err(refusal) if refusal.errno == libc::ENODATA => {
            bail!("pid {pid} is not watched; without --change, that is begun")
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn report(pid: u32, options: &WatchOptions, version: Option<u64>) -> Report {
    let shown = || sysfs::interval_ms(Path::new(sysfs::ROOT), pid).map(|ms| ms * 1_000);
    Report {
        app: pid,
        pid,
        changed: version.is_none(),
        version,
        interval_us: options.interval.map(|interval| interval.us).or_else(shown),
    }
}

/// What the module is asked for, but for version and directory.
fn arguments(pid: u32, options: &WatchOptions) -> uapi::Watch {
    let mut flags = 0;
    if options.full {
        flags |= uapi::CHECKPOINT_FULL;
    }
    if options.ignore_unsupported_files {
        flags |= uapi::CHECKPOINT_IGNORE_UNSUPPORTED_FILES;
    }
    uapi::Watch {
        flags,
        pid: pid as i32,
        dir_fd: -1,
        app: pid,
        durability: options
            .durability
            .map_or(uapi::DEFAULT, |durability| durability.number()),
        interval_us: options.interval.map_or(0, |interval| interval.us),
        keep: options.keep.unwrap_or(uapi::DEFAULT),
        full_every: options.full_every.unwrap_or(uapi::DEFAULT),
        timeout_ms: options.timeout.unwrap_or(0),
        ..Default::default()
    }
}
