// SPDX-License-Identifier: GPL-2.0

//! Files beneath a directory that the caller handed in.
//!
//! Everything here runs with the credentials of the calling task and may sleep. Names are single
//! components ([`Name`] has no slash), and links are not followed.

use super::helpers;
use super::page::HeldPage;
use crate::image::{name::Name, PAGE_SIZE};
use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    fs::{File, LocalFile},
    prelude::*,
    sync::aref::ARef,
};

/// A directory: the caller's descriptor.
pub(crate) struct Directory {
    file: ARef<File>,
}

impl Directory {
    /// The directory that the calling process has open as `fd`. `EBADF`, `ENOTDIR`.
    pub(crate) fn from_fd(fd: i32) -> Result<Self> {
        let file = LocalFile::fget(u32::try_from(fd).map_err(|_| EBADF)?)?;
        // SAFETY: called from an ioctl, which holds no `fdget_pos` on any descriptor.
        let file = unsafe { LocalFile::assume_no_fdget_pos(file) };
        // SAFETY: an open file has an inode.
        if !unsafe { helpers::geist_file_is_directory(file.as_ptr()) } {
            return Err(ENOTDIR);
        }
        Ok(Self { file })
    }

    /// Device and inode number.
    pub(crate) fn identity(&self) -> (u64, u64) {
        let (mut device, mut inode) = (0, 0);
        // SAFETY: the file is open, and the helper fills both.
        unsafe { helpers::geist_file_identity(self.file.as_ptr(), &mut device, &mut inode) };
        (device as u64, inode as u64)
    }

    /// Whether this open file holds an exclusive `flock(2)`.
    pub(crate) fn is_locked(&self) -> bool {
        // SAFETY: the file is open.
        unsafe { helpers::geist_file_is_locked(self.file.as_ptr()) }
    }

    fn open_with(&self, name: &Name, flags: u32) -> Result<OpenFile> {
        // A named pipe in its place is not waited for.
        let flags = flags
            | bindings::O_NOFOLLOW
            | bindings::O_NONBLOCK
            | bindings::O_LARGEFILE
            | bindings::O_CLOEXEC;
        // SAFETY: the path is that of an open file, the name is a C string.
        let file = from_err_ptr(unsafe {
            bindings::file_open_root(
                &raw const (*self.file.as_ptr()).__bindgen_anon_1.f_path,
                name.as_bytes_with_nul().as_ptr().cast(),
                flags as i32,
                0o600,
            )
        })?;
        let file = OpenFile { file };
        // SAFETY: the file was just opened.
        if !unsafe { helpers::geist_file_is_regular(file.file) } {
            return Err(EINVAL);
        }
        Ok(file)
    }

    /// Whether nothing has this name, not even a link. `EACCES`, `EIO`, `ENOMEM`.
    pub(crate) fn is_free(&self, name: &Name) -> Result<bool> {
        // SAFETY: the file is an open directory, the name is a C string.
        let found = unsafe {
            helpers::geist_dir_has(self.file.as_ptr(), name.as_bytes_with_nul().as_ptr().cast())
        };
        to_result(found.min(0))?;
        Ok(found == 0)
    }

    /// Creates a file for writing, mode 0600. `EEXIST` when it is there already.
    pub(crate) fn create(&self, name: &Name) -> Result<OpenFile> {
        self.open_with(
            name,
            bindings::O_CREAT | bindings::O_EXCL | bindings::O_WRONLY,
        )
    }

    /// Opens a regular file for reading. `ENOENT`, `ELOOP` (a link), `EINVAL` (not a file).
    pub(crate) fn open(&self, name: &Name) -> Result<OpenFile> {
        self.open_with(name, bindings::O_RDONLY)
    }

    /// Removes a file. `ENOENT`.
    pub(crate) fn remove(&self, name: &Name) -> Result {
        // SAFETY: the file is an open directory, the name is a C string.
        to_result(unsafe {
            helpers::geist_dir_remove(self.file.as_ptr(), name.as_bytes_with_nul().as_ptr().cast())
        })
    }

