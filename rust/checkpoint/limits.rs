// SPDX-License-Identifier: GPL-2.0

//! Capture of resource limits.

use crate::app::FrozenProcess;
use crate::error::Outcome;
use crate::ghost::{Export, RecordWriter};
use crate::image::task::Rlimits;
use crate::sys::process as sys;

/// The resource limits of the process.
pub(super) struct LimitState;

impl Export<FrozenProcess> for LimitState {
    fn export(process: &FrozenProcess, out: &mut RecordWriter<'_>) -> Outcome {
        out.record(&Rlimits {
            limits: sys::limits(&process.leader),
        })
    }
}
