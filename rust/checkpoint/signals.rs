// SPDX-License-Identifier: GPL-2.0

//! Capture of signal handlers, pending signals and interval timers.

use crate::error::Outcome;
use crate::ghost::{Export, RecordWriter};
use crate::image::task::{IntervalTimers, PendingSignal, SignalAction, SignalHandlers};
use crate::sys::signal::{self, Siginfo};
use core::mem::size_of;
use kernel::{prelude::*, task::Task};
use zerocopy::{FromBytes, IntoBytes};

/// The signal handlers of the process.
pub(super) struct HandlerState<'a>(pub(super) &'a Task);

impl Export for HandlerState<'_> {
    fn export(&self, out: &mut RecordWriter<'_>) -> Outcome {
        // Not on the kernel's stack, which has no room for copies of it.
        let mut bytes = KVec::from_elem(0u64, size_of::<SignalHandlers>() / 8, GFP_KERNEL)?;
        let bytes = bytes.as_mut_bytes();
        let handlers = SignalHandlers::mut_from_bytes(bytes).map_err(|_| EINVAL)?;
        signal::actions(self.0, |number, [handler, flags, restorer, mask]| {
            if let Some(action) = handlers.actions.get_mut(number) {
                *action = SignalAction {
                    handler,
                    flags,
                    restorer,
                    mask,
                };
            }
        })?;
        out.record(handlers)
    }
}

/// The pending signals of one thread.
pub(super) struct PendingState<'a>(pub(super) &'a Task);

impl Export for PendingState<'_> {
    fn export(&self, out: &mut RecordWriter<'_>) -> Outcome {
        export_pending(&signal::pending_of_thread(self.0)?, out)
    }
}

/// The pending signals of the process, and the interval timers, which send them. The timers run on.
pub(super) struct PendingAndTimers<'a>(pub(super) &'a Task);

impl Export for PendingAndTimers<'_> {
    fn export(&self, out: &mut RecordWriter<'_>) -> Outcome {
        let (pending, timers) = signal::pending_and_timers(self.0)?;
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
