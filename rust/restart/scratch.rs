// SPDX-License-Identifier: GPL-2.0

//! Memory of the process for arguments of system calls, for a moment.

use crate::error::{fail, Context, Outcome};
use crate::image::PAGE_SIZE;
use crate::sys::{abi, restart_mm};
use kernel::prelude::*;

/// A page of the process that is restarted, unmapped when dropped.
///
/// It lies where the kernel finds room. It is shared memory, so that it does not become one with a
/// mapping of the image.
pub(super) struct Scratch {
    address: u64,
}

impl Scratch {
    /// Maps a page.
    pub(super) fn new() -> Outcome<Self> {
        let address = restart_mm::map(
            None,
            0,
            PAGE_SIZE as u64,
            abi::PROT_READ | abi::PROT_WRITE,
            abi::MAP_SHARED | abi::MAP_ANONYMOUS,
            0,
        )
        .within(format_args!("a page for arguments"))?;
        Ok(Self { address })
    }

    /// Writes `bytes` at `offset` and returns their address.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) -> Outcome<u64> {
        if offset
            .checked_add(bytes.len())
            .is_none_or(|end| end > PAGE_SIZE)
        {
            fail!(E2BIG, "arguments of {} bytes", bytes.len());
        }
        let address = self.address + offset as u64;
        restart_mm::write_user(address, bytes).within(format_args!("a page for arguments"))?;
        Ok(address)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It fails only when the process is being killed, and then its memory goes anyway; should
        // it fail otherwise, the comparison of the mappings finds the page.
        let _ = restart_mm::unmap(self.address, PAGE_SIZE as u64);
    }
}
