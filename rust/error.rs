// SPDX-License-Identifier: GPL-2.0

//! Errors that reach the user as words.

use core::fmt;
use kernel::prelude::*;

/// An errno and the sentence that explains it.
///
/// The sentence names the culprit (process, descriptor, file, mapping) and, where there is
/// something to do, what to do. It has no final full stop and no newline.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the system call returns.
    pub(crate) errno: Error,
    sentence: KVec<u8>,
}

/// The result of everything that can fail with a sentence.
pub(crate) type Outcome<T = ()> = core::result::Result<T, Failure>;

impl Failure {
    /// A failure with a sentence; without memory for it, the errno has to do.
    pub(crate) fn new(errno: Error, sentence: fmt::Arguments<'_>) -> Self {
        let mut failure = Self {
            errno,
            sentence: KVec::new(),
        };
        // An error here is an allocation that failed: the sentence is cut short.
        let _ = fmt::Write::write_fmt(&mut failure, sentence);
        failure
    }

    /// The sentence (may be empty).
    pub(crate) fn sentence(&self) -> &[u8] {
        &self.sentence
    }

    /// The same failure with `what` and a colon before its sentence.
    pub(crate) fn within(self, what: fmt::Arguments<'_>) -> Self {
        Self::new(self.errno, format_args!("{what}: {self}"))
    }
}

impl fmt::Write for Failure {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.sentence
            .extend_from_slice(text.as_bytes(), GFP_KERNEL)
            .map_err(|_| fmt::Error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.sentence).unwrap_or("(not UTF-8)"))
    }
}

impl From<Error> for Failure {
    fn from(errno: Error) -> Self {
        let words = match errno {
            e if e == ENOMEM => "the kernel is out of memory",
            e if e == EFAULT => "an address that the caller gave is not valid",
            e if e == EINTR => "interrupted by a signal",
            e if e == ENOSPC => "no space is left on the device",
            e if e == EDQUOT => "the disk quota is exceeded",
            e if e == EROFS => "the file system is read-only",
            e if e == EIO => "input/output error",
            e if e == EACCES || e == EPERM => "permission denied",
            e if e == ENOENT => "it does not exist",
            e if e == EEXIST => "it exists already",
            e if e == EISDIR => "it is a directory",
            e if e == ENOTDIR => "it is not a directory",
            e if e == EFBIG => "it would become larger than allowed",
            e if e == EBUSY => "it is in use",
            e if e == ENFILE || e == EMFILE => "too many files are open",
            e if e == ENODEV || e == ENXIO => "the device does not exist",
            // "EUCLEAN": rare ones at least have the name that manuals have.
            _ => return Self::new(errno, format_args!("error {errno:?}")),
        };
        Self::new(errno, format_args!("{words}"))
    }
}

impl From<kernel::alloc::AllocError> for Failure {
    fn from(_: kernel::alloc::AllocError) -> Self {
        ENOMEM.into()
    }
}

/// Returns a [`Failure`] from the function: errno, then a sentence as for `format_args!`.
macro_rules! fail {
    ($errno:expr, $($sentence:tt)+) => {
        return Err($crate::error::Failure::new($errno, format_args!($($sentence)+)))
    };
}
pub(crate) use fail;

/// Puts words before the sentence of an error.
pub(crate) trait Context<T> {
    /// `what` names the culprit: `control_812_v3.bin`, `pid 812`.
    fn within(self, what: fmt::Arguments<'_>) -> Outcome<T>;
}

impl<T, E: Into<Failure>> Context<T> for core::result::Result<T, E> {
    fn within(self, what: fmt::Arguments<'_>) -> Outcome<T> {
        self.map_err(|error| error.into().within(what))
    }
}
