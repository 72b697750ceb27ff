// SPDX-License-Identifier: GPL-2.0

//! What an open file is, as a file object of the image.

use super::text::Text;
use super::unsupported::refuse_pathless;
use crate::error::{fail, Context, Outcome};
use crate::image::files::{FileObject, ObjectKind, OBJECT_UNCHANGED};
use crate::sys::fd::{FileRef, Pipe, Place, Root, Stat};
use crate::sys::lock;
use kernel::{bindings, prelude::*};

/// Types in `st_mode`.
mod mode {
    pub(super) const TYPE: u32 = 0o170000;
    pub(super) const FIFO: u32 = 0o010000;
    pub(super) const CHARACTER: u32 = 0o020000;
    pub(super) const DIRECTORY: u32 = 0o040000;
    pub(super) const BLOCK: u32 = 0o060000;
    pub(super) const REGULAR: u32 = 0o100000;
    pub(super) const LINK: u32 = 0o120000;
}

/// `PROC_SUPER_MAGIC`.
const PROC: u64 = 0x9fa0;

/// `s_magic` of file systems whose files change size and time on their own, from
/// `<linux/magic.h>`: sysfs, cgroup2, cgroup, debugfs, tracefs, securityfs, bpf, efivarfs.
const VOLATILE: &[u64] = &[
    0x62656572, 0x63677270, 0x27e0eb, 0x64626720, 0x74726163, 0x73636673, 0xcafe4a11, 0xde5e81e4,
];

/// `O_TMPFILE` without `O_DIRECTORY`.
const O_TMPFILE: u32 = 0o20000000;

/// Major numbers of terminals: consoles and serial lines, pseudo terminals, hypervisor consoles.
fn is_terminal(device: (u32, u32)) -> bool {
    matches!(device, (4 | 136..=143 | 204 | 229, _) | (5, 0 | 1))
}

/// null, zero, full, random, urandom.
fn is_stateless(device: (u32, u32)) -> bool {
    matches!(device, (1, 3 | 5 | 7 | 8 | 9))
}

/// A file object that has no number yet, and its tail.
pub(super) struct Object {
    pub(super) kind: ObjectKind,
    pub(super) record: FileObject,
    pub(super) tail: KVVec<u8>,
}

impl Object {
    fn new(file: &FileRef, kind: ObjectKind, stat: &Stat, tail: KVVec<u8>) -> Self {
        let record = FileObject {
            object: 0,
            kind: kind as u32,
            flags: 0,
            open_flags: file.flags(),
            position: file.position(),
            size: stat.size,
            mtime_ns: stat.mtime_ns,
            inode: stat.inode,
            dev: stat.dev,
            rdev: stat.rdev,
            mode: stat.mode,
            seals: file.seals(),
        };
        Self { kind, record, tail }
    }

    /// Of a file that a descriptor shows, which is `pipe` if it is one. Fails with `EOPNOTSUPP` and
    /// what it is, where geist cannot checkpoint it: `a TCP socket`. May sleep.
    pub(super) fn of_description(file: &FileRef, pipe: Option<Pipe>, root: &Root) -> Outcome<Self> {
        let object = match pipe {
            Some(pipe) => Self::of_pipe(file, &pipe)?,
            None => Self::of(file, root)?,
        };
        let shown = || file.shown_path();
        if file.sends_signals() {
            fail!(
                EOPNOTSUPP,
                "{} with signals on events (O_ASYNC, F_SETOWN, F_NOTIFY)",
                Text(&shown()?)
            );
        }
        if lock::has_lease(file) {
            fail!(EOPNOTSUPP, "{} with a lease", Text(&shown()?));
        }
        Ok(object)
    }

    fn of_pipe(file: &FileRef, pipe: &Pipe) -> Outcome<Self> {
        let mut object = Self::new(file, ObjectKind::Pipe, &file.stat()?, KVVec::new());
        object.record.size = pipe.capacity;
        Ok(object)
    }

