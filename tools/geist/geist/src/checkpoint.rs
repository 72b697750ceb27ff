// SPDX-License-Identifier: GPL-2.0

//! `geist checkpoint`

use crate::cli::{CheckpointArgs, Common};
use crate::device::Device;
use crate::output::{self, plain};
use crate::proc::Running;
use crate::progress;
use crate::store::Store;
use crate::subject::{self, Subject, Turn};
use crate::sys::ioctl;
use anyhow::{anyhow, Result};
use geist_image::uapi;
use serde::Serialize;
use std::os::fd::{AsFd as _, AsRawFd as _};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    app: u32,
    version: u64,
    kind: &'static str,
    parent: u64,
    pages: u64,
    bytes: u64,
    control_bytes: u64,
    pause_us: u64,
    capture_us: u64,
    write_us: u64,
    commit_us: u64,
    total_us: u64,
    left_out: u32,
}

impl Report {
    fn new(done: &uapi::Checkpoint) -> Self {
        Self {
            app: done.app,
            version: done.version,
            kind: match done.parent {
                0 => "full",
                _ => "increment",
            },
            parent: done.parent,
            pages: done.pages,
            bytes: done.bytes,
            control_bytes: done.control_bytes,
            pause_us: done.pause_us,
            capture_us: done.capture_us,
            write_us: done.write_us,
            commit_us: done.commit_us,
            total_us: done.total_us,
            left_out: done.left_out,
        }
    }
}

/// Takes one version of a running process; of one that is watched, the next version of the watch.
pub fn run(common: &Common, args: &CheckpointArgs) -> Result<()> {
    // Whoever goes on to end the process must not believe that it is saved.
    let (running, done) =
        take(common, args).map_err(|error| anyhow!("{error:#}; no checkpoint was made"))?;
    tell(args, &running, &done)
}

fn take(common: &Common, args: &CheckpointArgs) -> Result<(Running, uapi::Checkpoint)> {
    let running = subject::find(args.pid)?;
    let description = subject::description(args.description.as_deref())?;
    let device = Device::open(&common.device)?;
    let store = Store::open(&common.store)?;
    let arguments = arguments(args);
    let call = |arguments| ioctl::checkpoint(device.as_fd(), arguments, description);
    let done = match subject::turn(&store, args.pid, || call(arguments))? {
        Turn::Watched(done) => done,
        Turn::Ours(app) => Subject::with(common, &store, &app, &running, |subject| {
            let arguments = uapi::Checkpoint {
                version: subject.next,
                dir_fd: app.dir().as_raw_fd(),
                ..arguments
            };
            let sight = app.being_written(args.pid, subject.next);
            Ok(progress::show(sight, || call(arguments))?)
        })?,
    };
    Ok((running, done))
}

fn tell(args: &CheckpointArgs, running: &Running, done: &uapi::Checkpoint) -> Result<()> {
    let report = Report::new(done);
    if args.json {
        return output::print_json(&report);
    }
    output::print(&format!(
        "version {} of application {} (`{}`): {}, {} pages, {}, paused {}, {} in all\n",
        report.version,
        report.app,
        plain(&running.comm),
        match report.parent {
            0 => "full".to_owned(),
            parent => format!("increment on {parent}"),
        },
        report.pages,
        output::bytes(report.bytes),
        output::micros(report.pause_us),
        output::micros(report.total_us),
    ))?;
    if report.left_out > 0 {
        output::note(&format!(
            "{} left out; `geist show {}@{}` says which",
            descriptors(report.left_out),
            report.app,
            report.version
        ));
    }
    Ok(())
}

fn descriptors(count: u32) -> String {
    match count {
        1 => "1 descriptor was".to_owned(),
        _ => format!("{count} descriptors were"),
    }
}

/// What the module is asked for, but for version and directory.
fn arguments(args: &CheckpointArgs) -> uapi::Checkpoint {
    let mut flags = 0;
    for (wanted, flag) in [
        (args.kill.is_some(), uapi::CHECKPOINT_KILL),
        (args.full, uapi::CHECKPOINT_FULL),
        (args.stop, uapi::CHECKPOINT_STOP),
        (
            args.ignore_unsupported_files,
            uapi::CHECKPOINT_IGNORE_UNSUPPORTED_FILES,
        ),
    ] {
        if wanted {
            flags |= flag;
        }
    }
    uapi::Checkpoint {
        flags,
        pid: args.pid as i32,
        dir_fd: -1,
        app: args.pid,
        signal: args.kill.map_or(0, |signal| signal.0),
        durability: args.durability.number(),
        timeout_ms: args.timeout,
        ..Default::default()
    }
}
