// SPDX-License-Identifier: GPL-2.0

//! Refusal of what geist cannot checkpoint yet, by name. Files are refused in [`super::files`],
//! mappings in [`super::mm`].

use crate::app::FrozenProcess;
use crate::error::{fail, Outcome};
use crate::sys::features;
use kernel::prelude::*;

/// Fails with `EOPNOTSUPP` and a sentence when the process uses something that no record holds.
///
/// Left out knowingly: speculation controls (`PR_SET_SPECULATION_CTRL`, a matter of the machine),
/// keyrings and security labels (given anew to who restarts), the core scheduling cookie, the
/// control groups, the audit session.
pub(crate) fn refuse_unsupported(process: &FrozenProcess) -> Outcome {
    let pid = process.pid;
    if process.threads.len() != 1 {
        fail!(
            EOPNOTSUPP,
            "pid {pid} has {} threads, which geist cannot checkpoint yet",
            process.threads.len()
        );
    }
    for thread in process.threads.iter() {
        if let Some(clause) = features::of_thread(&thread.task) {
            fail!(
                EOPNOTSUPP,
                "pid {pid} {clause}, which geist cannot checkpoint yet"
            );
        }
    }
    let leader = &process.leader;
    if let Some(clause) = features::of_process(leader) {
        fail!(
            EOPNOTSUPP,
            "pid {pid} {clause}, which geist cannot checkpoint yet"
        );
    }
    if let Some(namespace) = features::foreign_namespace(leader) {
        fail!(
            EOPNOTSUPP,
            "pid {pid} has another {namespace} namespace than you, which geist cannot checkpoint yet"
        );
    }
    if let Some(what) = features::shared_state(leader) {
        fail!(
            EOPNOTSUPP,
            "pid {pid} shares {what} with another process, which geist cannot checkpoint yet"
        );
    }
    Ok(())
}
