// SPDX-License-Identifier: GPL-2.0

//! Registers of another task, set as `ptrace(2)` sets them.
//!
//! The kernel checks every value on this way: selectors, flags, segment bases, the header of the
//! vector state.

use super::helpers;
use kernel::{bindings, error::to_result, prelude::*, task::Task};

/// A set of registers, by the type of its ELF note.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum RegisterSet {
    /// `NT_PRSTATUS`: `struct user_regs_struct`.
    General = 1,
    /// `NT_X86_XSTATE`: an XSAVE area in standard format.
    Vector = 0x202,
}

impl RegisterSet {
    /// Bytes of the set on this machine; 0 when it has none such.
    pub(crate) fn bytes(self) -> usize {
        // SAFETY: always callable in process context.
        unsafe { helpers::geist_regset_bytes(self as u32) as usize }
    }

    /// Sets the registers of `task`, which must be a 64-bit task that sleeps in the kernel and
    /// cannot get back to user space meanwhile, nor end. `EIO`, `EINVAL`, `EFAULT` for values that
    /// the kernel does not let in. Called in a system call of another user task.
    pub(crate) fn set(self, task: &Task, bytes: &[u8]) -> Result {
        if core::ptr::eq(task.as_ptr(), Task::current_raw()) {
            return Err(EINVAL);
        }
        let length = u32::try_from(bytes.len()).map_err(|_| EINVAL)?;
        // SAFETY: the task is valid and another one, pointer and length are those of a slice.
        to_result(unsafe {
            helpers::geist_regset_set(task.as_ptr(), self as u32, bytes.as_ptr().cast(), length)
        })
    }
}

/// Whether the machine has all these features of the vector state (bits of XCR0).
pub(crate) fn has_vector_features(features: u64) -> bool {
    // SAFETY: always callable.
    unsafe { bindings::cpu_has_xfeatures(features, core::ptr::null_mut()) != 0 }
}