    /// Renames a file within the directory, replacing `to`.
    pub(crate) fn rename(&self, from: &Name, to: &Name) -> Result {
        // SAFETY: the file is an open directory, the names are C strings.
        to_result(unsafe {
            helpers::geist_dir_rename(
                self.file.as_ptr(),
                from.as_bytes_with_nul().as_ptr().cast(),
                to.as_bytes_with_nul().as_ptr().cast(),
            )
        })
    }

    /// Which file has this name now.
    pub(crate) fn incarnation_of(&self, name: &Name) -> Result<Incarnation> {
        Ok(self.open(name)?.incarnation())
    }

    /// Brings everything on the file system of the directory to the disk.
    pub(crate) fn sync_all(&self) -> Result {
        // SAFETY: the file is open.
        to_result(unsafe { helpers::geist_dir_sync_all(self.file.as_ptr()) })
    }

    /// Brings the entries of the directory to the disk.
    pub(crate) fn sync(&self) -> Result {
        // SAFETY: the file is open.
        to_result(unsafe { bindings::vfs_fsync(self.file.as_ptr(), 0) })
    }
}

/// What tells a file from every other that has or had its name: inode number, generation, and when
/// it was last changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incarnation {
    inode: u64,
    generation: u32,
    changed: (i64, u32),
}

/// An open file, closed when dropped.
pub(crate) struct OpenFile {
    file: *mut bindings::file,
}

// SAFETY: a `struct file` may be used and released by any task.
unsafe impl Send for OpenFile {}
// SAFETY: only positional reads and writes are made, which take no lock of the caller's.
unsafe impl Sync for OpenFile {}

impl OpenFile {
    /// The file that the calling process has open as `fd`. `EBADF`.
    pub(crate) fn from_fd(fd: i32) -> Result<Self> {
        // SAFETY: any number may be given.
        let file = unsafe { bindings::fget(u32::try_from(fd).map_err(|_| EBADF)?) };
        if file.is_null() {
            return Err(EBADF);
        }
        Ok(Self { file })
    }

    /// Opens the same file again for reading, with a position of its own.
    pub(crate) fn reopen(file: &super::fd::FileRef) -> Result<Self> {
        let flags = (bindings::O_RDONLY | bindings::O_LARGEFILE) as i32;
        // SAFETY: the file is open, so its path is valid; the credentials are those of the caller.
        let file = from_err_ptr(unsafe { helpers::geist_file_reopen(file.as_ptr(), flags) })?;
        Ok(Self { file })
    }

    /// Opens the same memfd again, for writing. `EINVAL` for another kind of file, `EACCES` when
    /// the caller may not write to it, however it was opened.
    pub(crate) fn reopen_memfd(&self) -> Result<Self> {
        // SAFETY: the file is open.
        let file = from_err_ptr(unsafe { helpers::geist_memfd_reopen(self.file) })?;
        Ok(Self { file })
    }

    /// Opens the same file again, for reading only, with a position of its own.
    pub(crate) fn reopen_read_only(&self) -> Result<Self> {
        let flags = (bindings::O_RDONLY | bindings::O_LARGEFILE) as i32;
        // SAFETY: the file is open.
        let file = from_err_ptr(unsafe { helpers::geist_file_reopen(self.file, flags) })?;
        Ok(Self { file })
    }

    /// The first byte at or behind `from` that is not in a hole; `None` when only a hole follows.
    /// Moves the position of the file.
    pub(crate) fn next_data(&self, from: u64) -> Result<Option<u64>> {
        let from = i64::try_from(from).map_err(|_| EFBIG)?;
        // SAFETY: the file is open.
        let found = unsafe { bindings::vfs_llseek(self.file, from, bindings::SEEK_DATA as i32) };
        match u64::try_from(found) {
            Ok(found) => Ok(Some(found)),
            Err(_) if found == -i64::from(bindings::ENXIO) => Ok(None),
            Err(_) => Err(Error::from_errno(found as i32)),
        }
    }

    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `file` is valid, and the caller gives up a reference to it.
    pub(super) unsafe fn from_raw(file: *mut bindings::file) -> Self {
        Self { file }
    }

