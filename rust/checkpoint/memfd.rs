// SPDX-License-Identifier: GPL-2.0

//! Capture of what memfds contain and no mapping of the process shows.

use super::files::Memory;
use super::mm::Shown;
use crate::error::Outcome;
use crate::ghost::RecordWriter;
use crate::image::files::{MemfdContent, ObjectKind};
use crate::image::record::Record;
use crate::sys::file::OpenFile;
use kernel::prelude::*;

/// Bytes that one record holds at most.
const CHUNK: usize = MemfdContent::MAX_TAIL;

/// Writes the content of `memory`, but for the ranges of bytes that `covered` lists for its object.
/// The position of the process's own open file is not touched. May sleep.
pub(super) fn export_contents(
    memory: &Memory,
    covered: &[Shown],
    out: &mut RecordWriter<'_>,
) -> Outcome {
    if memory.kind != ObjectKind::Memfd {
        return Ok(());
    }
    let file = OpenFile::reopen(&memory.file)?;
    let mut buffer = KVVec::from_elem(0u8, CHUNK, GFP_KERNEL)?;
    let size = file.size();
    let mut offset = 0;
    while let Some(data) = file.next_data(offset)?.filter(|data| *data < size) {
        offset = match covering(memory.object, data, covered) {
            Covering::Until(behind) => behind,
            Covering::NotBefore(next) => {
                let stop = size.min(next).min(data.saturating_add(CHUNK as u64));
                let wanted = usize::try_from(stop.saturating_sub(data)).unwrap_or(0);
                let chunk = buffer.get_mut(..wanted).unwrap_or(&mut []);
                let read = file.read_at(data, chunk)?;
                write_chunk(memory.object, data, chunk.get(..read).unwrap_or(&[]), out)?;
                stop
            }
        };
    }
    Ok(())
}

/// Whether a mapping shows the byte at an offset.
enum Covering {
    /// Yes, and the bytes up to here.
    Until(u64),
    /// No, nor those up to here.
    NotBefore(u64),
}

fn covering(object: u32, offset: u64, covered: &[Shown]) -> Covering {
    let mut next = u64::MAX;
    for range in covered.iter().filter(|range| range.object == object) {
        if (range.start..range.end).contains(&offset) {
            return Covering::Until(range.end);
        }
        if range.start > offset {
            next = next.min(range.start);
        }
    }
    Covering::NotBefore(next)
}

fn write_chunk(object: u32, offset: u64, chunk: &[u8], out: &mut RecordWriter<'_>) -> Outcome {
    if chunk.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    let record = MemfdContent {
        object,
        reserved: 0,
        offset,
    };
    out.record_with_tail(&record, chunk)
}
