// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note

//! The ioctl interface of `/dev/geist`, as `include/uapi/linux/geist.h` has it for C.
//!
//! Compiled by the module and by the client; a test of the client compares it with the header.
//! What the fields mean is described there.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of this interface.
pub const ABI_VERSION: u32 = 1;

/// Longest description of a version, in bytes, without a final zero.
pub const DESCRIPTION_MAX: usize = 4095;

/// `geist_checkpoint.flags`: the signal is sent once the version is committed.
pub const CHECKPOINT_KILL: u32 = 1 << 0;
/// `geist_checkpoint.flags`: the application is stopped.
pub const CHECKPOINT_STOP: u32 = 1 << 1;
/// `geist_checkpoint.flags`: descriptors that cannot be checkpointed are left out and listed.
pub const CHECKPOINT_IGNORE_UNSUPPORTED_FILES: u32 = 1 << 2;
/// `geist_checkpoint.flags`: a complete version, although there is one to build on.
pub const CHECKPOINT_FULL: u32 = 1 << 3;
/// Every flag of a checkpoint.
pub const CHECKPOINT_FLAGS: u32 =
    CHECKPOINT_KILL | CHECKPOINT_STOP | CHECKPOINT_IGNORE_UNSUPPORTED_FILES | CHECKPOINT_FULL;

/// `geist_restart_prepare.flags`: the process is stopped before its first instruction.
pub const RESTART_STOPPED: u32 = 1 << 0;
/// Every flag of a restart.
pub const RESTART_FLAGS: u32 = RESTART_STOPPED;

/// Durability of a version: in the page cache.
pub const DURABILITY_NONE: u32 = 0;
/// Durability of a version: every file and the directory flushed.
pub const DURABILITY_DATA: u32 = 1;

/// The module's default, a knob, instead of a value.
pub const DEFAULT: u32 = !0;
/// `geist_watch_file.flags`: there is a committed version of this number.
pub const WATCH_FILE_COMMITTED: u32 = 1 << 0;
/// `geist_watch.flags`: the application is watched; change how.
pub const WATCH_CHANGE: u32 = 1 << 16;
/// Every flag of a watch.
pub const WATCH_FLAGS: u32 = WATCH_CHANGE | CHECKPOINT_FULL | CHECKPOINT_IGNORE_UNSUPPORTED_FILES;
/// Shortest interval, microseconds.
pub const INTERVAL_MIN_US: u64 = 1_000;
/// Longest interval, microseconds.
pub const INTERVAL_MAX_US: u64 = 86_400_000_000;
/// Most entries of `geist_watch.files`.
pub const WATCH_FILES_MAX: u32 = 1 << 20;

/// `struct geist_info`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Info {
    /// in: size of this structure in bytes
    pub size: u32,
    /// out: [`ABI_VERSION`] of the module
    pub abi_version: u32,
    /// out: version of the image format that it writes
    pub format_version: u32,
    /// out: applications that are tracked
    pub applications: u32,
}

