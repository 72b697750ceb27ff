// SPDX-License-Identifier: GPL-2.0

//! `geist restart --hook`: somebody is told of a restart before the process runs.

use crate::output::plain;
use anyhow::{bail, Context as _, Result};
use rustix::process::{kill_process, waitpid, Pid, Signal, WaitOptions};
use std::process::Command;

/// Runs `command` while the restarted process, a child of ours, is stopped. Where it fails, the
/// process is killed, and the error says so.
pub fn run(command: &str, app: u32, version: u64, pid: Pid) -> Result<()> {
    let told = tell(command, app, version, pid);
    if told.is_err() {
        // It may have been killed by the hook.
        let _ = kill_process(pid, Signal::KILL);
        let _ = waitpid(Some(pid), WaitOptions::empty());
    }
    told.with_context(|| {
        format!(
            "process {} was killed again before its first instruction",
            pid.as_raw_pid()
        )
    })
}

fn tell(command: &str, app: u32, version: u64, pid: Pid) -> Result<()> {
    let status = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .env("GEIST_APP", app.to_string())
        .env("GEIST_VERSION", version.to_string())
        .env("GEIST_PID", pid.as_raw_pid().to_string())
        .status()
        .context("the hook cannot be run by /bin/sh")?;
    if !status.success() {
        bail!("the hook `{}` failed: {status}", plain(command));
    }
    Ok(())
}
