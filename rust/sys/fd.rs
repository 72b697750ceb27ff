// SPDX-License-Identifier: GPL-2.0

//! Open files of another process: what they are, and where they lie.

use super::helpers;
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    prelude::*,
    task::Task,
};

/// Bytes of the longest path, its final zero included.
const PATH_MAX: usize = 4096;

/// Bytes that most paths need at most.
const SHORT_PATH: usize = 256;

/// `FMODE_PATH`, from `<linux/fs.h>`.
const FMODE_PATH: u32 = 1 << 14;

/// `SB_KERNMOUNT`, from `<linux/fs.h>`.
const SB_KERNMOUNT: usize = 1 << 22;

/// A reference to an open file.
pub(crate) struct FileRef {
    file: NonNull<bindings::file>,
}

// SAFETY: a `struct file` may be used and released by any task.
unsafe impl Send for FileRef {}
// SAFETY: everything here only reads it.
unsafe impl Sync for FileRef {}

/// What `stat(2)` says of a file.
#[derive(Clone, Copy)]
pub(crate) struct Stat {
    /// `st_mode`.
    pub(crate) mode: u32,
    /// `st_dev`.
    pub(crate) dev: u32,
    /// `st_rdev`.
    pub(crate) rdev: u32,
    /// Its major and minor number.
    pub(crate) device: (u32, u32),
    /// Inode number.
    pub(crate) inode: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// Modification time, nanoseconds since 1970.
    pub(crate) mtime_ns: i64,
}

/// What a socket is: `AF_*`, `SOCK_*`, protocol.
#[derive(Clone, Copy)]
pub(crate) struct Socket {
    /// `AF_*`.
    pub(crate) family: u32,
    /// `SOCK_*`.
    pub(crate) kind: u32,
    /// `IPPROTO_*` and the like.
    pub(crate) protocol: u32,
}

/// What a pipe is like.
pub(crate) struct Pipe {
    /// Open file descriptions that show it.
    pub(crate) open_files: usize,
    /// Bytes that it has room for.
    pub(crate) capacity: u64,
    /// Nothing is in it.
    pub(crate) is_empty: bool,
    /// The kernel writes notifications to it (`O_NOTIFICATION_PIPE`).
    pub(crate) notifies: bool,
}

impl FileRef {
    /// Takes a reference of its own.
    ///
    /// # Safety
    ///
    /// `file` is valid.
    pub(super) unsafe fn get(file: NonNull<bindings::file>) -> Self {
        // SAFETY: as the caller says.
        unsafe { bindings::get_file(file.as_ptr()) };
        Self { file }
    }

    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `file` is valid, and the caller gives up a reference to it.
    pub(super) unsafe fn from_raw(file: NonNull<bindings::file>) -> Self {
        Self { file }
    }