/// `struct geist_checkpoint`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Checkpoint {
    /// in: size of this structure in bytes
    pub size: u32,
    /// in: `CHECKPOINT_*`
    pub flags: u32,
    /// in: process, in the caller's pid namespace
    pub pid: i32,
    /// in: directory of the application in the store
    pub dir_fd: i32,
    /// in: application ID, greater than 0
    pub app: u32,
    /// in: with [`CHECKPOINT_KILL`]: the signal, 1 to 64
    pub signal: u32,
    /// in: version to make, from 1; its files must not exist; 0: the next one of a watched
    /// application. out: the version that was made
    pub version: u64,
    /// in: `DURABILITY_*`
    pub durability: u32,
    /// in: how long threads may take to be stilled, milliseconds; 0: 30000
    pub timeout_ms: u32,
    /// in: address of the description (ASCII), or 0
    pub description: u64,
    /// in: its length in bytes, at most [`DESCRIPTION_MAX`]
    pub description_len: u32,
    /// in: size of `message` in bytes
    pub message_len: u32,
    /// in: address of a buffer for the sentence of an error, or 0
    pub message: u64,
    /// out: pages in the version's `task_mm` file
    pub pages: u64,
    /// out: bytes of all files of the version
    pub bytes: u64,
    /// out: bytes of its control file
    pub control_bytes: u64,
    /// out: freeze to thaw, microseconds
    pub pause_us: u64,
    /// out: capture, microseconds (part of the pause)
    pub capture_us: u64,
    /// out: writing, microseconds
    pub write_us: u64,
    /// out: flushing and renaming, microseconds
    pub commit_us: u64,
    /// out: the whole call, microseconds
    pub total_us: u64,
    /// out: version that this one is an increment on, or 0
    pub parent: u64,
    /// out: descriptors left out
    pub left_out: u32,
    /// zero
    pub reserved: u32,
}

/// `struct geist_restart_file`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RestartFile {
    /// number of the file object in the image
    pub object: u32,
    /// descriptor at which the caller has opened it
    pub fd: i32,
}

/// `struct geist_restart_prepare`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RestartPrepare {
    /// in: size of this structure in bytes
    pub size: u32,
    /// in: directory of the application in the store
    pub dir_fd: i32,
    /// in: application ID
    pub app: u32,
    /// in: size of `message` in bytes
    pub message_len: u32,
    /// in: version to restart
    pub version: u64,
    /// in: address of a buffer for the sentence of an error, or 0
    pub message: u64,
    /// in: address of an array of [`RestartFile`]
    pub files: u64,
    /// in: its length
    pub file_count: u32,
    /// in: `RESTART_*`
    pub flags: u32,
}

/// `struct geist_restart_join`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RestartJoin {
    /// in: size of this structure in bytes
    pub size: u32,
    /// in: process of the image that the caller becomes
    pub pid: i32,
    /// in: size of `message` in bytes
    pub message_len: u32,
    /// zero
    pub reserved: u32,
    /// in: address of a buffer for the sentence of an error, or 0
    pub message: u64,
}

/// `struct geist_restart_finish`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RestartFinish {
    /// in: size of this structure in bytes
    pub size: u32,
    /// in: size of `message` in bytes
    pub message_len: u32,
    /// in: address of a buffer for the sentence of an error, or 0
    pub message: u64,
    /// out: pages filled from the image
    pub pages: u64,
    /// zero
    pub reserved: u64,
}

/// `struct geist_watch_file`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WatchFile {
    /// number in the names of the files
    pub version: u64,
    /// newest committed version that needs one of them to be restarted; 0: none does
    pub needed_by: u64,
    /// `WATCH_FILE_*`
    pub flags: u32,
    /// zero
    pub reserved: u32,
}

/// `struct geist_watch`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Watch {
    /// in: size of this structure in bytes
    pub size: u32,
    /// in: [`WATCH_CHANGE`] and some of `CHECKPOINT_*`
    pub flags: u32,
    /// in: process, in the caller's pid namespace
    pub pid: i32,
    /// in: directory of the application in the store, kept open
    pub dir_fd: i32,
    /// in: application ID, greater than 0
    pub app: u32,
    /// in: `DURABILITY_*` or [`DEFAULT`]
    pub durability: u32,
    /// in: the first version to make
    pub version: u64,
    /// in: interval, microseconds; 0: the module's default
    pub interval_us: u64,
    /// in: versions that are kept; 0: all; or [`DEFAULT`]
    pub keep: u32,
    /// in: every how many versions one is complete; 0: none has to be; or [`DEFAULT`]
    pub full_every: u32,
    /// in: how long threads may take to be stilled, milliseconds; 0: 30000
    pub timeout_ms: u32,
    /// in: length of `files`
    pub file_count: u32,
    /// in: address of an array of [`WatchFile`]
    pub files: u64,
    /// in: address of the description of every version, or 0
    pub description: u64,
    /// in: its length in bytes, at most [`DESCRIPTION_MAX`]
    pub description_len: u32,
    /// in: size of `message` in bytes
    pub message_len: u32,
    /// in: address of a buffer for the sentence of an error, or 0
    pub message: u64,
}

