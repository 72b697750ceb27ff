// SPDX-License-Identifier: GPL-2.0

//! The file formats of geist, shared by the module, the command-line tool and the fuzzers.
//!
//! Needs `core` and `zerocopy` only. Everything is little endian with natural alignment (the only
//! architecture is x86-64), and every byte of every `.bin` file is covered by a CRC32C.
//!
//! | file | content | described in |
//! | --- | --- | --- |
//! | `global_vX.bin` | application ID, version, node mask, manifest of the version | [`global`] |
//! | `node_0_vX.bin` | the processes that take part | [`global`] |
//! | `task_<pid>_vX.bin` | records: one per piece of process state | [`record`], [`task`], [`thread`], [`files`], [`mm`] |
//! | `task_mm_<pid>_vX.bin` | pages, in blocks of an index and its pages | [`task_mm`] |
//! | `control_<pid>_vX.bin` | where the content of every page lies | [`control`] |
//! | `description_vX.txt` | ASCII: date, version, description, what was left out | [`description`] |

pub mod control;
pub mod description;
pub mod files;
pub mod frame;
pub mod global;
pub mod mm;
pub mod name;
pub mod record;
pub mod task;
pub mod task_mm;
pub mod thread;
pub mod values;

pub use frame::{FileHeader, FileKind, Trailer};

/// Version of the format; a reader accepts exactly this one.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes in a page of every image.
pub const PAGE_SIZE: usize = 4096;

/// A running CRC32C: `crc32c(!0, bytes)` starts one, the result is passed on for the next bytes
/// and is not inverted at the end (the convention of the kernel's `crc32c()`).
pub type Crc32c = fn(crc: u32, bytes: &[u8]) -> u32;

/// The value a running CRC32C starts with.
pub const CRC_START: u32 = !0;

/// What a checksum covers that is the last field of a structure with these bytes.
fn all_but_crc(structure: &[u8]) -> &[u8] {
    structure
        .split_last_chunk::<4>()
        .map_or(&[], |(covered, _)| covered)
}

/// Why bytes are no valid image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file ends before what it announces.
    Truncated,
    /// There are bytes behind the end of the file's content.
    TrailingBytes,
    /// The first bytes are not those of a geist file.
    Magic,
    /// Written by another version of the format.
    Format(u32),
    /// Written on another architecture or with another page size.
    Machine,
    /// The file is of another kind, application, process or version than its name says.
    Identity,
    /// A checksum does not fit: the bytes were changed.
    Checksum,
    /// A length, count or reserved field has a value that no writer makes.
    Value(&'static str),
    /// A record that must be there is missing.
    Missing(&'static str),
}

impl core::fmt::Display for Damage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Damage::Truncated => f.write_str("it is truncated"),
            Damage::TrailingBytes => f.write_str("it has bytes behind its end"),
            Damage::Magic => f.write_str("it is not a geist file"),
            Damage::Format(found) => write!(
                f,
                "it has format version {found}, this geist reads version {FORMAT_VERSION}"
            ),
            Damage::Machine => f.write_str("it was written on another kind of machine"),
            Damage::Identity => {
                f.write_str("it belongs to another file, application, process or version")
            }
            Damage::Checksum => f.write_str("a checksum does not fit: it is damaged"),
            Damage::Value(what) => write!(f, "{what} is out of range: it is damaged"),
            Damage::Missing(what) => write!(f, "{what} is missing: it is damaged"),
        }
    }
}
