// SPDX-License-Identifier: GPL-2.0

//! Capture of signal handlers, pending signals and interval timers.

use crate::app::{FrozenProcess, FrozenThread};
use crate::error::Outcome;
use crate::ghost::{Export, RecordWriter};
use crate::image::task::{IntervalTimers, PendingSignal, SignalAction, SignalHandlers};
use crate::sys::signal::{self, Siginfo};
use core::mem::size_of;
use kernel::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

/// The signal handlers of the process.
pub(super) struct HandlerState;

impl Export<FrozenProcess> for HandlerState {
    fn export(process: &FrozenProcess, out: &mut RecordWriter<'_>) -> Outcome {
        // Not on the kernel's stack, which has no room for copies of it.
        let mut bytes = KVec::from_elem(0u64, size_of::<SignalHandlers>() / 8, GFP_KERNEL)?;
        let bytes = bytes.as_mut_bytes();
        let handlers = SignalHandlers::mut_from_bytes(bytes).map_err(|_| EINVAL)?;
        signal::actions(
            &process.leader,
            |number, [handler, flags, restorer, mask]| {
                if let Some(action) = handlers.actions.get_mut(number) {
                    *action = SignalAction {
                        handler,
                        flags,
                        restorer,
                        mask,
                    };
                }
            },
        )?;
        out.record(handlers)
    }
}

/// The pending signals of one thread.
pub(super) struct PendingState;

impl Export<FrozenThread> for PendingState {
    fn export(thread: &FrozenThread, out: &mut RecordWriter<'_>) -> Outcome {
        export_pending(&signal::pending_of_thread(&thread.task)?, out)
    }
}

/// The pending signals of the process, and the interval timers, which send them. The timers run on.
pub(super) struct PendingAndTimers;

impl Export<FrozenProcess> for PendingAndTimers {
    fn export(process: &FrozenProcess, out: &mut RecordWriter<'_>) -> Outcome {
        let (pending, timers) = signal::pending_and_timers(&process.leader)?;
        export_pending(&pending, out)?;
        out.record(&IntervalTimers { timers })
    }
}

fn export_pending(pending: &[Siginfo], out: &mut RecordWriter<'_>) -> Outcome {
    for siginfo in pending {
        out.record(&PendingSignal { siginfo: *siginfo })?;
    }
    Ok(())
}
