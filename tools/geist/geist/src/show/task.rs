// SPDX-License-Identifier: GPL-2.0

//! A process: identity, credentials, limits, signals, timers.

use super::tree::{address, limit, number, said, text, yes, Cell, Section, Table};
use super::{files, thread};
use crate::image::Task;
use crate::restart::process::limit_name;
use crate::signals;
use geist_image::task::{PendingSignal, PROCESS_NO_NEW_PRIVS, PROCESS_STOPPED, PROCESS_SUBREAPER};

/// Everything of a process but its memory.
pub fn section(task: &Task) -> Section {
    let process = &task.process;
    let has = |flag: u32| yes(process.flags & flag != 0);
    let mut section = Section::new(format!("process {}", process.pid));
    section
        .value("pid", number(process.pid))
        .value("command", text(&task.comm()))
        .value("parent", number(process.ppid))
        .value("process group", number(process.pgid))
        .value("session", number(process.sid))
        .value("stopped", has(PROCESS_STOPPED))
        .value("no new privileges", has(PROCESS_NO_NEW_PRIVS))
        .value("child subreaper", has(PROCESS_SUBREAPER))
        .value("personality", address(process.personality.into()))
        .value("dumpable", number(process.dumpable))
        .value("oom_score_adj", number(process.oom_score_adj))
        .value("started", seconds(process.start_time_ns))
        .value("monotonic clock", seconds(process.monotonic_ns))
        .value("real clock", seconds(process.realtime_ns))
        .value("boot clock", seconds(process.boottime_ns))
        .value("user time", seconds(process.utime_ns))
        .value("system time", seconds(process.stime_ns))
        .section(credentials(task))
        .table(limits(task))
        .table(handlers(task))
        .table(pending("pending signals", &task.pending))
        .table(timers(task))
        .section(files::section(task));
    section.list(
        "threads",
        task.threads.iter().map(thread::section).collect(),
    );
    section
}

/// Nanoseconds as seconds.
pub fn seconds(ns: u64) -> Cell {
    let words = format!("{}.{:09} s", ns / 1_000_000_000, ns % 1_000_000_000);
    said(words, ns)
}

fn credentials(task: &Task) -> Section {
    let creds = &task.creds;
    let mut section = Section::new("credentials");
    let mut ids = Table::new(
        "IDs",
        &["Of", ">Real", ">Effective", ">Saved", ">File system"],
    );
    for (of, row) in [("user", creds.uid), ("group", creds.gid)] {
        let mut cells = vec![text(of)];
        cells.extend(row.map(number));
        ids.row(cells);
    }
    let groups: Vec<String> = task.groups.iter().map(u32::to_string).collect();
    section
        .table(ids)
        .value("groups", said(groups.join(" "), task.groups.clone()));
    let names = [
        "inheritable",
        "permitted",
        "effective",
        "bounding",
        "ambient",
    ];
    for (name, set) in names.iter().zip(creds.caps) {
        section.value(&format!("{name} capabilities"), address(set));
    }
    section.value("securebits", address(creds.securebits.into()));
    section
}

fn limits(task: &Task) -> Table {
    let mut table = Table::new("resource limits", &["Limit", ">Soft", ">Hard"]);
    for (resource, [soft, hard]) in task.limits.limits.iter().enumerate() {
        table.row(vec![
            text(&limit_name(resource)),
            limit(*soft),
            limit(*hard),
        ]);
    }
    table
}

/// Handlers of the signals that have another than the default.
fn handlers(task: &Task) -> Table {
    let head = ["Signal", "Handler", "Flags", "Restorer", "Blocked"];
    let mut table = Table::new("signal handlers", &head);
    for (number, action) in (1..).zip(&task.handlers.actions) {
        let handler = match action.handler {
            0 => continue,
            1 => said("ignored".to_owned(), 1),
            handler => address(handler),
        };
        table.row(vec![
            text(&signals::name(number)),
            handler,
            address(action.flags),
            address(action.restorer),
            said(signals::set(action.mask), action.mask),
        ]);
    }
    table
}

/// Pending signals.
pub fn pending(name: &str, pending: &[PendingSignal]) -> Table {
    let mut table = Table::new(name, &["Signal", "Siginfo"]);
    for one in pending {
        let info = crate::output::hex(&one.siginfo);
        let info = info.trim_end_matches("00").to_owned();
        table.row(vec![text(&signals::name(one.number())), text(&info)]);
    }
    table
}

fn timers(task: &Task) -> Table {
    let mut table = Table::new("interval timers", &["Timer", ">Expires in", ">Interval"]);
    for (name, [value, interval]) in ["real", "virtual", "profiling"]
        .iter()
        .zip(task.timers.timers)
    {
        if value != 0 || interval != 0 {
            table.row(vec![text(name), seconds(value), seconds(interval)]);
        }
    }
    table
}
