// SPDX-License-Identifier: GPL-2.0

//! Capture of resource limits.

use crate::error::Outcome;
use crate::ghost::{Export, RecordWriter};
use crate::image::task::Rlimits;
use crate::sys::process;
use kernel::task::Task;

/// The resource limits of the process.
pub(super) struct LimitState<'a>(pub(super) &'a Task);

impl Export for LimitState<'_> {
    fn export(&self, out: &mut RecordWriter<'_>) -> Outcome {
        out.record(&Rlimits {
            limits: process::limits(self.0),
        })
    }
}
