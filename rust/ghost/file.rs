// SPDX-License-Identifier: GPL-2.0

//! A ghost in a file: header, body, trailer.

use super::{GhostRead, GhostWrite};
use crate::error::{fail, Context, Outcome};
use crate::image::frame::{FileHeader, Trailer};
use crate::image::name::Name;
use crate::image::{FileKind, CRC_START};
use crate::sys::crc32c::crc32c;
use crate::sys::file::{Directory, Incarnation, OpenFile};
use kernel::prelude::*;

/// Bytes that are gathered before they go to the file.
const BUFFER: usize = 64 << 10;

/// Largest file that is read whole: bytes of a `task` or `control` file.
const LARGEST_WHOLE: u64 = 256 << 20;

/// What a finished file is, as its manifest entry tells.
#[derive(Clone, Copy)]
pub(crate) struct Summary {
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// Its checksum (see [`crate::image::global::ManifestEntry::crc`]).
    pub(crate) crc: u32,
}

/// Writes a file of a version: a new file beneath the directory of the application.
pub(crate) struct FileWriter {
    name: Name,
    file: OpenFile,
    buffer: KVVec<u8>,
    position: u64,
    body: u64,
    crc: u32,
}

impl FileWriter {
    /// Writes the header to a new file.
    pub(crate) fn new(
        file: OpenFile,
        name: Name,
        kind: FileKind,
        app: u32,
        pid: u32,
        version: u64,
    ) -> Outcome<Self> {
        let header = FileHeader::new(kind, app, pid, version, crc32c);
        let mut writer = Self {
            name,
            file,
            // It grows with what is written: most files are small.
            buffer: KVVec::new(),
            position: 0,
            body: 0,
            crc: CRC_START,
        };
        writer.append(header.as_bytes())?;
        Ok(writer)
    }

    fn append(&mut self, mut bytes: &[u8]) -> Outcome {
        while !bytes.is_empty() {
            let room = BUFFER - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now, GFP_KERNEL)?;
            if self.buffer.len() == BUFFER {
                self.flush()?;
            }
            bytes = later;
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome {
        self.file
            .write_at(self.position, &self.buffer)
            .within(format_args!("{}", self.name))?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the trailer; with `sync` the file is on the disk when this returns.
    pub(crate) fn finish(mut self, sync: bool) -> Outcome<Summary> {
        let trailer = Trailer::new(self.body, self.crc);
        self.append(trailer.as_bytes())?;
        self.flush()?;
        if sync {
            self.file.sync().within(format_args!("{}", self.name))?;
        }
        Ok(Summary {
            bytes: self.position,
            crc: self.crc,
        })
    }
}

impl GhostWrite for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> Outcome {
        self.crc = crc32c(self.crc, bytes);
        self.body += bytes.len() as u64;
        self.append(bytes)
    }
}

/// The checked body of a file of a version.
pub(crate) struct FileReader {
    incarnation: Incarnation,
    bytes: KVVec<u8>,
    body: core::ops::Range<usize>,
    position: usize,
}

impl FileReader {
    /// Reads a file beneath the directory of the application whole and checks it. A damaged one is
    /// refused by its name.
    pub(crate) fn open(
        directory: &Directory,
        kind: FileKind,
        app: u32,
        pid: u32,
        version: u64,
    ) -> Outcome<Self> {
        let name = Name::new(kind, pid, version);
        let file = directory.open(&name).within(format_args!("{name}"))?;
        let size = file.size();
        if size > LARGEST_WHOLE {
            fail!(
                EFBIG,
                "{name}: it has {size} bytes, more than any geist file of its kind"
            );
        }
        let mut bytes = KVVec::from_elem(0u8, size as usize, GFP_KERNEL)?;
        let read = file.read_at(0, &mut bytes).within(format_args!("{name}"))?;
        bytes.truncate(read);
        match crate::image::frame::body(&bytes, kind, app, pid, version, crc32c) {
            Ok(body) => {
                let body = FileHeader::SIZE..FileHeader::SIZE + body.len();
                Ok(Self {
                    incarnation: file.incarnation(),
                    position: body.start,
                    bytes,
                    body,
                })
            }
            Err(damage) => fail!(EBADMSG, "{name}: {damage}"),
        }
    }

    /// Which file of its name was read.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The whole body.
    pub(crate) fn body(&self) -> &[u8] {
        self.bytes.get(self.body.clone()).unwrap_or(&[])
    }
}

impl GhostRead for FileReader {
    fn read(&mut self, bytes: &mut [u8]) -> Outcome {
        let rest = self.bytes.get(self.position..self.body.end);
        let Some(source) = rest.and_then(|rest| rest.get(..bytes.len())) else {
            fail!(ENODATA, "the file ends too early");
        };
        bytes.copy_from_slice(source);
        self.position += bytes.len();
        Ok(())
    }
}
