// SPDX-License-Identifier: GPL-2.0

//! `geist gc`

use crate::cli::{Common, GcArgs};
use crate::output;
use crate::rm::confirmed;
use crate::store::{App, Change, Freeing, Remains, State, Store};
use anyhow::{bail, Result};
use serde::Serialize;
use std::collections::BTreeSet;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    app: u32,
    dry_run: bool,
    /// Versions that were dropped.
    dropped: Vec<u64>,
    /// Versions that are left.
    kept: Vec<u64>,
    freed_files: u64,
    freed_bytes: u64,
    /// Bytes of versions that exist no longer, and that kept ones need.
    held_bytes: u64,
    numbers: Vec<Number>,
}

/// What became of the files with one number.
#[derive(Serialize)]
struct Number {
    number: u64,
    dropped: bool,
    freed_files: u64,
    freed_bytes: u64,
    held_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    needed_by: Option<u64>,
}

/// Drops versions, and frees what nothing kept needs.
pub fn run(common: &Common, args: &GcArgs) -> Result<()> {
    let store = Store::open(&common.store)?;
    let app = store.app(args.app)?;
    app.lock(true)?;
    let drop = to_drop(&app, args)?;
    if !drop.is_empty() && !args.yes && !args.dry_run {
        let what = format!("drop {} of application {}", versions(&drop), app.id);
        if !confirmed(&what)? {
            bail!("nothing was dropped");
        }
    }
    let report = collect(&app, &app, &drop, args.dry_run)?;
    match args.json {
        true => output::print_json(&report),
        false => output::print(&text(&report)),
    }
}

/// Drops these versions and frees what nothing kept needs; the lock for writing must be held.
fn collect(app: &App, change: &dyn Change, drop: &BTreeSet<u64>, dry_run: bool) -> Result<Report> {
    let freeing = Freeing::plan(app, drop)?;
    if !dry_run {
        freeing.carry_out(change)?;
    }
    let number = |(number, one): (&u64, &Remains)| Number {
        number: *number,
        dropped: one.dropped,
        freed_files: one.files,
        freed_bytes: one.freed,
        held_bytes: one.held,
        needed_by: one.needed_by,
    };
    let numbers: Vec<Number> = freeing.remains.iter().map(number).collect();
    let sum = |of: fn(&Number) -> u64| numbers.iter().map(of).sum();
    Ok(Report {
        app: app.id,
        dry_run,
        dropped: drop.iter().copied().collect(),
        kept: freeing.kept.clone(),
        freed_files: sum(|one| one.freed_files),
        freed_bytes: sum(|one| one.freed_bytes),
        held_bytes: sum(|one| one.held_bytes),
        numbers,
    })
}

/// The versions that the arguments say.
fn to_drop(app: &App, args: &GcArgs) -> Result<BTreeSet<u64>> {
    let exist = app.existing()?;
    let mut drop = BTreeSet::new();
    for range in &args.versions {
        let inside = exist.range(range.first..=range.last);
        let before = drop.len();
        drop.extend(inside.copied());
        if drop.len() == before {
            bail!(
                "application {} has no version {range}; `geist list` shows which it has",
                app.id
            );
        }
    }
    if let Some(keep) = args.keep {
        for version in exist.iter().rev().take(keep) {
            if let State::Damaged(damaged) = app.state(*version) {
                bail!(
                    "{damaged}; it would be kept, and good versions dropped: remove it with `geist rm {}@{version}`, or say with --versions which to drop",
                    app.id
                );
            }
        }
        let old = exist.len().saturating_sub(keep);
        drop.extend(exist.iter().take(old));
    }
    if !exist.is_empty() && drop.len() == exist.len() {
        bail!(
            "that are all versions of application {id}; `geist rm {id}` removes it",
            id = app.id
        );
    }
    Ok(drop)
}

/// Versions in words.
fn versions(numbers: &BTreeSet<u64>) -> String {
    let list: Vec<String> = numbers.iter().map(u64::to_string).collect();
    match list.len() {
        1 => format!("version {}", list[0]),
        2..=8 => format!("versions {}", list.join(", ")),
        count => format!("{count} versions ({} to {})", list[0], list[count - 1]),
    }
}

impl Number {
    fn words(&self, report: &Report) -> String {
        let would = if report.dry_run { "would be " } else { "" };
        let mut words = match self.dropped {
            true => format!("{would}dropped"),
            false if report.kept.contains(&self.number) => {
                "its files before it was consolidated".to_owned()
            }
            false if self.needed_by.is_some() => "dropped before".to_owned(),
            false => "of no version".to_owned(),
        };
        if let Some(by) = self.needed_by {
            words += &format!("; version {by} needs its pages");
        }
        words
    }
}

fn text(report: &Report) -> String {
    let row = |one: &Number| {
        vec![
            one.number.to_string(),
            one.freed_files.to_string(),
            output::bytes(one.freed_bytes),
            output::bytes(one.held_bytes),
            one.words(report),
        ]
    };
    let rows: Vec<Vec<String>> = report.numbers.iter().map(row).collect();
    let mut text = match rows.is_empty() {
        true => String::new(),
        false => {
            let head = ["VERSION", "FILES FREED", "FREED", "STAYS", ""];
            output::table(&head, &[0, 1, 2, 3], &rows)
        }
    };
    let would = if report.dry_run { "would be " } else { "" };
    text += &match report.freed_files {
        0 => format!("nothing {would}freed"),
        files => format!(
            "{} in {files} files {would}freed",
            output::bytes(report.freed_bytes)
        ),
    };
    text += &match report.kept.len() {
        1 => "; 1 version is kept\n".to_owned(),
        kept => format!("; {kept} versions are kept\n"),
    };
    text
}
