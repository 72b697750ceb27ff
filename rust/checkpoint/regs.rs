// SPDX-License-Identifier: GPL-2.0

//! Capture of registers.

use crate::error::Outcome;
use crate::ghost::{Export, RecordWriter};
use crate::image::thread::{Registers, Xstate};
use crate::sys::regset::Regset;
use kernel::task::Task;

/// All registers of a thread.
pub(super) struct RegisterState<'a>(pub(super) &'a Task);

impl Export for RegisterState<'_> {
    fn export(&self, out: &mut RecordWriter<'_>) -> Outcome {
        let general = Regset::general(self.0)?;
        let record = Registers {
            length: general.as_bytes().len() as u64,
        };
        out.record_with_tail(&record, general.as_bytes())?;
        let xstate = Regset::xstate(self.0)?;
        let record = Xstate {
            length: xstate.as_bytes().len() as u64,
        };
        out.record_with_tail(&record, xstate.as_bytes())
    }
}
