// SPDX-License-Identifier: GPL-2.0

//! `geist run`

use crate::cli::{exit, Common, RunArgs};
use crate::foreground;
use crate::output;
use crate::proc::Running;
use crate::sys::ioctl::Refusal;
use crate::sys::signal;
use crate::watch;
use anyhow::{Context as _, Result};
use rustix::process::{kill_process, Pid, Signal};
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// The pause behind the first try of a command that cannot be watched at once; each is twice as
/// long as the one before.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// As many pauses, 2.5 s together, before it is given up. Counted and not timed: a machine on which
/// one try takes seconds tries as often.
const PAUSES: u32 = 7;

/// Runs a command that is watched from its beginning; ends with its status.
pub fn run(common: &Common, args: &RunArgs) -> Result<ExitCode> {
    let (program, arguments) = args.command.split_first().context("there is no command")?;
    let name = Path::new(program).display();
    // From here on signals wait, to be passed on.
    let blocked = foreground::block_signals()?;
    let child = match signal::spawn(Command::new(program).args(arguments), blocked) {
        Ok(child) => child,
        Err(error) => {
            eprintln!("geist: {} cannot be run: {error}", name);
            return Ok(match error.kind() {
                ErrorKind::NotFound => exit::NO_COMMAND.into(),
                _ => exit::CANNOT_RUN.into(),
            });
        }
    };
    let pid = child.id();
    let process = Pid::from_child(&child);
    // The command runs on meanwhile, and signals reach it.
    thread::scope(|scope| {
        let (over, ended) = mpsc::channel();
        let protection = scope.spawn(move || protect(common, args, pid, &ended));
        let status = foreground::wait(process, None);
        drop(over);
        match protection.join() {
            Ok(Err(error)) => Err(error),
            _ => status,
        }
    })
}

/// Begins the watch, and says what came of it. What hinders that at first may pass, as a helper
/// that a shell runs. An error where the command was ended because it cannot be watched.
fn protect(common: &Common, args: &RunArgs, pid: u32, ended: &Receiver<()>) -> Result<()> {
    let name = Path::new(&args.command[0]).display();
    let mut pauses = (0..PAUSES).map(|n| SHORTEST_PAUSE * (1 << n));
    loop {
        let error = match watch::begin(common, pid, &args.options) {
            Ok(watched) => {
                output::note(&format!(
                    "`{name}` is application {pid}, checkpointed {}; `geist restart {pid}` lets it go on if it is killed",
                    watched.interval()
                ));
                return Ok(());
            }
            Err(error) => error,
        };
        // What has ended already needs no protection.
        if Running::find(pid)?.is_none_or(|running| running.has_ended()) {
            return Ok(());
        }
        let Some(pause) = pauses.next().filter(|_| may_pass(&error)) else {
            return give_up(args, pid, error);
        };
        if ended.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return Ok(());
        }
    }
}

/// Whether the module refused what the process has or does just now.
fn may_pass(error: &anyhow::Error) -> bool {
    let passing = [libc::EOPNOTSUPP, libc::EAGAIN, libc::ETIMEDOUT, libc::EINTR];
    error
        .downcast_ref::<Refusal>()
        .is_some_and(|refusal| passing.contains(&refusal.errno))
}

/// The command runs unprotected, or is ended where that must not be.
fn give_up(args: &RunArgs, pid: u32, error: anyhow::Error) -> Result<()> {
    let name = Path::new(&args.command[0]).display();
    if !args.required {
        output::note(&format!(
            "`{name}` runs unprotected as pid {pid}: {error:#}"
        ));
        return Ok(());
    }
    if let Some(process) = Pid::from_raw(pid as i32) {
        // It may have ended meanwhile; the wait tells.
        let _ = kill_process(process, Signal::KILL);
    }
    Err(error.context(format!("`{name}` was ended")))
}
