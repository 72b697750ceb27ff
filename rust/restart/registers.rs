// SPDX-License-Identifier: GPL-2.0

//! Registers: which system call is begun anew, and setting them from outside.

use super::call;
use super::image::ProcessImage;
use crate::error::{Context, Outcome};
use crate::image::thread::ThreadState;
use crate::sys::regset_set::RegisterSet;
use kernel::{prelude::*, task::Task};
use zerocopy::{FromBytes, IntoBytes};

/// `struct user_regs_struct` in 64-bit words.
type Words = [u64; 27];

/// Places in [`Words`].
const AX: usize = 10;
const ORIG_AX: usize = 15;
const IP: usize = 16;
const CS: usize = 17;

/// Bytes of the instruction `syscall`.
const SYSCALL: u64 = 2;

/// `-ERESTART_RESTARTBLOCK`, upon which the kernel goes on with `restart_syscall(2)`.
const RESTART_BLOCK: u64 = -516i64 as u64;

fn words(registers: &[u8]) -> Option<Words> {
    Words::read_from_bytes(registers).ok()
}

/// The code segment; `None` when these are no registers.
pub(super) fn code_selector(registers: &[u8]) -> Option<u64> {
    Some(words(registers)?[CS])
}

/// Sets all registers of `task`, which sleeps on its way to user space, in a system call of another
/// user task.
pub(super) fn set(image: &ProcessImage, task: &Task) -> Outcome {
    let mut general = words(&image.registers).ok_or(EINVAL)?;
    if image.thread.state == ThreadState::Syscall as u32 {
        if image.call.as_ref().is_some_and(call::continues) {
            general[AX] = RESTART_BLOCK;
        } else {
            general[AX] = general[ORIG_AX];
            general[IP] = general[IP].wrapping_sub(SYSCALL);
            general[ORIG_AX] = u64::MAX;
        }
    }
    RegisterSet::Vector
        .set(task, &image.xstate)
        .within(format_args!("the kernel refuses its vector registers"))?;
    RegisterSet::General
        .set(task, general.as_bytes())
        .within(format_args!("the kernel refuses its general registers"))
}
