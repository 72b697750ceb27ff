// SPDX-License-Identifier: GPL-2.0

//! The only room with kernel bindings and `unsafe`.
//!
//! Safe wrappers over what the kernel crate does not offer, one file a kernel facility. The C
//! helpers that they need are in `c/`.

#![allow(unsafe_code)]

pub(crate) mod abi;
pub(crate) mod clock;
pub(crate) mod crc32c;
pub(crate) mod creds;
pub(crate) mod fd;
pub(crate) mod features;
pub(crate) mod file;
pub(crate) mod fingerprint;
pub(crate) mod global;
mod helpers;
pub(crate) mod host;
pub(crate) mod kthread;
pub(crate) mod latch;
pub(crate) mod lock;
pub(crate) mod mm;
pub(crate) mod mm_look;
pub(crate) mod page;
pub(crate) mod park;
pub(crate) mod process;
pub(crate) mod regset;
pub(crate) mod regset_set;
pub(crate) mod restart_fd;
pub(crate) mod restart_mm;
pub(crate) mod restart_task;
pub(crate) mod restart_work;
pub(crate) mod root;
pub(crate) mod selection;
pub(crate) mod signal;
pub(crate) mod sleeper;
pub(crate) mod sort;
pub(crate) mod symbols;
pub(crate) mod syscall;
pub(crate) mod sysfs;
pub(crate) mod task;
mod vma_flags;
pub(crate) mod watch;
pub(crate) mod workqueue;
