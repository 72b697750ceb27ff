// SPDX-License-Identifier: GPL-2.0

//! `geist diff`

mod compare;

use crate::cli::{exit, Common, DiffArgs};
use crate::image::{self, Summary};
use crate::output::{self, plain, Progress};
use crate::store::{App, State, Store};
use anyhow::{bail, Result};
use compare::{Kind, Piece};
use serde::Serialize;
use std::process::ExitCode;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    app: u32,
    from: u64,
    to: u64,
    /// Whether they hold the same memory in the same mappings.
    same: bool,
    changed: u64,
    new: u64,
    gone: u64,
    mappings: Vec<Row>,
}

/// A piece of the address space that differs.
#[derive(Serialize)]
struct Row {
    pid: u32,
    start: u64,
    end: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    protection_from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protection_to: Option<String>,
    name: String,
    /// What became of the mapping: `same`, `came`, `went`, `protection` or `replaced`.
    mapping: &'static str,
    pages_from: u64,
    pages_to: u64,
    changed: u64,
    new: u64,
    gone: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pages: Option<Vec<Range>>,
}

/// Neighbouring pages that differ in the same way.
#[derive(Serialize)]
struct Range {
    start: u64,
    end: u64,
    /// `changed`, `new` or `gone`
    what: &'static str,
}

/// Says which pages of which mapping differ between two versions.
pub fn run(common: &Common, args: &DiffArgs) -> Result<ExitCode> {
    let (Some(from), Some(to)) = (args.from.version, args.to.version) else {
        bail!("say two versions, for example {0}@1 {0}@2", args.from.app);
    };
    if args.from.app != args.to.app {
        bail!(
            "{} and {} are two applications; only versions of one can be compared",
            args.from.app,
            args.to.app
        );
    }
    let store = Store::open(&common.store)?;
    let app = store.app(args.from.app)?;
    app.lock(false)?;
    let report = compare(&app, from, to, args.pages)?;
    match args.json {
        true => output::print_json(&report)?,
        false => output::print(&text(&report))?,
    }
    Ok(match args.exit_code && !report.same {
        true => exit::DIFFERENT.into(),
        false => ExitCode::SUCCESS,
    })
}

fn good(app: &App, version: u64) -> Result<Box<Summary>> {
    match app.state(version) {
        State::Good(summary) => Ok(summary),
        State::Damaged(damaged) => Err(damaged.into()),
        State::Uncommitted => bail!(
            "application {} has no version {version}; `geist list` shows which it has",
            app.id
        ),
    }
}

fn compare(app: &App, from: u64, to: u64, pages: bool) -> Result<Report> {
    let summaries = [good(app, from)?, good(app, to)?];
    let [old, new] = &summaries;
    let pids = |summary: &Summary| summary.nodes.iter().map(|n| n.pid).collect::<Vec<_>>();
    if pids(old) != pids(new) {
        bail!("version {from} and version {to} are of different processes");
    }
    let controls = [image::controls(app, old)?, image::controls(app, new)?];
    let mut rows = Vec::new();
    for (n, node) in new.nodes.iter().enumerate() {
        let sides = [0, 1].map(|side| compare::Side {
            task: &summaries[side].tasks[n],
            extents: &controls[side][n].1,
        });
        let what = format!("comparing versions {from} and {to} of process {}", node.pid);
        let pages_to_compare = sides[1].extents.iter().map(|extent| extent.pages).sum();
        let mut progress = Progress::count(&what, pages_to_compare);
        let pieces = compare::process(app, node.pid, &sides, &mut progress)?;
        let pieces = pieces.iter().filter(|piece| piece.differs());
        rows.extend(pieces.map(|piece| row(node.pid, piece, pages)));
    }
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum();
    Ok(Report {
        app: app.id,
        from,
        to,
        same: rows.is_empty(),
        changed: sum(|row| row.changed),
        new: sum(|row| row.new),
        gone: sum(|row| row.gone),
        mappings: rows,
    })
}

fn row(pid: u32, piece: &Piece, pages: bool) -> Row {
    let protection = |side: usize| piece.mappings[side].as_ref().map(|one| one.perms.clone());
    let name = piece.mappings.iter().flatten().next_back();
    let range = |&(start, end, kind): &(u64, u64, Kind)| Range {
        start,
        end,
        what: kind.word(),
    };
    Row {
        pid,
        start: piece.start,
        end: piece.end,
        protection_from: protection(0),
        protection_to: protection(1),
        name: name.map_or(String::new(), |one| one.name.clone()),
        mapping: piece.fate(),
        pages_from: piece.stored[0],
        pages_to: piece.stored[1],
        changed: piece.count(Kind::Changed),
        new: piece.count(Kind::New),
        gone: piece.count(Kind::Gone),
        pages: pages.then(|| piece.ranges.iter().map(range).collect()),
    }
}

impl Row {
    fn perms(&self) -> String {
        match (&self.protection_from, &self.protection_to) {
            (Some(from), Some(to)) if from != to => format!("{from} > {to}"),
            (from, to) => to.as_ref().or(from.as_ref()).cloned().unwrap_or_default(),
        }
    }

    fn words(&self) -> &'static str {
        match self.mapping {
            "came" => "new mapping",
            "went" => "mapping gone",
            "replaced" => "another mapping",
            _ => "",
        }
    }
}

fn text(report: &Report) -> String {
    let (app, from, to) = (report.app, report.from, report.to);
    if report.same {
        return format!("versions {from} and {to} of application {app} hold the same memory\n");
    }
    let head = [
        "MAPPING".to_owned(),
        "PERMS".to_owned(),
        format!("IN {from}"),
        format!("IN {to}"),
        "CHANGED".to_owned(),
        "NEW".to_owned(),
        "GONE".to_owned(),
        "WHAT".to_owned(),
    ];
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let cells = |row: &Row| {
        vec![
            format!("{:08x}-{:08x}", row.start, row.end),
            row.perms(),
            row.pages_from.to_string(),
            row.pages_to.to_string(),
            row.changed.to_string(),
            row.new.to_string(),
            row.gone.to_string(),
            [row.words(), &plain(&row.name)]
                .iter()
                .filter(|words| !words.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join(": "),
        ]
    };
    let rows: Vec<Vec<String>> = report.mappings.iter().map(cells).collect();
    let table = output::table(&head, &[2, 3, 4, 5, 6], &rows);
    let mut text = String::new();
    let mut lines = table.lines();
    text.extend(lines.next().map(|line| format!("{line}\n")));
    for (line, row) in lines.zip(&report.mappings) {
        text += &format!("{line}\n");
        for range in row.pages.iter().flatten() {
            let pages = (range.end - range.start) / geist_image::PAGE_SIZE as u64;
            text += &format!(
                "  {:7} {:08x}-{:08x}  {pages}\n",
                range.what, range.start, range.end
            );
        }
    }
    text + &format!(
        "{} pages changed, {} are new, {} are gone\n",
        report.changed, report.new, report.gone
    )
}
