// SPDX-License-Identifier: GPL-2.0

//! `geist top`

mod apps;
mod screen;

use crate::cli::TopArgs;
use crate::output::{self, plain};
use anyhow::Result;
use apps::App;
use screen::{Event, Screen};
use serde::Serialize;
use std::io::{ErrorKind, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What `--json` prints, in one line.
#[derive(Serialize)]
struct Moment<'a> {
    realtime_ns: u64,
    applications: &'a [App],
}

/// Shows the applications that the module tracks, again and again.
pub fn run(args: &TopArgs) -> Result<()> {
    let delay = Duration::from_secs_f64(args.delay);
    if args.json {
        return stream(args, delay);
    }
    let first = text(&apps::read_all(&args.sysfs)?);
    let screen = if args.once { None } else { Screen::take()? };
    let Some(screen) = screen else {
        return output::print(&first);
    };
    screen.show(&first)?;
    while screen.wait(delay)? == Event::Refresh {
        screen.show(&text(&apps::read_all(&args.sysfs)?))?;
    }
    Ok(())
}

/// A line of JSON for each refresh, until nobody reads it any more.
fn stream(args: &TopArgs, delay: Duration) -> Result<()> {
    loop {
        let applications = apps::read_all(&args.sysfs)?;
        let moment = Moment {
            realtime_ns: now_ns(),
            applications: &applications,
        };
        let line = serde_json::to_string(&moment)? + "\n";
        let mut out = std::io::stdout().lock();
        match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
        if args.once {
            return Ok(());
        }
        std::thread::sleep(delay);
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

const HEAD: [&str; 11] = [
    "APP", "PID", "COMMAND", "INTERVAL", "VERSION", "DIRTY", "PAGES", "PAUSE", "SIZE", "SKIPPED",
    "ERRORS",
];

fn cells(app: &App) -> Vec<String> {
    let or = |number: u64, words: &str| match number {
        0 => words.to_owned(),
        number => number.to_string(),
    };
    vec![
        app.app.to_string(),
        or(app.pid.into(), "-"),
        plain(&app.command),
        match app.interval_ms {
            0 if app.watched => "suspended".to_owned(),
            0 => "-".to_owned(),
            interval => output::micros(interval.saturating_mul(1000)),
        },
        or(app.version, "-"),
        app.dirty.to_string(),
        app.pages.to_string(),
        output::micros(app.pause_us),
        output::bytes(app.bytes),
        app.skipped.to_string(),
        app.errors.to_string(),
    ]
}

/// A summary, the table, and the last error of each application that had one.
fn text(apps: &[App]) -> String {
    let watched = apps.iter().filter(|app| app.watched).count();
    let held: u64 = apps.iter().map(|app| app.held_bytes).sum();
    let mut text = format!(
        "geist: {} {}, {watched} watched, {} held until written\n\n",
        apps.len(),
        if apps.len() == 1 {
            "application"
        } else {
            "applications"
        },
        output::bytes(held),
    );
    let rows: Vec<Vec<String>> = apps.iter().map(cells).collect();
    text += &output::table(&HEAD, &[0, 1, 3, 4, 5, 6, 7, 8, 9, 10], &rows);
    let mut errors = apps
        .iter()
        .filter_map(|app| Some((app.app, app.last_error.as_ref()?)))
        .peekable();
    if errors.peek().is_some() {
        text += "\n";
    }
    for (app, error) in errors {
        text += &format!("{app}: last error: {}\n", plain(error));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> App {
        App {
            app: 812,
            pid: 812,
            command: "ma\x1bw".to_owned(),
            watched: true,
            interval_ms: 10,
            version: 4711,
            dirty: 3,
            pages: 1450,
            bytes: 6 << 20,
            pause_us: 700,
            skipped: 2,
            held_bytes: 2048,
            ..App::default()
        }
    }

    #[test]
    fn table() {
        let other = App {
            app: 99,
            errors: 1,
            last_error: Some("pid 99: fd 5 is a pipe\x07".to_owned()),
            command: "-".to_owned(),
            ..App::default()
        };
        let text = text(&[other, app()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "geist: 2 applications, 1 watched, 2.0 KiB held until written"
        );
        let words =
            |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
        assert_eq!(words(lines[2]), HEAD);
        assert_eq!(
            words(lines[3]),
            ["99", "-", "-", "-", "-", "0", "0", "0", "µs", "0", "B", "0", "1"]
        );
        assert_eq!(
            words(lines[4]).join(" "),
            "812 812 ma?w 10.0 ms 4711 3 1450 700 µs 6.0 MiB 2 0"
        );
        assert_eq!(lines[6], "99: last error: pid 99: fd 5 is a pipe?");
        assert_eq!(lines.len(), 7);
    }

    #[test]
    fn nothing() {
        let text = text(&[]);
        assert!(text.starts_with("geist: 0 applications, 0 watched, 0 B"));
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn json_is_one_line() {
        let moment = Moment {
            realtime_ns: 5,
            applications: &[app()],
        };
        let line = serde_json::to_string(&moment).unwrap();
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["realtime_ns"], 5);
        assert_eq!(value["applications"][0]["version"], 4711);
        assert_eq!(
            value["applications"][0]["last_error"],
            serde_json::Value::Null
        );
    }
}
