// SPDX-License-Identifier: GPL-2.0

//! Which running process an application is: pids are used again, so the pid alone does not say.

use crate::image::Summary;
use crate::output;
use crate::proc::{self, Running};
use crate::store::{App, State};
use anyhow::{bail, Result};

/// Nanoseconds in a tick of the clock that `/proc` counts starts in (`USER_HZ`).
const TICK_NS: u64 = 10_000_000;

/// How much two readings of the time of a boot may differ: the clock may be set meanwhile.
const BOOT_TOLERANCE_NS: u64 = 5_000_000_000;

/// The identity of a running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Boot in which it runs.
    pub boot: String,
    /// Its pid.
    pub pid: u32,
    /// When it started, clock ticks since boot.
    pub start: u64,
    /// Version that it was restarted from.
    pub version: Option<u64>,
}

impl Instance {
    /// The identity of the running process `pid`.
    pub fn of(pid: u32, running: &Running, version: Option<u64>) -> Result<Self> {
        Ok(Self {
            boot: proc::boot_id()?,
            pid,
            start: running.start,
            version,
        })
    }

    /// Its text in the store.
    pub fn text(&self) -> String {
        let Self {
            boot, pid, start, ..
        } = self;
        let mut text = format!("boot: {boot}\npid: {pid}\nstart: {start}\n");
        if let Some(version) = self.version {
            text += &format!("version: {version}\n");
        }
        text
    }

    /// Reads its text.
    pub fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        };
        let version = match value("version") {
            Some(version) => Some(version.parse().ok()?),
            None => None,
        };
        Some(Self {
            boot: value("boot")?.to_owned(),
            pid: value("pid")?.parse().ok()?,
            start: value("start")?.parse().ok()?,
            version,
        })
    }

    /// Writes it into the directory of the application. What it belongs to is done already, so a
    /// store that cannot take it is only noted.
    pub fn record(&self, app: &App) {
        if let Err(error) = app.write_instance(&self.text()) {
            output::note(&format!(
                "{error:#}; the next checkpoint may not recognise process {} as this application",
                self.pid
            ));
        }
    }

    fn same_process(&self, other: &Self) -> bool {
        (&self.boot, self.pid, self.start) == (&other.boot, other.pid, other.start)
    }
}

/// Whether the process `running` is the one whose versions the store holds.
pub enum Match {
    /// The store holds no version.
    New,
    /// It is.
    Same,
    /// It is another one; the newest version of the other, if it can be read.
    Other(Option<Box<Summary>>),
}

/// Compares a running process with what the store holds under its number.
pub fn compare(app: &App, running: &Instance) -> Result<Match> {
    let versions = app.numbers()?;
    if versions.is_empty() {
        return Ok(Match::New);
    }
    let good = |version: &u64| match app.state(*version) {
        State::Good(summary) => Some(summary),
        _ => None,
    };
    let newest = versions.iter().rev().find_map(good);
    let same = match app.read_instance()? {
        Some(text) => match Instance::parse(&text) {
            Some(recorded) => recorded.same_process(running),
            None => bail!("{}/instance cannot be understood", app.path().display()),
        },
        // The client was cut off behind the first checkpoint: the version itself says whose it is.
        None => newest
            .as_deref()
            .is_some_and(|summary| made_from(summary, running)),
    };
    Ok(match same {
        true => Match::Same,
        false => Match::Other(newest),
    })
}

/// Whether a version was taken of this very process.
fn made_from(summary: &Summary, running: &Instance) -> bool {
    let same_boot = proc::booted_ns().abs_diff(summary.global.booted_ns) < BOOT_TOLERANCE_NS;
    summary.tasks.iter().any(|task| {
        same_boot
            && task.process.pid == running.pid
            && task.process.start_time_ns / TICK_NS == running.start
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for version in [None, Some(3)] {
            let instance = Instance {
                boot: "4e0c".to_owned(),
                pid: 812,
                start: 99,
                version,
            };
            assert_eq!(Instance::parse(&instance.text()), Some(instance));
        }
        assert_eq!(Instance::parse("boot: x\npid: 1\n"), None);
        assert_eq!(
            Instance::parse("boot: x\npid: 1\nstart: 2\nversion: x\n"),
            None
        );
    }
}