    /// The file, valid as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut bindings::file {
        self.file.as_ptr()
    }

    /// The first open descriptor of `task` from `fd` on.
    pub(crate) fn next(task: &Task, mut fd: u32) -> Option<(u32, Self)> {
        // SAFETY: the task is valid; the call takes a reference, which the value owns.
        let file = unsafe { bindings::fget_task_next(task.as_ptr(), &mut fd) };
        NonNull::new(file).map(|file| (fd, Self { file }))
    }

    /// Which open file description it is: the same number for the same one, as long as it is held.
    pub(crate) fn description(&self) -> usize {
        self.file.as_ptr() as usize
    }

    /// Device and inode number: what file it is, whoever opened it.
    pub(crate) fn identity(&self) -> (u64, u64) {
        let (mut device, mut inode) = (0, 0);
        // SAFETY: the file is open, and the helper fills both.
        unsafe { helpers::geist_file_identity(self.as_ptr(), &mut device, &mut inode) };
        (device as u64, inode as u64)
    }

    /// Which inode it shows: the same number for the same one, as long as it is held.
    pub(crate) fn inode(&self) -> usize {
        // SAFETY: the file is open.
        unsafe { (*self.as_ptr()).f_inode as usize }
    }

    /// `O_*` flags, as `F_GETFL` gives them.
    pub(crate) fn flags(&self) -> u32 {
        // SAFETY: the file is open; the flags are a word.
        unsafe { (&raw const (*self.as_ptr()).f_flags).read_volatile() }
    }

    /// It was opened with `O_PATH`.
    pub(crate) fn is_path_only(&self) -> bool {
        // SAFETY: the file is open; its mode does not change.
        unsafe { (*self.as_ptr()).f_mode & FMODE_PATH != 0 }
    }

    /// Offset in bytes.
    pub(crate) fn position(&self) -> u64 {
        // SAFETY: the file is open; the offset is a word.
        unsafe { (&raw const (*self.as_ptr()).f_pos).read_volatile() as u64 }
    }

    /// What `stat(2)` says. May sleep.
    pub(crate) fn stat(&self) -> Result<Stat> {
        let mut raw = helpers::geist_stat {
            mode: 0,
            dev: 0,
            rdev: 0,
            major: 0,
            minor: 0,
            inode: 0,
            size: 0,
            mtime_ns: 0,
        };
        // SAFETY: the file is open; the helper fills the structure.
        to_result(unsafe { helpers::geist_file_stat(self.as_ptr(), &mut raw) })?;
        Ok(Stat {
            mode: raw.mode,
            dev: raw.dev,
            rdev: raw.rdev,
            device: (raw.major, raw.minor),
            inode: raw.inode as u64,
            size: raw.size as u64,
            mtime_ns: raw.mtime_ns as i64,
        })
    }

    /// What the socket is, if it is one.
    pub(crate) fn socket(&self) -> Option<Socket> {
        let mut raw = helpers::geist_socket {
            family: 0,
            type_: 0,
            protocol: 0,
        };
        // SAFETY: the file is open; the helper fills the structure.
        unsafe { helpers::geist_file_socket(self.as_ptr(), &mut raw) }.then_some(Socket {
            family: raw.family,
            kind: raw.type_,
            protocol: raw.protocol,
        })
    }

    /// What the pipe is like, if it is one without a name. Waits for who uses it just now.
    pub(crate) fn pipe(&self) -> Option<Pipe> {
        let mut raw = helpers::geist_pipe {
            files: 0,
            slots: 0,
            empty: false,
            notifies: false,
        };
        // SAFETY: the file is open; the helper fills the structure.
        unsafe { helpers::geist_file_pipe(self.as_ptr(), &mut raw) }.then_some(Pipe {
            open_files: raw.files as usize,
            capacity: u64::from(raw.slots) * bindings::PAGE_SIZE as u64,
            is_empty: raw.empty,
            notifies: raw.notifies,
        })
    }

    /// How many references there are, this one among them.
    pub(crate) fn references(&self) -> usize {
        // SAFETY: the file is open.
        unsafe { helpers::geist_file_references(self.as_ptr()) }
    }

    /// `s_magic` of its file system.
    pub(crate) fn file_system(&self) -> u64 {
        // SAFETY: an open file has an inode on a file system.
        unsafe { helpers::geist_file_magic(self.as_ptr()) as u64 }
    }

    /// It lies on a file system that the kernel keeps for itself, where nothing has a path: pipes,
    /// sockets, anonymous inodes.
    pub(crate) fn is_on_internal_mount(&self) -> bool {
        // SAFETY: an open file has an inode on a file system; the flag does not change.
        unsafe { (*(*(*self.as_ptr()).f_inode).i_sb).s_flags & SB_KERNMOUNT != 0 }
    }

    /// It lies in the kernel's own tmpfs: a memfd, shared anonymous or System V memory.
    pub(crate) fn is_internal_shmem(&self) -> bool {
        // SAFETY: the file is open.
        unsafe { helpers::geist_file_is_internal_shmem(self.as_ptr()) }
    }

    /// `F_GET_SEALS` of a file for which [`Self::is_internal_shmem`] holds; else 0.
    pub(crate) fn seals(&self) -> u32 {
        if !self.is_internal_shmem() {
            return 0;
        }
        // SAFETY: the inode is one of shmem.
        unsafe { helpers::geist_shmem_seals(self.as_ptr()) }
    }

    /// The file is one of geist itself.
    pub(crate) fn is_ours(&self) -> bool {
        // SAFETY: the file is open.
        unsafe { helpers::geist_file_is_ours(self.as_ptr()) }
    }

    /// Somebody gets signals from it: `O_ASYNC`, `F_SETOWN`, a lease, `F_NOTIFY`.
    pub(crate) fn sends_signals(&self) -> bool {
        // SAFETY: the file is open.
        unsafe { helpers::geist_file_has_owner(self.as_ptr()) }
    }

    /// The name that a file of the kernel's own tmpfs was made with.
    pub(crate) fn shmem_name(&self) -> Result<KVVec<u8>> {
        let mut bytes = KVVec::new();
        if self.is_internal_shmem() {
            // SAFETY: the file keeps its directory entry. Nothing renames one on that mount.
            let name = unsafe { CStr::from_char_ptr(helpers::geist_file_name(self.as_ptr())) };
            bytes.extend_from_slice(name.to_bytes(), GFP_KERNEL)?;
        }
        Ok(bytes)
    }

    /// Brings what was written to it, mappings included, to the disk. May sleep.
    pub(crate) fn flush(&self) -> Result {
        // SAFETY: the file is open.
        match to_result(unsafe { bindings::vfs_fsync(self.as_ptr(), 0) }) {
            // A file system that has nothing to flush to.
            Err(error) if error == EINVAL => Ok(()),
            result => result,
        }
    }

    /// The whole path, as the caller would see it, for messages only.
    pub(crate) fn shown_path(&self) -> Result<KVVec<u8>> {
        // SAFETY: the file is open and keeps its path.
        unsafe { path_text(helpers::geist_file_user_path(self.as_ptr())) }
    }

    /// Its path beneath `root`.
    pub(crate) fn path(&self, root: &Root) -> Result<Place> {
        // SAFETY: the file is open and keeps its path.
        unsafe { place(helpers::geist_file_user_path(self.as_ptr()), root) }
    }
}

