// SPDX-License-Identifier: GPL-2.0

//! `geist verify`

use crate::cli::{exit, Common, VerifyArgs};
use crate::image::{self, Chain};
use crate::output::{self, plain};
use crate::proc::Running;
use crate::restart::check::{problems, Allowed};
use crate::store::{App, Store};
use anyhow::{bail, Result};
use serde::Serialize;
use std::process::ExitCode;

/// The result for one version, as `--json` prints it.
#[derive(Serialize)]
struct Report {
    app: u32,
    version: u64,
    /// `good`, `damaged` or `not restartable`
    result: &'static str,
    damages: Vec<String>,
    problems: Vec<String>,
    notes: Vec<String>,
}

/// Checks one version or all of an application.
pub fn run(common: &Common, args: &VerifyArgs) -> Result<ExitCode> {
    let store = Store::open(&common.store)?;
    let app = store.app(args.version.app)?;
    let locked = app.lock_unless_watched(false)?;
    let mut reports = Vec::new();
    let mut chain = Chain::new(&app);
    for version in versions(&app, args.version.version)? {
        let report = verify(&mut chain, version)?;
        if !locked && report.result == "damaged" && !image::exists(&app, version) {
            output::note(&format!(
                "version {version} of application {} was dropped by its watch meanwhile",
                app.id
            ));
            continue;
        }
        if !args.json {
            output::print(&text(&report))?;
        }
        reports.push(report);
    }
    if args.json {
        output::print_json(&reports)?;
    }
    let any = |result: &str| reports.iter().any(|report| report.result == result);
    Ok(match (any("damaged"), any("not restartable")) {
        (true, _) => exit::DAMAGED.into(),
        (_, true) => exit::NOT_RESTARTABLE.into(),
        _ => ExitCode::SUCCESS,
    })
}

fn versions(app: &App, version: Option<u64>) -> Result<Vec<u64>> {
    let versions = app.numbers()?;
    match version {
        Some(version) if versions.contains(&version) => Ok(vec![version]),
        Some(version) => bail!(
            "application {} has no version {version}; `geist list` shows which it has",
            app.id
        ),
        None if versions.is_empty() => bail!("application {} has no committed version", app.id),
        None => Ok(versions.into_iter().collect()),
    }
}

fn verify(chain: &mut Chain<'_>, version: u64) -> Result<Report> {
    let mut report = Report {
        app: chain.app.id,
        version,
        result: "good",
        damages: Vec::new(),
        problems: Vec::new(),
        notes: Vec::new(),
    };
    let image = match image::check(chain, version) {
        Ok(image) => image,
        Err(damages) => {
            report.result = "damaged";
            report.damages = damages
                .iter()
                .map(|damaged| match damaged.version == version {
                    true => format!("{}: {}", damaged.file, damaged.why),
                    false => format!("it needs {}: {}", damaged.file, damaged.why),
                })
                .collect();
            return Ok(report);
        }
    };
    for process in &image.processes {
        let pid = process.node.pid;
        report
            .problems
            .extend(problems(&process.task, Allowed::default()));
        if let Some(running) = Running::find(pid)? {
            let comm = plain(&running.comm);
            report
                .notes
                .push(format!("pid {pid} is in use by `{comm}`"));
        }
        for (left_out, what) in &process.task.left_out {
            let (fd, what) = (left_out.fd, plain(&String::from_utf8_lossy(what)));
            report.notes.push(format!(
                "descriptor {fd} of process {pid} was left out ({what}) and will be closed"
            ));
        }
    }
    if !report.problems.is_empty() {
        report.result = "not restartable";
    }
    Ok(report)
}

fn text(report: &Report) -> String {
    let version = format!("version {} of application {}", report.version, report.app);
    let words = match report.result {
        "good" => "good",
        "damaged" => "DAMAGED",
        _ => "good, but cannot be restarted here and now",
    };
    let mut text = format!("{version}: {words}\n");
    for damage in &report.damages {
        text += &format!("  {}\n", plain(damage));
    }
    for problem in &report.problems {
        text += &format!("  {problem}\n");
    }
    for note in &report.notes {
        text += &format!("  note: {note}\n");
    }
    text
}
