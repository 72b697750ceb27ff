// SPDX-License-Identifier: GPL-2.0

//! Capture of registers.

use crate::app::FrozenThread;
use crate::error::Outcome;
use crate::ghost::{Export, RecordWriter};
use crate::image::thread::{Registers, Xstate};
use crate::sys::regset::Regset;

/// All registers of a thread.
pub(super) struct RegisterState;

impl Export<FrozenThread> for RegisterState {
    fn export(thread: &FrozenThread, out: &mut RecordWriter<'_>) -> Outcome {
        let general = Regset::general(&thread.task)?;
        let record = Registers {
            length: general.as_bytes().len() as u64,
        };
        out.record_with_tail(&record, general.as_bytes())?;
        let xstate = Regset::xstate(&thread.task)?;
        let record = Xstate {
            length: xstate.as_bytes().len() as u64,
        };
        out.record_with_tail(&record, xstate.as_bytes())
    }
}
