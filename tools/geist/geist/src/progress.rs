// SPDX-License-Identifier: GPL-2.0

//! What the module is doing, while a call of it does not return: looked at from outside.

use crate::sys::signal;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Nothing is shown of what takes less.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// What is looked at.
pub struct Sight<'a> {
    /// What is going on.
    pub what: String,
    /// Bytes in the end, when that is known.
    pub total: Option<u64>,
    /// Bytes that are done.
    pub look: Box<dyn FnMut() -> u64 + Send + 'a>,
}

/// Does `work`. When that takes longer than a second, how far it is appears on the standard error,
/// if that is a terminal, and is gone again afterwards.
///
/// A thread of its own looks, so nothing that `work` does may depend on there being one thread only.
pub fn show<T>(sight: Sight<'_>, work: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    thread::scope(|scope| {
        let (end, ended) = channel::<()>();
        // Signals are for the thread that works: its call is to be interrupted by them.
        let watching = signal::all_blocked(|| {
            thread::Builder::new().spawn_scoped(scope, move || watch(sight, &ended))
        });
        let result = work();
        drop(end);
        // Without such a thread nothing is shown, and that is all.
        drop(watching);
        result
    })
}

fn watch(mut sight: Sight<'_>, ended: &Receiver<()>) {
    let goes_on = |wait| ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout);
    if !goes_on(PATIENCE) {
        return;
    }
    let template = match sight.total {
        Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {eta}",
        None => "{msg} {bytes}, {bytes_per_sec}",
    };
    let bar = ProgressBar::with_draw_target(sight.total, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(sight.what);
    loop {
        bar.set_position((sight.look)());
        if !goes_on(INTERVAL) {
            break;
        }
    }
    bar.finish_and_clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elsewhere_than_on_a_terminal() {
        // Tests have none, and if they do, this is over before anything is shown.
        let sight = Sight {
            what: String::new(),
            total: None,
            look: Box::new(|| panic!("nobody can see it")),
        };
        assert_eq!(show(sight, || 7), 7);
    }
}