    /// Of a file that is no pipe, whoever has it. As [`Self::of_description`].
    pub(super) fn of(file: &FileRef, root: &Root) -> Outcome<Self> {
        if file.is_internal_shmem() {
            return Self::of_shmem(file);
        }
        refuse_pathless(file)?;
        let tail = path_of(file, root)?;
        let path = Text(&tail);
        let stat = file.stat().within(format_args!("{path}"))?;
        let kind = match stat.mode & mode::TYPE {
            // It belongs to a process, or has a state of its own behind it.
            mode::REGULAR if file.file_system() == PROC => {
                fail!(EOPNOTSUPP, "the file {path} of proc")
            }
            mode::REGULAR => ObjectKind::Regular,
            mode::DIRECTORY => ObjectKind::Directory,
            mode::CHARACTER if is_stateless(stat.device) => ObjectKind::Device,
            mode::CHARACTER if is_terminal(stat.device) => ObjectKind::Terminal,
            other => {
                let (major, minor) = stat.device;
                match other {
                    mode::CHARACTER if stat.device == (5, 2) => {
                        fail!(EOPNOTSUPP, "the master of a pseudo terminal ({path})")
                    }
                    mode::CHARACTER => fail!(EOPNOTSUPP, "the device {path} ({major}:{minor})"),
                    mode::BLOCK => fail!(EOPNOTSUPP, "the block device {path} ({major}:{minor})"),
                    mode::FIFO => fail!(EOPNOTSUPP, "the named pipe {path}"),
                    mode::LINK => fail!(EOPNOTSUPP, "the symbolic link {path}"),
                    _ => fail!(EOPNOTSUPP, "the special file {path}"),
                }
            }
        };
        let mut object = Self::new(file, kind, &stat, tail);
        let for_reading = file.flags() & bindings::O_ACCMODE == bindings::O_RDONLY;
        if kind == ObjectKind::Regular
            && for_reading
            && !file.is_path_only()
            && !VOLATILE.contains(&file.file_system())
        {
            object.record.flags |= OBJECT_UNCHANGED;
        }
        Ok(object)
    }

    /// Of a file in the kernel's own tmpfs: a memfd or shared anonymous memory.
    fn of_shmem(file: &FileRef) -> Outcome<Self> {
        let name = file.shmem_name()?;
        let stat = file.stat()?;
        if let Some(name) = name.strip_prefix(b"memfd:") {
            let mut tail = KVVec::new();
            tail.extend_from_slice(name, GFP_KERNEL)?;
            return Ok(Self::new(file, ObjectKind::Memfd, &stat, tail));
        }
        if name.as_slice() == b"dev/zero" {
            return Ok(Self::new(
                file,
                ObjectKind::SharedAnonymous,
                &stat,
                KVVec::new(),
            ));
        }
        if name.starts_with(b"SYSV") {
            fail!(EOPNOTSUPP, "a System V shared memory segment");
        }
        fail!(EOPNOTSUPP, "memory of the kernel ({})", Text(&name))
    }
}

/// The file's path beneath `root`. Fails with `EOPNOTSUPP` where it has none.
fn path_of(file: &FileRef, root: &Root) -> Outcome<KVVec<u8>> {
    match file.path(root)? {
        Place::At(path) => Ok(path),
        Place::Deleted if file.flags() & O_TMPFILE != 0 => {
            fail!(EOPNOTSUPP, "a temporary file without a name (O_TMPFILE)")
        }
        Place::Deleted => {
            let shown = file.shown_path()?;
            let path = shown.strip_suffix(b" (deleted)").unwrap_or(&shown);
            fail!(EOPNOTSUPP, "the deleted file {}", Text(path))
        }
        Place::Unreachable => fail!(
            EOPNOTSUPP,
            "the file {}, which cannot be reached from its root directory",
            Text(&file.shown_path()?)
        ),
        Place::TooLong => fail!(EOPNOTSUPP, "a file whose path is too long"),
    }
}