    /// The file, valid as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut bindings::file {
        self.file
    }

    /// Writes all of `bytes` at `position`.
    pub(crate) fn write_at(&self, position: u64, mut bytes: &[u8]) -> Result {
        let mut position = i64::try_from(position).map_err(|_| EFBIG)?;
        while !bytes.is_empty() {
            // SAFETY: the file is open, pointer and length are those of a slice.
            let written = unsafe {
                bindings::kernel_write(self.file, bytes.as_ptr().cast(), bytes.len(), &mut position)
            };
            match usize::try_from(written) {
                Ok(0) => return Err(EIO),
                Ok(written) => bytes = bytes.get(written..).ok_or(EIO)?,
                Err(_) => return Err(Error::from_errno(written as i32)),
            }
        }
        Ok(())
    }

    /// Writes whole pages at `position`, in one go.
    pub(crate) fn write_pages(&self, position: u64, pages: &[HeldPage]) -> Result {
        let mut vectors = KVec::with_capacity(pages.len(), GFP_KERNEL)?;
        for page in pages {
            let vector = bindings::bio_vec {
                bv_page: page.as_ptr(),
                bv_len: PAGE_SIZE as u32,
                bv_offset: 0,
            };
            vectors.push(vector, GFP_KERNEL)?;
        }
        let mut position = i64::try_from(position).map_err(|_| EFBIG)?;
        let mut iter = bindings::iov_iter::default();
        // SAFETY: the vectors and the pages outlive the iterator, and their sizes are as said.
        unsafe {
            bindings::iov_iter_bvec(
                &mut iter,
                bindings::ITER_SOURCE,
                vectors.as_ptr(),
                vectors.len(),
                vectors.len() * PAGE_SIZE,
            )
        };
        let mut left = vectors.len() * PAGE_SIZE;
        while left > 0 {
            // SAFETY: the file is open for writing, and the iterator valid.
            let written =
                unsafe { bindings::vfs_iter_write(self.file, &mut iter, &mut position, 0) };
            match usize::try_from(written) {
                Ok(0) => return Err(EIO),
                Ok(written) => left = left.saturating_sub(written),
                Err(_) => return Err(Error::from_errno(written as i32)),
            }
        }
        Ok(())
    }

    /// Reads at `position` until `bytes` is full or the file ends. Returns the bytes read.
    pub(crate) fn read_at(&self, position: u64, bytes: &mut [u8]) -> Result<usize> {
        let mut position = i64::try_from(position).map_err(|_| EFBIG)?;
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            // SAFETY: the file is open, pointer and length are those of a slice.
            let read = unsafe {
                bindings::kernel_read(
                    self.file,
                    rest.as_mut_ptr().cast(),
                    rest.len(),
                    &mut position,
                )
            };
            match usize::try_from(read) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(_) => return Err(Error::from_errno(read as i32)),
            }
        }
        Ok(done)
    }

    /// Which file of its name it is, as it is now.
    pub(crate) fn incarnation(&self) -> Incarnation {
        let mut raw = helpers::geist_incarnation {
            ino: 0,
            ctime_sec: 0,
            ctime_nsec: 0,
            generation: 0,
        };
        // SAFETY: the file is open, and the helper fills the structure.
        unsafe { helpers::geist_file_incarnation(self.file, &mut raw) };
        Incarnation {
            inode: raw.ino as u64,
            generation: raw.generation,
            changed: (raw.ctime_sec as i64, raw.ctime_nsec),
        }
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: the file is open.
        unsafe { helpers::geist_file_size(self.file) as u64 }
    }

    /// Brings content and attributes to the disk.
    pub(crate) fn sync(&self) -> Result {
        // SAFETY: the file is open.
        to_result(unsafe { bindings::vfs_fsync(self.file, 0) })
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // SAFETY: this gives up the reference that the value owns.
        unsafe { bindings::fput(self.file) }
    }
}
