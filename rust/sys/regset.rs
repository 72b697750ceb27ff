// SPDX-License-Identifier: GPL-2.0

//! Registers of another task, as `ptrace(2)` and core dumps read them.
//!
//! The task must not run: parked, asleep or stopped, and switched out.

use super::helpers;
use kernel::{bindings, ffi, prelude::*, task::Task};

/// `NT_X86_XSTATE`, from `<linux/elf.h>`.
const NT_X86_XSTATE: u32 = 0x202;

/// `__USER_CS`: the code segment of 64-bit programs.
const USER_CS: u64 = 0x33;

/// A register set.
pub(crate) struct Regset {
    data: *mut ffi::c_void,
    length: usize,
}

impl Regset {
    fn get(task: &Task, note: u32) -> Result<Self> {
        let mut data = core::ptr::null_mut();
        // SAFETY: the task is valid and does not run; the helper stores a buffer or null.
        let length = unsafe { helpers::geist_regset_get(task.as_ptr(), note, &mut data) };
        let set = Self {
            data,
            length: usize::try_from(length).unwrap_or(0),
        };
        if length < 0 {
            return Err(Error::from_errno(length));
        }
        Ok(set)
    }

    /// `struct user_regs_struct`: the general registers, fs and gs base.
    pub(crate) fn general(task: &Task) -> Result<Self> {
        Self::get(task, bindings::NT_PRSTATUS)
    }

    /// The whole xstate in the standard format of `XSAVE`. `ENODEV` on CPUs without it.
    pub(crate) fn xstate(task: &Task) -> Result<Self> {
        Self::get(task, NT_X86_XSTATE)
    }

    /// The registers.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: `regset_get_alloc` filled so many bytes of the buffer.
        unsafe { core::slice::from_raw_parts(self.data.cast(), self.length) }
    }
}

impl Drop for Regset {
    fn drop(&mut self) {
        // SAFETY: `regset_get_alloc` made the buffer, or it is null.
        unsafe { bindings::kvfree(self.data) }
    }
}

/// What a task brought into the kernel: a system call, or what interrupted it.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// Number of the system call, negative when it was none.
    pub(crate) number: i64,
    /// Its arguments.
    pub(crate) args: [u64; 6],
    /// `ax`: its result, or -`ENOSYS` as long as it is inside.
    pub(crate) result: i64,
    /// Code segment.
    pub(crate) code_segment: u64,
}

impl Entry {
    /// Of a task that does not run, and whose stack stays (see [`super::park`]).
    pub(crate) fn of(task: &Task) -> Self {
        // SAFETY: the task is valid and its stack stays, as the caller says.
        let regs = unsafe { helpers::geist_task_pt_regs(task.as_ptr()).read_volatile() };
        // SAFETY: all variants of the union are integers of the same size.
        let code_segment = unsafe { regs.__bindgen_anon_1.cs };
        Self {
            number: regs.orig_ax as i64,
            args: [
                regs.di as u64,
                regs.si as u64,
                regs.dx as u64,
                regs.r10 as u64,
                regs.r8 as u64,
                regs.r9 as u64,
            ],
            result: regs.ax as i64,
            code_segment: u64::from(code_segment),
        }
    }

    /// The task runs 64-bit code.
    pub(crate) fn is_64bit(&self) -> bool {
        self.code_segment == USER_CS
    }
}
