// SPDX-License-Identifier: GPL-2.0

//! A ghost in kernel memory.

use super::{GhostRead, GhostWrite};
use crate::error::{fail, Outcome};
use kernel::prelude::*;

/// Bytes in kernel memory, written at the end and read from the start.
pub(crate) struct MemoryGhost {
    bytes: KVVec<u8>,
    position: usize,
}

impl MemoryGhost {
    /// An empty ghost.
    pub(crate) fn new() -> Self {
        Self {
            bytes: KVVec::new(),
            position: 0,
        }
    }

    /// Makes room for so many bytes more, so that writing them allocates nothing. May sleep.
    pub(crate) fn reserve(&mut self, bytes: usize) -> Result {
        Ok(self.bytes.reserve(bytes, GFP_KERNEL)?)
    }

    /// Goes back to the start, to read what was written from there.
    pub(crate) fn rewind(&mut self) {
        self.position = 0;
    }

    /// Everything that was written, whether read or not.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl GhostWrite for MemoryGhost {
    fn write(&mut self, bytes: &[u8]) -> Outcome {
        let wanted = self.bytes.len() + bytes.len();
        if wanted > self.bytes.capacity() {
            // Doubling keeps the cost of many small writes linear.
            let more = bytes.len().max(self.bytes.capacity()).max(4096);
            self.bytes.reserve(more, GFP_KERNEL)?;
        }
        Ok(self.bytes.extend_from_slice(bytes, GFP_KERNEL)?)
    }
}

impl GhostRead for MemoryGhost {
    fn read(&mut self, bytes: &mut [u8]) -> Outcome {
        let Some(source) = self
            .position
            .checked_add(bytes.len())
            .and_then(|end| self.bytes.get(self.position..end))
        else {
            fail!(ENODATA, "the memory ghost ends too early");
        };
        bytes.copy_from_slice(source);
        self.position += bytes.len();
        Ok(())
    }
}
