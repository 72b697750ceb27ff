// SPDX-License-Identifier: GPL-2.0

//! Signal handlers and pending signals.

use crate::image::Task;
use crate::signals::name;
use crate::sys::signal;
use anyhow::{Context as _, Result};
use geist_image::task::PendingSignal;

/// Signals whose action cannot be changed.
const FIXED: [u32; 2] = [libc::SIGKILL as u32, libc::SIGSTOP as u32];

/// Installs the handlers.
pub fn handlers(task: &Task) -> Result<()> {
    for (number, action) in (1..).zip(&task.handlers.actions) {
        if !FIXED.contains(&number) {
            signal::set_action(number as i32, action)
                .with_context(|| format!("the handler of {}", name(number)))?;
        }
    }
    Ok(())
}

/// Queues the pending signals of the process and of its only thread. They stay pending, since all
/// signals are blocked.
pub fn pending(task: &Task) -> Result<()> {
    for one in &task.pending {
        queue(one, false)?;
    }
    for one in &task.threads[0].pending {
        queue(one, true)?;
    }
    Ok(())
}

fn queue(pending: &PendingSignal, thread: bool) -> Result<()> {
    let number = pending.number();
    signal::queue(number as i32, &pending.siginfo, thread)
        .with_context(|| format!("{} cannot be made pending", name(number)))
}
