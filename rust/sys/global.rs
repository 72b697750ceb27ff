// SPDX-License-Identifier: GPL-2.0

//! Locks that are statics.

use core::sync::atomic::{AtomicBool, Ordering};
use kernel::sync::{GlobalLock, GlobalLockBackend};

/// Defines a mutex that is a static: `static NAME: TYPE = VALUE;`. It must be prepared with
/// [`init_lock`] when the module is loaded, before anything uses it.
macro_rules! global_mutex {
    (static $name:ident: $type:ty = $value:expr;) => {
        kernel::sync::global_lock! {
            // SAFETY: `init_lock` is called when the module is loaded.
            unsafe(uninit) static $name: Mutex<$type> = $value;
        }
    };
}
pub(crate) use global_mutex;

/// Prepares `lock` for use. `once` belongs to this lock alone, so that a second call does nothing.
/// When the module is loaded, before anything uses the lock.
pub(crate) fn init_lock<B: GlobalLockBackend>(
    lock: &'static GlobalLock<B>,
    once: &'static AtomicBool,
) {
    if !once.swap(true, Ordering::AcqRel) {
        // SAFETY: called once, as `once` tells.
        unsafe { lock.init() };
    }
}
