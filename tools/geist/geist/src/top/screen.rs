// SPDX-License-Identifier: GPL-2.0

//! The terminal as `geist top` uses it.

use crate::sys::signal;
use anyhow::Result;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::termios::{
    tcgetattr, tcgetwinsize, tcsetattr, LocalModes, OptionalActions, SpecialCodeIndex, Termios,
};
use std::io::{IsTerminal as _, Write as _};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Another screen, without a cursor.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l";
/// The cursor and the screen of before.
const END: &str = "\x1b[?25h\x1b[?1049l";

/// Signals that end the program.
const ENDING: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// What ended a wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The time is over, or the size of the terminal has changed.
    Refresh,
    /// The user, or somebody else, wants it to end.
    Quit,
}

/// The terminal while it shows one picture after the other. It is as before when this is dropped.
pub struct Screen {
    before: Termios,
    signals: OwnedFd,
}

impl Screen {
    /// Takes the terminal; `None` when input or output is none.
    pub fn take() -> Result<Option<Self>> {
        let (input, output) = (std::io::stdin(), std::io::stdout());
        if !input.is_terminal() || !output.is_terminal() {
            return Ok(None);
        }
        let ending = ENDING.iter().chain([&libc::SIGWINCH]);
        let signals = signal::descriptor(ending.fold(0, |set, signal| set | (1 << (signal - 1))))?;
        let before = tcgetattr(&input)?;
        let mut now = before.clone();
        now.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        now.special_codes[SpecialCodeIndex::VMIN] = 0;
        now.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&input, OptionalActions::Flush, &now)?;
        let screen = Self { before, signals };
        put(BEGIN)?;
        Ok(Some(screen))
    }

    /// Shows `text`, as much of it as fits.
    pub fn show(&self, text: &str) -> Result<()> {
        let size = tcgetwinsize(std::io::stdout())?;
        put(&picture(text, size.ws_row, size.ws_col))
    }

    /// Waits for the user, or `time`.
    pub fn wait(&self, time: Duration) -> Result<Event> {
        let end = Instant::now() + time;
        let input = std::io::stdin();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Event::Refresh);
            }
            let mut ready = [
                PollFd::new(&input, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            poll(&mut ready, Some(&Timespec::try_from(left)?))?;
            let [keys, signals] = ready.map(|fd| !fd.revents().is_empty());
            if signals {
                return Ok(match signal::next(&self.signals)? {
                    Some(libc::SIGWINCH) | None => Event::Refresh,
                    Some(_) => Event::Quit,
                });
            }
            if keys {
                let mut typed = [0; 64];
                let count = rustix::io::read(&input, &mut typed)?;
                // Nothing to read although there is something: the terminal is gone.
                if count == 0 || typed[..count].iter().any(|key| is_quit(*key)) {
                    return Ok(Event::Quit);
                }
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal may be gone; there is nothing else to put back.
        let _ = put(END);
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// `q`, Ctrl-C, Ctrl-D or Ctrl-\.
fn is_quit(key: u8) -> bool {
    matches!(key, b'q' | b'Q' | 0x03 | 0x04 | 0x1c)
}

/// What makes a terminal of that size (0: not known) show the beginning of every line of `text`.
fn picture(text: &str, rows: u16, columns: u16) -> String {
    let limit = |size: u16| match size {
        0 => usize::MAX,
        size => size.into(),
    };
    let (rows, columns) = (limit(rows), limit(columns));
    let mut picture = "\x1b[H".to_owned();
    for (number, line) in text.lines().take(rows).enumerate() {
        if number > 0 {
            picture.push_str("\r\n");
        }
        picture.extend(line.chars().take(columns));
        picture.push_str("\x1b[K");
    }
    picture.push_str("\x1b[J");
    picture
}

fn put(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures() {
        assert_eq!(
            picture("abc\nde\nf\n", 2, 2),
            "\x1b[Hab\x1b[K\r\nde\x1b[K\x1b[J"
        );
        assert_eq!(picture("µs\n", 5, 1), "\x1b[Hµ\x1b[K\x1b[J");
        assert_eq!(picture("", 1, 1), "\x1b[H\x1b[J");
        assert_eq!(picture("abc\n", 0, 0), "\x1b[Habc\x1b[K\x1b[J");
    }

    #[test]
    fn keys() {
        assert!(b"qQ\x03".iter().all(|key| is_quit(*key)));
        assert!(!b"xc\n\x1b".iter().any(|key| is_quit(*key)));
    }
}
