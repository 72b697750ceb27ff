// SPDX-License-Identifier: GPL-2.0

//! Records on a ghost.

use super::{GhostRead, GhostWrite};
use crate::error::{fail, Failure, Outcome};
use crate::image::record::{padding, End, RawRecord, Record, RecordHeader, RECORD_ALIGN};
use crate::image::Damage;
use kernel::prelude::*;

/// Longer records than this are in no image, bytes.
const LONGEST_RECORD: usize = 1 << 20;

/// A kind of state of an `S`, a process or a thread, that can be written to any ghost.
pub(crate) trait Export<S> {
    /// Writes the records of this state of `subject`. May sleep.
    fn export(subject: &S, out: &mut RecordWriter<'_>) -> Outcome;
}

/// What [`Export::export`] of some kind is.
pub(crate) type Exporter<S> = fn(&S, &mut RecordWriter<'_>) -> Outcome;

/// A kind of record that can be read from any ghost into an `I`: what is known of an image so far.
pub(crate) trait Import<I>: Record {
    /// Takes this record and its tail. May sleep. `EBADMSG` where it does not fit what is known.
    fn import(self, tail: &[u8], into: &mut I) -> Outcome;
}

/// What [`import`] of some kind of record is.
pub(crate) type Importer<I> = fn(&RawRecord<'_>, &mut I) -> Outcome<bool>;

/// Takes `record` into `into` if it is a `T`. Returns whether it is.
// Not made part of its caller: all copies of all records at once are too much for the kernel's stack.
#[inline(never)]
pub(crate) fn import<I, T: Import<I>>(record: &RawRecord<'_>, into: &mut I) -> Outcome<bool> {
    let Some(value) = record.decode::<T>() else {
        return Ok(false);
    };
    let (value, tail) = value.map_err(damaged)?;
    value.import(tail, into)?;
    Ok(true)
}

/// Reads records from a ghost, in the order in which they were written.
pub(crate) struct RecordReader<'a> {
    ghost: &'a mut dyn GhostRead,
    payload: KVVec<u8>,
    records: u64,
    ended: bool,
}

impl<'a> RecordReader<'a> {
    /// A reader of what follows in `ghost`.
    pub(crate) fn new(ghost: &'a mut dyn GhostRead) -> Self {
        Self {
            ghost,
            payload: KVVec::new(),
            records: 0,
            ended: false,
        }
    }

    /// The next record, or `None` behind the last. `EBADMSG` where the bytes are no records,
    /// `ENODATA` where they end before the last.
    pub(crate) fn next(&mut self) -> Outcome<Option<RawRecord<'_>>> {
        if self.ended {
            return Ok(None);
        }
        let mut header = RecordHeader { tag: 0, length: 0 };
        self.ghost.read(header.as_mut_bytes())?;
        let padded = header.padded_length().map_err(damaged)?;
        if padded > LONGEST_RECORD {
            return Err(damaged(Damage::Value("a record's length")));
        }
        self.payload.clear();
        self.payload.resize(padded, 0, GFP_KERNEL)?;
        self.ghost.read(&mut self.payload)?;
        let record = RawRecord::new(&header, &self.payload).map_err(damaged)?;
        if record.is_end(self.records).map_err(damaged)? {
            self.ended = true;
            return Ok(None);
        }
        self.records += 1;
        Ok(Some(record))
    }
}

/// The failure of bytes that are no records.
fn damaged(damage: Damage) -> Failure {
    Failure::new(EBADMSG, format_args!("{damage}"))
}

/// Writes records to a ghost.
pub(crate) struct RecordWriter<'a> {
    ghost: &'a mut dyn GhostWrite,
    records: u64,
}

impl<'a> RecordWriter<'a> {
    /// A writer that appends to `ghost`.
    pub(crate) fn new(ghost: &'a mut dyn GhostWrite) -> Self {
        Self { ghost, records: 0 }
    }

    /// Writes a record without a tail.
    pub(crate) fn record<T: Record>(&mut self, value: &T) -> Outcome {
        self.record_with_tail(value, &[])
    }

    /// Writes a record and its tail. Fails with `E2BIG` when the tail is longer than the format
    /// allows, naming the record.
    pub(crate) fn record_with_tail<T: Record>(&mut self, value: &T, tail: &[u8]) -> Outcome {
        if tail.len() > T::MAX_TAIL {
            fail!(
                E2BIG,
                "{} is too long ({} bytes, at most {})",
                T::NAME,
                tail.len(),
                T::MAX_TAIL
            );
        }
        let length = core::mem::size_of::<T>() + tail.len();
        let header = RecordHeader {
            tag: T::TAG,
            length: length as u32,
        };
        self.ghost.write(header.as_bytes())?;
        self.ghost.write(value.as_bytes())?;
        if !tail.is_empty() {
            self.ghost.write(tail)?;
        }
        if let Some(zeros @ [_, ..]) = [0; RECORD_ALIGN].get(..padding(length)) {
            self.ghost.write(zeros)?;
        }
        self.records += 1;
        Ok(())
    }

    /// Writes the last record.
    pub(crate) fn finish(mut self) -> Outcome {
        let records = self.records;
        self.record(&End { records })
    }
}
