// SPDX-License-Identifier: GPL-2.0

//! Reading versions from a store: the one place that `list`, `show`, `verify` and `restart` share.

mod chain;
mod cross;
mod load;
mod needs;
mod pages;
mod stored;
mod task;
pub mod write;

#[cfg(test)]
#[path = "../../tests/common/mod.rs"]
pub mod common;
#[cfg(test)]
#[path = "../../tests/common/chain.rs"]
mod made_chain;
#[cfg(test)]
mod tests;

pub use chain::Chain;
pub use load::{body, check, controls, exists, number, summary, Image, Process, Summary};
pub use needs::{Gathering, Needs};
pub use pages::Page;
pub use stored::StoredPages;
pub use task::{Task, Thread};

use std::fmt;

/// CRC32C in the convention of the image crate.
pub fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!crc, bytes)
}

/// A file of a version that is no valid image.
#[derive(Clone, Debug)]
pub struct Damaged {
    /// Application ID.
    pub app: u32,
    /// Version.
    pub version: u64,
    /// Name of the file.
    pub file: String,
    /// What is wrong with it, the second half of a sentence.
    pub why: String,
}

impl Damaged {
    /// The damage of a file.
    pub fn new(app: u32, version: u64, file: &dyn fmt::Display, why: &dyn fmt::Display) -> Self {
        Self {
            app,
            version,
            file: file.to_string(),
            why: why.to_string(),
        }
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "version {} of application {}: {}: {}",
            self.version, self.app, self.file, self.why
        )
    }
}

impl std::error::Error for Damaged {}
