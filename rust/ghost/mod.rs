// SPDX-License-Identifier: GPL-2.0

//! Ghosts: strictly sequential streams that process state is written to and read from.
//!
//! State is written in order and read in the same order; there is no way to go back. A
//! [`MemoryGhost`] takes state during the pause, a [`FileWriter`] brings it to disk afterwards, a
//! [`FileReader`] reads it back.

mod file;
mod memory;
mod record;

pub(crate) use file::{FileReader, FileWriter, Summary};
pub(crate) use memory::MemoryGhost;
pub(crate) use record::{import, Export, Exporter, Import, Importer, RecordReader, RecordWriter};

use crate::error::Outcome;

/// A ghost that state is written to.
pub(crate) trait GhostWrite {
    /// Appends `bytes`. May sleep.
    fn write(&mut self, bytes: &[u8]) -> Outcome;
}

/// A ghost that state is read from.
pub(crate) trait GhostRead {
    /// Fills `bytes` with the next bytes. May sleep. Fails with `ENODATA` where the ghost ends
    /// before.
    fn read(&mut self, bytes: &mut [u8]) -> Outcome;
}