impl Clone for FileRef {
    fn clone(&self) -> Self {
        // SAFETY: the value owns a reference, so the file is valid.
        unsafe { Self::get(self.file) }
    }
}

impl Drop for FileRef {
    fn drop(&mut self) {
        // SAFETY: the value owns a reference.
        unsafe { bindings::fput(self.as_ptr()) }
    }
}

/// Whether descriptor `fd` of `task` is closed by `execve(2)`.
pub(crate) fn is_close_on_exec(task: &Task, fd: u32) -> bool {
    // SAFETY: the task is valid.
    unsafe { helpers::geist_fd_cloexec(task.as_ptr(), fd) }
}

/// A directory that a process is in, held.
pub(crate) struct Directory(bindings::path);

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: the value owns a reference to the path.
        unsafe { bindings::path_put(&self.0) }
    }
}

impl Directory {
    /// Its path beneath `root`.
    pub(crate) fn path(&self, root: &Root) -> Result<Place> {
        // SAFETY: both are held.
        unsafe { place(&self.0, root) }
    }

    /// Its path, as the caller sees it.
    pub(crate) fn shown_path(&self) -> Result<KVVec<u8>> {
        // SAFETY: the path is held.
        unsafe { path_text(&self.0) }
    }
}

/// A root directory that paths begin at.
pub(crate) struct Root {
    directory: Directory,
    /// What stands before the paths beneath it, as the caller sees them.
    prefix: KVVec<u8>,
}

impl Root {
    /// `directory` as a root. `ENAMETOOLONG`.
    fn new(directory: Directory) -> Result<Self> {
        let mut prefix = directory.shown_path()?;
        if prefix.as_slice() == b"/" {
            prefix.clear();
        }
        Ok(Self { directory, prefix })
    }

    /// The root directory of the calling task.
    pub(crate) fn own() -> Result<Self> {
        // SAFETY: the calling task is valid while it runs.
        Ok(unsafe { raw_directories(Task::current_raw()) }?.root)
    }

