// SPDX-License-Identifier: GPL-2.0

//! The only room of the client with `unsafe`: safe functions over system calls that no library
//! offers in the form that a restart needs.

#![allow(unsafe_code)]

pub mod clone;
pub mod creds;
pub mod ioctl;
pub mod locks;
pub mod shared;
pub mod signal;
pub mod thread;

use std::io;

/// The result of a system call that is -1 on failure.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
