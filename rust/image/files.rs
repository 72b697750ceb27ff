// SPDX-License-Identifier: GPL-2.0

//! Records of open files, descriptors, locks and directories.
//!
//! A [`FileObject`] is an open file description or a file that only mappings use; descriptors and
//! mappings name it by number. Objects stand before what names them.

use super::record::record;
use super::task::PATH_MAX;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a file object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ObjectKind {
    /// A regular file, opened again by its path.
    Regular = 1,
    /// A directory.
    Directory = 2,
    /// A character device without state: null, zero, full, random, urandom.
    Device = 3,
    /// A terminal: the one of the restarting user, or the same path.
    Terminal = 4,
    /// A `memfd_create(2)` file.
    Memfd = 5,
    /// Shared anonymous memory (`mmap(2)` with `MAP_SHARED | MAP_ANONYMOUS`).
    SharedAnonymous = 6,
    /// An end of a pipe that the process has to itself, empty; `size` is its capacity. Those with
    /// the same inode number are ends of one pipe.
    Pipe = 7,
}

impl ObjectKind {
    /// The one with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        [
            Self::Regular,
            Self::Directory,
            Self::Device,
            Self::Terminal,
            Self::Memfd,
            Self::SharedAnonymous,
            Self::Pipe,
        ]
        .into_iter()
        .find(|one| *one as u32 == number)
    }
}

/// No descriptor has the object, only mappings (or the exe link).
pub const OBJECT_MAPPED_ONLY: u32 = 1 << 0;
/// Size and modification time must be unchanged at restart.
pub const OBJECT_UNCHANGED: u32 = 1 << 1;

/// A file object. The tail is its path (for a memfd its name), without a final zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FileObject {
    /// Number, from 1, unique in the process.
    pub object: u32,
    /// An [`ObjectKind`].
    pub kind: u32,
    /// `OBJECT_*`.
    pub flags: u32,
    /// `O_*` flags as `F_GETFL` gives them.
    pub open_flags: u32,
    /// Offset in bytes.
    pub position: u64,
    /// Bytes at the freeze.
    pub size: u64,
    /// Modification time at the freeze, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Inode number.
    pub inode: u64,
    /// Device of the file system (`st_dev` as user space sees it).
    pub dev: u32,
    /// Device number of a device node (`st_rdev` as user space sees it).
    pub rdev: u32,
    /// `st_mode`.
    pub mode: u32,
    /// Memfd: `F_GET_SEALS`.
    pub seals: u32,
}
record!(FileObject, 64, "a file object", PATH_MAX);

/// `FD_CLOEXEC` is set.
pub const DESCRIPTOR_CLOEXEC: u32 = 1 << 0;

/// A descriptor.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Descriptor {
    /// Its number.
    pub fd: u32,
    /// The [`FileObject`].
    pub object: u32,
    /// `DESCRIPTOR_*`.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}
record!(Descriptor, 65, "a descriptor", 0);

/// Kinds of file lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LockKind {
    /// `fcntl(F_SETLK)`: belongs to the process.
    Posix = 1,
    /// `fcntl(F_OFD_SETLK)`: belongs to the open file description.
    Ofd = 2,
    /// `flock(2)`.
    Flock = 3,
}

impl LockKind {
    /// The one with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Posix, Self::Ofd, Self::Flock]
            .into_iter()
            .find(|one| *one as u32 == number)
    }
}

/// A lock that the process holds.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FileLock {
    /// The [`FileObject`].
    pub object: u32,
    /// A [`LockKind`].
    pub kind: u32,
    /// 1 when it is a write (exclusive) lock.
    pub exclusive: u32,
    /// Zero.
    pub reserved: u32,
    /// First byte.
    pub start: u64,
    /// Last byte; `i64::MAX`: to the end of the file.
    pub end: u64,
}
record!(FileLock, 66, "a file lock", 0);

/// A descriptor that was left out at the user's wish. The tail says what it was.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LeftOut {
    /// Its number.
    pub fd: u32,
    /// Zero.
    pub reserved: u32,
}
record!(LeftOut, 67, "a descriptor left out", 255);

/// The working directory. The tail is its path.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WorkingDirectory {
    /// `umask(2)`.
    pub umask: u32,
    /// Zero.
    pub reserved: u32,
}
record!(WorkingDirectory, 68, "the working directory", PATH_MAX);

/// The root directory. The tail is its path.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RootDirectory {
    /// Zero.
    pub reserved: u64,
}
record!(RootDirectory, 69, "the root directory", PATH_MAX);

/// Content of a memfd that no mapping shows; where a mapping shows it, `task_mm` holds it.
/// The tail is the bytes; what no record and no mapping has is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MemfdContent {
    /// The [`FileObject`].
    pub object: u32,
    /// Zero.
    pub reserved: u32,
    /// Offset of the first byte.
    pub offset: u64,
}
record!(MemfdContent, 70, "content of a memfd", 65536);
