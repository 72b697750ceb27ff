// SPDX-License-Identifier: GPL-2.0

//! What people and programs read: tables, numbers, notes, JSON, progress.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Prints `text` to the standard output. A reader that went away (`geist list | head`) is no error.
pub fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Prints one JSON value.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// A note for people, on the standard error.
pub fn note(text: &str) {
    eprintln!("geist: note: {text}");
}

/// A table with aligned columns; those named in `right` are aligned to the right.
pub fn table(head: &[&str], right: &[usize], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (column, cell) in cells.enumerate() {
            let pad = widths[column].saturating_sub(cell.chars().count());
            if column > 0 {
                line.push_str("  ");
            }
            if right.contains(&column) {
                line.extend(std::iter::repeat_n(' ', pad));
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', pad));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

/// A number of bytes for people.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Microseconds for people.
pub fn micros(count: u64) -> String {
    match count {
        0..=9_999 => format!("{count} µs"),
        10_000..=9_999_999 => format!("{:.1} ms", count as f64 / 1e3),
        _ => format!("{:.1} s", count as f64 / 1e6),
    }
}

/// An interval for people, as they may say it to `geist watch`.
pub fn interval(us: u64) -> String {
    match us {
        _ if us % 1_000_000 == 0 => format!("{} s", us / 1_000_000),
        _ if us % 1_000 == 0 => format!("{} ms", us / 1_000),
        _ => format!("{us} µs"),
    }
}

/// A number of things: `1 version`, `2 versions`.
pub fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Nanoseconds since 1970 as local time.
pub fn date(realtime_ns: u64) -> String {
    let stamp = i128::from(realtime_ns);
    match jiff::Timestamp::from_nanosecond(stamp) {
        Ok(stamp) => stamp
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        Err(_) => format!("{} s after 1970", realtime_ns / 1_000_000_000),
    }
}

/// Text of others without anything that a terminal would obey.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A progress bar over bytes on the standard error; appears after a second, and only on a terminal.
pub struct Progress {
    what: String,
    template: &'static str,
    total: u64,
    done: u64,
    start: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar that says `what` is going on, for `total` bytes.
    pub fn new(what: &str, total: u64) -> Self {
        Self {
            what: what.to_owned(),
            template: "{msg} [{bar:30}] {bytes}/{total_bytes} {eta}",
            total,
            done: 0,
            start: Instant::now(),
            bar: None,
        }
    }

    /// A bar for `total` things of another kind.
    pub fn count(what: &str, total: u64) -> Self {
        let mut progress = Self::new(what, total);
        progress.template = "{msg} [{bar:30}] {pos}/{len} {eta}";
        progress
    }

    /// `more` are done.
    pub fn advance(&mut self, more: u64) {
        self.done += more;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        } else if self.start.elapsed() > Duration::from_secs(1) && std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(self.total), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(self.template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(self.what.clone());
            self.bar = Some(bar);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!(micros(812), "812 µs");
        assert_eq!(micros(18_200), "18.2 ms");
        assert_eq!(interval(10_000), "10 ms");
        assert_eq!(interval(2_000_000), "2 s");
        assert_eq!(interval(1_500), "1500 µs");
        assert_eq!(count(1, "version"), "1 version");
        assert_eq!(count(0, "version"), "0 versions");
    }

    #[test]
    fn columns() {
        let rows = vec![vec!["1".into(), "x".into()], vec!["10".into(), "".into()]];
        assert_eq!(table(&["n", "word"], &[0], &rows), " n  word\n 1  x\n10\n");
    }

    #[test]
    fn nothing_for_the_terminal_to_obey() {
        assert_eq!(plain("a\x1b[2Jb"), "a?[2Jb");
    }
}
