// SPDX-License-Identifier: GPL-2.0

//! `geist show`

mod files;
mod memory;
mod task;
mod thread;
mod tree;

use crate::cli::{Common, ShowArgs};
use crate::image::{self, Chain, Summary};
use crate::output;
use crate::store::{App, State, Store};
use anyhow::{bail, Result};
use geist_image::name::Name;
use geist_image::FileKind;
use tree::{address, bytes, number, said, text, Section, Table};

/// Shows everything that a version holds.
pub fn run(common: &Common, args: &ShowArgs) -> Result<()> {
    let store = Store::open(&common.store)?;
    let app = store.app(args.version.app)?;
    app.lock(false)?;
    let section = version(&app, args)?;
    match args.json {
        true => output::print_json(&section.json()),
        false => output::print(&section.text()),
    }
}

fn version(app: &App, args: &ShowArgs) -> Result<Section> {
    let version = match args.version.version {
        Some(version) => version,
        None => app.newest()?,
    };
    let summary = match app.state(version) {
        State::Good(summary) => summary,
        State::Damaged(damaged) => return Err(damaged.into()),
        State::Uncommitted if version == 0 => {
            bail!("application {} has no committed version", app.id)
        }
        State::Uncommitted => bail!(
            "application {} has no version {version}; `geist list` shows which it has",
            app.id
        ),
    };
    let mut section = Section::new(format!("application {}, version {version}", app.id));
    section.section(global(&summary));
    let mut description = Section::new("description");
    let lines: Vec<&str> = summary.description.trim_end().lines().collect();
    for line in lines.iter().filter(|_| !args.json) {
        let (name, words) = line.split_once(": ").unwrap_or(("", line));
        description.value(name, text(words));
    }
    if args.json {
        description.value("text", text(&summary.text));
        description.value("file", text(&summary.description));
    }
    section.section(description).table(node(&summary));
    let controls = image::controls(app, &summary)?;
    let mut pages = match args.pages {
        true => {
            let image = image::check(&mut Chain::new(app), version)
                .map_err(|mut damages| damages.remove(0))?;
            let processes = image.processes.into_iter();
            processes
                .map(|process| Some(process.pages(summary.global.number()).to_vec()))
                .collect()
        }
        false => vec![None; summary.tasks.len()],
    };
    let mut processes = Vec::new();
    for ((task, control), pages) in summary.tasks.iter().zip(&controls).zip(&mut pages) {
        let mut process = task::section(task);
        process.section(memory::section(task));
        process.section(memory::stored(control, pages.as_deref(), args.control));
        processes.push(process);
    }
    section.list("processes", processes);
    Ok(section)
}

fn global(summary: &Summary) -> Section {
    let global = &summary.global;
    let end = global.kernel.iter().position(|byte| *byte == 0);
    let mut section = Section::new("global");
    section
        .value("application", number(global.app))
        .value("version", number(global.version))
        .value("kind", text(summary.kind()))
        .value("parent", number(global.parent))
        .value("number of the files", number(global.number()))
        .value("node mask", address(global.node_mask))
        .value(
            "date",
            said(output::date(global.realtime_ns), global.realtime_ns),
        )
        .value(
            "booted",
            said(output::date(global.booted_ns), global.booted_ns),
        )
        .value("kernel", bytes(&global.kernel[..end.unwrap_or(0)]))
        .value(
            "pause",
            said(output::micros(global.pause_us), global.pause_us),
        )
        .value("pages", number(global.pages))
        .value("bytes", said(output::bytes(summary.bytes), summary.bytes))
        .value(
            "control bytes",
            said(output::bytes(summary.control_bytes), summary.control_bytes),
        )
        .value("descriptors left out", number(global.left_out));
    let mut files = Table::new("files", &["Name", ">Bytes", "CRC32C"]);
    for entry in &summary.manifest {
        if let Some(kind) = FileKind::from_number(entry.kind) {
            let name = Name::new(kind, entry.pid, global.number());
            files.row(vec![
                text(name.as_str()),
                number(entry.bytes),
                said(format!("{:08x}", entry.crc), entry.crc),
            ]);
        }
    }
    section.table(files);
    section
}

fn node(summary: &Summary) -> Table {
    let mut table = Table::new("node 0", &[">Process", ">Parent", ">Threads"]);
    for task in &summary.nodes {
        table.row(vec![
            number(task.pid),
            number(task.ppid),
            number(task.threads),
        ]);
    }
    table
}