/// `struct geist_unwatch`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Unwatch {
    /// in: size of this structure in bytes
    pub size: u32,
    /// in: process, in the caller's pid namespace
    pub pid: i32,
    /// in: address of a buffer for the sentence of an error, or 0
    pub message: u64,
    /// in: size of `message` in bytes
    pub message_len: u32,
    /// out: application ID
    pub app: u32,
    /// out: versions that the watch took
    pub versions: u64,
    /// out: ticks that passed without a version, because the one before was not done
    pub skipped: u64,
    /// out: versions that failed
    pub errors: u64,
    /// out: the newest version that it committed, or 0
    pub last_version: u64,
}

/// The structure of a call.
pub trait Call: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable {
    /// Address and size of the buffer for the sentence of an error; zero where there is none.
    fn message(&self) -> (u64, u32);
}

impl Call for Info {
    fn message(&self) -> (u64, u32) {
        (0, 0)
    }
}

impl Call for Checkpoint {
    fn message(&self) -> (u64, u32) {
        (self.message, self.message_len)
    }
}

impl Call for RestartPrepare {
    fn message(&self) -> (u64, u32) {
        (self.message, self.message_len)
    }
}

impl Call for RestartJoin {
    fn message(&self) -> (u64, u32) {
        (self.message, self.message_len)
    }
}

impl Call for RestartFinish {
    fn message(&self) -> (u64, u32) {
        (self.message, self.message_len)
    }
}

impl Call for Watch {
    fn message(&self) -> (u64, u32) {
        (self.message, self.message_len)
    }
}

impl Call for Unwatch {
    fn message(&self) -> (u64, u32) {
        (self.message, self.message_len)
    }
}

/// `GEIST_IOC_MAGIC`
pub const IOC_MAGIC: u32 = 0xB7;
/// `GEIST_IOC_INFO`
pub const IOC_INFO: u32 = io(0);
/// `GEIST_IOC_CHECKPOINT`
pub const IOC_CHECKPOINT: u32 = io(1);
/// `GEIST_IOC_RESTART_PREPARE`
pub const IOC_RESTART_PREPARE: u32 = io(2);
/// `GEIST_IOC_RESTART_JOIN`
pub const IOC_RESTART_JOIN: u32 = io(3);
/// `GEIST_IOC_RESTART_FINISH`
pub const IOC_RESTART_FINISH: u32 = io(4);
/// `GEIST_IOC_WATCH`
pub const IOC_WATCH: u32 = io(5);
/// `GEIST_IOC_UNWATCH`
pub const IOC_UNWATCH: u32 = io(6);

/// Smallest `size` of each structure that was ever published: no call with less is answered.
pub mod size_v1 {
    /// Of [`super::Info`].
    pub const INFO: usize = 16;
    /// Of [`super::Checkpoint`].
    pub const CHECKPOINT: usize = 144;
    /// Of [`super::RestartPrepare`].
    pub const RESTART_PREPARE: usize = 48;
    /// Of [`super::RestartJoin`].
    pub const RESTART_JOIN: usize = 24;
    /// Of [`super::RestartFinish`].
    pub const RESTART_FINISH: usize = 32;
    /// Of [`super::Watch`].
    pub const WATCH: usize = 88;
    /// Of [`super::Unwatch`].
    pub const UNWATCH: usize = 56;
}

/// `_IO(GEIST_IOC_MAGIC, call)`: a structure that grows keeps its number.
const fn io(call: u32) -> u32 {
    (IOC_MAGIC << 8) | call
}
