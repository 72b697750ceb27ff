// SPDX-License-Identifier: GPL-2.0

//! `geist unwatch`

use crate::cli::{Common, UnwatchArgs};
use crate::device::Device;
use crate::output;
use crate::sys::ioctl;
use crate::sysfs;
use anyhow::Result;
use serde::Serialize;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

/// What a watch did, as `--json` prints it.
#[derive(Serialize)]
struct Report {
    app: u32,
    pid: u32,
    versions: u64,
    skipped: u64,
    errors: u64,
    last_version: u64,
}

/// Ends watches. One that cannot be ended does not keep the others.
pub fn run(common: &Common, args: &UnwatchArgs) -> Result<ExitCode> {
    let device = Device::open(&common.device)?;
    let pids = match args.all {
        true => sysfs::all_watched(Path::new(sysfs::ROOT))?,
        false => args.pids.clone(),
    };
    let mut reports = Vec::new();
    for pid in &pids {
        match ioctl::unwatch(device.as_fd(), *pid as i32) {
            Ok(done) => reports.push(Report {
                app: done.app,
                pid: *pid,
                versions: done.versions,
                skipped: done.skipped,
                errors: done.errors,
                last_version: done.last_version,
            }),
            Err(refusal) => eprintln!("geist: {refusal}"),
        }
    }
    if args.json {
        output::print_json(&reports)?;
    } else {
        output::print(&reports.iter().map(text).collect::<String>())?;
        if pids.is_empty() {
            output::note("no application is watched");
        }
    }
    Ok(match reports.len() == pids.len() {
        true => ExitCode::SUCCESS,
        false => crate::cli::exit::FAILED.into(),
    })
}

fn text(report: &Report) -> String {
    let last = match report.last_version {
        0 => String::new(),
        last => format!(", the last is version {last}"),
    };
    format!(
        "application {} is watched no more: {} taken{last}; {} skipped, {} failed\n",
        report.app,
        output::count(report.versions, "version"),
        report.skipped,
        report.errors,
    )
}