    /// The directory itself.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }
}

/// Where a process is.
pub(crate) struct Directories {
    /// Its root directory.
    pub(crate) root: Root,
    /// Its working directory.
    pub(crate) working: Directory,
    /// `umask(2)`.
    pub(crate) umask: u32,
}

/// The directories of `task`. `ESRCH`.
pub(crate) fn directories(task: &Task) -> Result<Directories> {
    // SAFETY: the task is valid.
    unsafe { raw_directories(task.as_ptr()) }
}

/// # Safety
///
/// `task` is valid.
unsafe fn raw_directories(task: *mut bindings::task_struct) -> Result<Directories> {
    let (mut root, mut working) = (bindings::path::default(), bindings::path::default());
    let mut umask = 0;
    // SAFETY: as the caller says; the helper takes a reference to both paths when it returns true.
    if !unsafe { helpers::geist_task_directories(task, &mut root, &mut working, &mut umask) } {
        return Err(ESRCH);
    }
    // Held from here on, whatever fails.
    let (root, working) = (Directory(root), Directory(working));
    Ok(Directories {
        root: Root::new(root)?,
        working,
        umask,
    })
}

/// Where a path leads.
pub(crate) enum Place {
    /// There, as the process writes it.
    At(KVVec<u8>),
    /// It was deleted.
    Deleted,
    /// Outside the root directory of the process, or in another mount namespace.
    Unreachable,
    /// It is longer than a path may be.
    TooLong,
}

/// # Safety
///
/// `path` is valid and held.
unsafe fn place(path: *const bindings::path, root: &Root) -> Result<Place> {
    // SAFETY: as the caller says.
    if unsafe { helpers::geist_path_is_deleted(path) } {
        return Ok(Place::Deleted);
    }
    // SAFETY: as above; the root is held.
    if !unsafe { bindings::path_is_under(path, &root.directory.0) } {
        return Ok(Place::Unreachable);
    }
    // SAFETY: as above.
    let text = match unsafe { path_text(path) } {
        Err(error) if error == ENAMETOOLONG => return Ok(Place::TooLong),
        text => text?,
    };
    if root.prefix.is_empty() {
        return Ok(Place::At(text));
    }
    let Some(rest) = text.strip_prefix(root.prefix.as_slice()) else {
        return Ok(Place::Unreachable);
    };
    let mut inner = KVVec::new();
    inner.extend_from_slice(if rest.is_empty() { b"/" } else { rest }, GFP_KERNEL)?;
    Ok(Place::At(inner))
}

/// The path as the calling task sees it (`d_path`). `ENAMETOOLONG`.
///
/// # Safety
///
/// `path` is valid and held.
unsafe fn path_text(path: *const bindings::path) -> Result<KVVec<u8>> {
    // Most paths are short. Room for the longest is allocated, and so cleared, only where it is needed.
    let mut short = [0; SHORT_PATH];
    // SAFETY: as the caller says.
    match unsafe { path_text_in(path, &mut short) } {
        Err(error) if error == ENAMETOOLONG => {
            let mut long = KVVec::from_elem(0, PATH_MAX, GFP_KERNEL)?;
            // SAFETY: as the caller says.
            unsafe { path_text_in(path, &mut long) }
        }
        text => text,
    }
}

/// As [`path_text`], with `buffer` to write the path to.
///
/// # Safety
///
/// `path` is valid and held.
unsafe fn path_text_in(path: *const bindings::path, buffer: &mut [u8]) -> Result<KVVec<u8>> {
    // SAFETY: as the caller says; the buffer has room for as many bytes as said.
    let text = from_err_ptr(unsafe {
        bindings::d_path(path, buffer.as_mut_ptr().cast(), buffer.len() as i32)
    })?;
    // SAFETY: `d_path` returns a string that ends within the buffer.
    let text = unsafe { CStr::from_char_ptr(text) }.to_bytes();
    let mut copy = KVVec::with_capacity(text.len(), GFP_KERNEL)?;
    copy.extend_from_slice(text, GFP_KERNEL)?;
    Ok(copy)
}
