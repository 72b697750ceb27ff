// SPDX-License-Identifier: GPL-2.0

//! Waiting for a process on the user's terminal, and passing signals on to it.

use crate::sys::signal;
use anyhow::{bail, Context as _, Result};
use rustix::process::{
    getpgid, getpgrp, kill_process, kill_process_group, waitpid, Pid, Signal, WaitOptions,
    WaitStatus,
};
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use std::process::ExitCode;

/// Signals that are passed on to the process.
const PASSED_ON: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGCONT,
];

/// `si_code` of a signal from the kernel, as the terminal driver sends them.
const SI_KERNEL: i32 = 0x80;

/// The set with only this signal.
const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// The terminal on the standard input, whose foreground this program is in.
pub struct Terminal {
    own: Pid,
}

impl Terminal {
    /// The terminal, when it is `wanted` and there is one.
    pub fn find(wanted: bool) -> Option<Self> {
        let own = getpgrp();
        let front = tcgetpgrp(rustix::stdio::stdin()).ok()?;
        (wanted && front == own).then_some(Self { own })
    }

    /// Puts the process into the foreground, if it has a process group of its own here.
    pub fn give(&self, pid: Pid) {
        if getpgid(Some(pid)).is_ok_and(|group| group != self.own) {
            self.set(pid);
        }
    }

    /// Puts this program into the foreground again.
    pub fn take_back(&self) {
        self.set(self.own);
    }

    fn set(&self, group: Pid) {
        // From the background, the terminal answers with SIGTTOU, which would stop this program.
        // A terminal that has gone or a process in another session needs nothing.
        let _ = signal::block(bit(libc::SIGTTOU));
        let _ = tcsetpgrp(rustix::stdio::stdin(), group);
        let _ = signal::unblock(bit(libc::SIGTTOU));
    }
}

/// The signals that a wait is for.
fn waited_for() -> u64 {
    let passed_on = PASSED_ON.iter().fold(0, |set, signal| set | bit(*signal));
    passed_on | bit(libc::SIGCHLD)
}

/// Keeps the signals that are to be passed on until there is somebody to pass them on to; returns
/// those that were blocked before.
pub fn block_signals() -> Result<u64> {
    signal::block(waited_for()).context("signals cannot be blocked")
}

/// Waits for the end of the process.
pub fn wait(pid: Pid, terminal: Option<Terminal>) -> Result<ExitCode> {
    block_signals()?;
    loop {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
        match waitpid(Some(pid), options).context("the process cannot be waited for")? {
            Some((_, status)) if status.stopped() => {
                if let Some(terminal) = &terminal {
                    stop_too(pid, terminal)?;
                }
            }
            Some((_, status)) => {
                if let Some(terminal) = &terminal {
                    terminal.take_back();
                }
                return code(status);
            }
            None => {}
        }
        let (number, si_code) =
            signal::wait(waited_for()).context("signals cannot be waited for")?;
        // What the terminal sends, the whole group gets, the process too when it is in it.
        let has_it = si_code == SI_KERNEL && getpgid(Some(pid)).is_ok_and(|g| g == getpgrp());
        if let Some(signal) = Signal::from_named_raw(number) {
            if PASSED_ON.contains(&number) && !has_it {
                // It may have ended meanwhile; the next round tells.
                let _ = kill_process(pid, signal);
            }
        }
    }
}

/// Stops this program with the process, and continues it when this one is continued.
fn stop_too(pid: Pid, terminal: &Terminal) -> Result<()> {
    terminal.take_back();
    kill_process(rustix::process::getpid(), Signal::STOP)?;
    if tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|front| front == terminal.own) {
        terminal.give(pid);
    }
    let group = getpgid(Some(pid))?;
    if group == terminal.own {
        kill_process(pid, Signal::CONT)?;
    } else {
        kill_process_group(group, Signal::CONT)?;
    }
    Ok(())
}

/// The exit code that stands for a process's end, as shells give it.
fn code(status: WaitStatus) -> Result<ExitCode> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ok(ExitCode::from(code as u8)),
        (_, Some(signal)) => Ok(ExitCode::from(128u8.wrapping_add(signal as u8))),
        _ => bail!("the process ended in an unknown way"),
    }
}

/// How a process ended, the second half of a sentence.
pub fn ended(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (_, Some(signal)) => format!("was ended by {}", crate::signals::name(signal as u32)),
        _ => "ended in an unknown way".to_owned(),
    }
}
