// SPDX-License-Identifier: GPL-2.0

//! A descriptor that the calling process has for a moment, for a system call that takes no file.

use super::file::OpenFile;
use kernel::{bindings, prelude::*};

/// An open file at a descriptor of the calling process, closed when dropped.
pub(crate) struct BorrowedFd {
    fd: u32,
}

impl BorrowedFd {
    /// Puts `file` at a free descriptor. `EMFILE`, `ENOMEM`.
    pub(crate) fn new(file: &OpenFile) -> Result<Self> {
        // SAFETY: always callable in process context.
        let fd = unsafe { bindings::get_unused_fd_flags(bindings::O_CLOEXEC) };
        let fd = u32::try_from(fd).map_err(|_| Error::from_errno(fd))?;
        // SAFETY: the descriptor was just reserved, the file is open, and the table takes over the
        // reference made here.
        unsafe {
            bindings::get_file(file.as_ptr());
            bindings::fd_install(fd, file.as_ptr());
        }
        Ok(Self { fd })
    }

    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.fd
    }
}

impl Drop for BorrowedFd {
    fn drop(&mut self) {
        // SAFETY: closing a descriptor of the calling process, which runs no other code meanwhile.
        let _ = unsafe { bindings::close_fd(self.fd) };
    }
}
