// SPDX-License-Identifier: GPL-2.0

//! What every `.bin` file begins and ends with.
//!
//! `global`, `node`, `task` and `control` files are a [`FileHeader`], a body and a [`Trailer`].
//! A `task_mm` file has the header in a page of its own and no trailer (see [`super::task_mm`]).

use super::{Crc32c, Damage, CRC_START, FORMAT_VERSION, PAGE_SIZE};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first eight bytes of every file.
pub const MAGIC: [u8; 8] = *b"geist\r\n\x1a";

/// The last four bytes of a file with a trailer.
pub const TRAILER_MAGIC: u32 = u32::from_le_bytes(*b"tsig");

/// `EM_X86_64`, the only architecture.
pub const ARCH_X86_64: u32 = 62;

/// The kinds of `.bin` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FileKind {
    /// `global_vX.bin`
    Global = 1,
    /// `node_0_vX.bin`
    Node = 2,
    /// `task_<pid>_vX.bin`
    Task = 3,
    /// `task_mm_<pid>_vX.bin`
    TaskMm = 4,
    /// `control_<pid>_vX.bin`
    Control = 5,
    /// `description_vX.txt`: has no header; the number stands in manifests.
    Description = 6,
}

impl FileKind {
    /// The kind with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        [
            Self::Global,
            Self::Node,
            Self::Task,
            Self::TaskMm,
            Self::Control,
            Self::Description,
        ]
        .into_iter()
        .find(|kind| *kind as u32 == number)
    }
}

/// The header of every `.bin` file, 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FileHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// A [`FileKind`].
    pub kind: u32,
    /// [`FORMAT_VERSION`].
    pub format: u32,
    /// [`ARCH_X86_64`].
    pub arch: u32,
    /// [`PAGE_SIZE`].
    pub page_size: u32,
    /// Version of the checkpoint, from 1.
    pub version: u64,
    /// Application ID.
    pub app: u32,
    /// Process, or 0 where the file belongs to the whole application.
    pub pid: u32,
    /// Zero.
    pub reserved: [u32; 5],
    /// CRC32C of the bytes before this field.
    pub crc: u32,
}

impl FileHeader {
    /// Bytes of a header.
    pub const SIZE: usize = core::mem::size_of::<Self>();

    /// A header for a file of this `kind`.
    pub fn new(kind: FileKind, app: u32, pid: u32, version: u64, crc32c: Crc32c) -> Self {
        let mut header = Self {
            magic: MAGIC,
            kind: kind as u32,
            format: FORMAT_VERSION,
            arch: ARCH_X86_64,
            page_size: PAGE_SIZE as u32,
            version,
            app,
            pid,
            reserved: [0; 5],
            crc: 0,
        };
        header.crc = header.computed_crc(crc32c);
        header
    }

    fn computed_crc(&self, crc32c: Crc32c) -> u32 {
        crc32c(CRC_START, super::all_but_crc(self.as_bytes()))
    }

    /// Reads the header at the start of `bytes` and checks that it is the one wanted.
    pub fn read(
        bytes: &[u8],
        kind: FileKind,
        app: u32,
        pid: u32,
        version: u64,
        crc32c: Crc32c,
    ) -> Result<Self, Damage> {
        let (header, _) = Self::read_from_prefix(bytes).map_err(|_| Damage::Truncated)?;
        if header.magic != MAGIC {
            return Err(Damage::Magic);
        }
        if header.format != FORMAT_VERSION {
            return Err(Damage::Format(header.format));
        }
        if header.crc != header.computed_crc(crc32c) {
            return Err(Damage::Checksum);
        }
        if header.arch != ARCH_X86_64 || header.page_size != PAGE_SIZE as u32 {
            return Err(Damage::Machine);
        }
        if header.reserved != [0; 5] {
            return Err(Damage::Value("a reserved field of the header"));
        }
        if (header.kind, header.app, header.pid, header.version) != (kind as u32, app, pid, version)
        {
            return Err(Damage::Identity);
        }
        Ok(header)
    }
}

/// The end of a file with a trailer, 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Trailer {
    /// Bytes between header and trailer.
    pub length: u64,
    /// CRC32C of these bytes.
    pub crc: u32,
    /// [`TRAILER_MAGIC`].
    pub magic: u32,
}

impl Trailer {
    /// Bytes of a trailer.
    pub const SIZE: usize = core::mem::size_of::<Self>();

    /// The trailer of a body of `length` bytes whose running CRC ended at `crc`.
    pub fn new(length: u64, crc: u32) -> Self {
        Self {
            length,
            crc,
            magic: TRAILER_MAGIC,
        }
    }
}

/// The checked body of a whole file with header and trailer.
///
/// The length is taken from the trailer, so that a truncated file is told from a damaged one.
pub fn body(
    bytes: &[u8],
    kind: FileKind,
    app: u32,
    pid: u32,
    version: u64,
    crc32c: Crc32c,
) -> Result<&[u8], Damage> {
    FileHeader::read(bytes, kind, app, pid, version, crc32c)?;
    let rest = bytes.get(FileHeader::SIZE..).ok_or(Damage::Truncated)?;
    let (body, trailer) = Trailer::read_from_suffix(rest).map_err(|_| Damage::Truncated)?;
    if trailer.magic != TRAILER_MAGIC || trailer.length != body.len() as u64 {
        return Err(Damage::Truncated);
    }
    if trailer.crc != crc32c(CRC_START, body) {
        return Err(Damage::Checksum);
    }
    Ok(body)
}
