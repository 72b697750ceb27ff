// SPDX-License-Identifier: GPL-2.0

//! `geist list`

use crate::cli::{Common, ListArgs};
use crate::image::Damaged;
use crate::output::{self, plain};
use crate::store::{App, Freeing, Remains, State, Store};
use anyhow::Result;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A version, as `--json` prints it. Fields that cannot be known are absent.
#[derive(Default, Serialize)]
#[serde(default)]
struct Row {
    app: u32,
    version: u64,
    /// `good` or `damaged`; with `--all` also `dropped`, `replaced`, `unneeded` or `unknown`
    state: &'static str,
    /// `dropped`, `replaced`: the newest version that needs files with this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    needed_by: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    content: Option<Content>,
}

/// What a good version holds.
#[derive(Serialize)]
struct Content {
    kind: &'static str,
    date: String,
    realtime_ns: u64,
    pages: u64,
    bytes: u64,
    pause_us: u64,
    command: String,
    description: String,
    left_out: u32,
    parent: u64,
}

impl Row {
    fn new(app: u32, version: u64, state: &State) -> Self {
        let row = Self {
            app,
            version,
            ..Self::default()
        };
        match state {
            State::Uncommitted => row,
            State::Damaged(damaged) => Self {
                state: "damaged",
                damage: Some(format!("{}: {}", damaged.file, damaged.why)),
                ..row
            },
            State::Good(summary) => Self {
                state: "good",
                content: Some(Content {
                    kind: summary.kind(),
                    date: output::date(summary.global.realtime_ns),
                    realtime_ns: summary.global.realtime_ns,
                    pages: summary.global.pages,
                    bytes: summary.bytes,
                    pause_us: summary.global.pause_us,
                    command: summary.command(),
                    description: summary.text.clone(),
                    left_out: summary.global.left_out,
                    parent: summary.global.parent,
                }),
                ..row
            },
        }
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.app.to_string(), self.version.to_string()];
        if let Some(content) = &self.content {
            let first = content.description.lines().next().unwrap_or_default();
            cells.extend([
                content.kind.to_owned(),
                content.date.clone(),
                content.pages.to_string(),
                output::bytes(content.bytes),
                output::micros(content.pause_us),
                plain(&content.command),
                plain(first),
            ]);
        } else {
            let words = match (&self.damage, self.needed_by, self.state) {
                (Some(damage), ..) => format!("damaged: {}", plain(damage)),
                (None, Some(by), "dropped") => format!("dropped; version {by} needs its pages"),
                (None, Some(by), _) => {
                    format!("its files before it was consolidated; version {by} needs their pages")
                }
                (None, None, "unneeded") => {
                    "belongs to no version; the next checkpoint or `geist gc` removes it".to_owned()
                }
                _ => "kept as long as what a damaged version needs cannot be told".to_owned(),
            };
            cells.extend(["", "", "", "", "", ""].map(str::to_owned));
            cells[2] = "-".to_owned();
            cells.push(words);
        }
        cells
    }
}

/// What there is of an application beside its versions.
fn remains(app: &App, versions: &BTreeMap<u64, State>) -> Result<Vec<Row>> {
    let row = |number, state, needed_by| Row {
        app: app.id,
        version: number,
        state,
        needed_by,
        ..Row::default()
    };
    let freeing = match Freeing::plan(app, &BTreeSet::new()) {
        Err(error) if error.is::<Damaged>() => {
            let own = |(version, state): (&u64, &State)| match state {
                State::Good(summary) => summary.global.number(),
                _ => *version,
            };
            let own: BTreeSet<u64> = versions.iter().map(own).collect();
            let files = app.files()?;
            let numbers = files.iter().map(|(_, parsed)| parsed.version);
            let others: BTreeSet<u64> = numbers.filter(|number| !own.contains(number)).collect();
            let others = others.into_iter();
            return Ok(others.map(|number| row(number, "unknown", None)).collect());
        }
        freeing => freeing?,
    };
    let row = |(number, remains): (u64, Remains)| match (remains.needed_by, versions.get(&number)) {
        (Some(by), None) => Some(row(number, "dropped", Some(by))),
        (Some(by), Some(_)) => Some(row(number, "replaced", Some(by))),
        // Said already.
        (None, Some(State::Damaged(_))) => None,
        (None, _) => Some(row(number, "unneeded", None)),
    };
    Ok(freeing.remains.into_iter().filter_map(row).collect())
}

/// Lists what the store holds.
pub fn run(common: &Common, args: &ListArgs) -> Result<()> {
    let store = Store::open(&common.store)?;
    let mut rows = Vec::new();
    for id in store.apps()? {
        let app = store.app(id)?;
        let versions = app.versions()?;
        let states = versions.iter();
        rows.extend(states.map(|(version, state)| Row::new(id, *version, state)));
        if args.all {
            rows.extend(remains(&app, &versions)?);
        }
    }
    rows.sort_by_key(|row| (row.app, row.version));
    if args.json {
        return output::print_json(&rows);
    }
    if rows.is_empty() {
        output::note(&format!("{} holds no checkpoint", common.store.display()));
        return Ok(());
    }
    let head = [
        "APP",
        "VERSION",
        "KIND",
        "DATE",
        "PAGES",
        "SIZE",
        "PAUSE",
        "COMMAND",
        "DESCRIPTION",
    ];
    let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    output::print(&output::table(&head, &[0, 1, 4, 5, 6], &cells))
}
