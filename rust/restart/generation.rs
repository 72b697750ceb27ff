// SPDX-License-Identifier: GPL-2.0

//! A number by which a program can tell that it was restarted: `/sys/kernel/geist/generation`.
//!
//! Two restarts of one version go on with the same memory, and with it with the same state of any
//! random number generator that lies there. Who compares this number before it draws knows when to
//! seed it anew.

use crate::sys::host;
use core::sync::atomic::{AtomicU64, Ordering};

/// Random, so that it is another one after a reboot, too.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// The number now. Changes with every restart on this machine, before the first instruction of what
/// is restarted, and when the module is loaded.
pub(crate) fn current() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Makes it another one.
pub(crate) fn renew() {
    GENERATION.store(host::random(), Ordering::Relaxed);
}
