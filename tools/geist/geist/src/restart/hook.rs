// SPDX-License-Identifier: GPL-2.0

//! `geist restart --hook`: somebody is told of a restart before the process runs.

use crate::output::plain;
use anyhow::{bail, Context as _, Result};
use rustix::process::Pid;
use std::process::Command;

/// Runs `command` while the restarted process is stopped.
pub fn run(command: &str, app: u32, version: u64, pid: Pid) -> Result<()> {
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
