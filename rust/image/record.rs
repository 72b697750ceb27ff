// SPDX-License-Identifier: GPL-2.0

//! Records: the body of a `task` file is a sequence of them.
//!
//! A record is a [`RecordHeader`], a fixed structure (a [`Record`]), an optional tail of bytes (a
//! path, a saved register area), and zero bytes up to a multiple of 8. The last record is [`End`].

use super::Damage;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Records start at multiples of this many bytes.
pub const RECORD_ALIGN: usize = 8;

/// What stands before every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RecordHeader {
    /// [`Record::TAG`].
    pub tag: u32,
    /// Bytes of the fixed structure and the tail, without padding.
    pub length: u32,
}

/// A piece of state with a fixed structure, possibly followed by a tail.
pub trait Record: FromBytes + IntoBytes + Immutable + KnownLayout + Copy {
    /// Number of the kind of record, unique in the format.
    const TAG: u32;
    /// Its name, for people.
    const NAME: &'static str;
    /// Longest tail in bytes; 0: none.
    const MAX_TAIL: usize;
}

/// Implements [`Record`] for a structure.
macro_rules! record {
    ($type:ty, $tag:expr, $name:expr, $max_tail:expr) => {
        impl super::record::Record for $type {
            const TAG: u32 = $tag;
            const NAME: &'static str = $name;
            const MAX_TAIL: usize = $max_tail;
        }
    };
}
pub(super) use record;

/// Number of bytes of padding behind `length` bytes.
pub const fn padding(length: usize) -> usize {
    (RECORD_ALIGN - length % RECORD_ALIGN) % RECORD_ALIGN
}

/// One record as it lies in the file.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    /// [`Record::TAG`].
    pub tag: u32,
    /// Fixed structure and tail.
    pub payload: &'a [u8],
}

impl RecordHeader {
    /// Bytes of what follows the header, padding included.
    pub fn padded_length(&self) -> Result<usize, Damage> {
        let length = self.length as usize;
        length
            .checked_add(padding(length))
            .ok_or(Damage::Value("a record's length"))
    }
}

impl<'a> RawRecord<'a> {
    /// The record that begins with `header`; `padded` is what follows it, padding included.
    pub fn new(header: &RecordHeader, padded: &'a [u8]) -> Result<Self, Damage> {
        let (payload, pad) = padded
            .split_at_checked(header.length as usize)
            .ok_or(Damage::Truncated)?;
        if pad.iter().any(|byte| *byte != 0) {
            return Err(Damage::Value("a record's padding"));
        }
        Ok(Self {
            tag: header.tag,
            payload,
        })
    }

    /// Whether it is the last one, which must say that `records` are before it.
    pub fn is_end(&self, records: u64) -> Result<bool, Damage> {
        match self.decode::<End>() {
            None => Ok(false),
            Some(end) if end?.0.records == records => Ok(true),
            Some(_) => Err(Damage::Value("the number of records")),
        }
    }

    /// The record as a `T` and its tail, or `None` when it is of another kind.
    pub fn decode<T: Record>(&self) -> Option<Result<(T, &'a [u8]), Damage>> {
        if self.tag != T::TAG {
            return None;
        }
        Some(match T::read_from_prefix(self.payload) {
            Ok((value, tail)) if tail.len() <= T::MAX_TAIL => Ok((value, tail)),
            _ => Err(Damage::Value(T::NAME)),
        })
    }
}

/// Iterates over the records of a checked body.
///
/// Ends after the first damage, or after [`End`] (which it does not return).
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    count: u64,
    done: bool,
}

impl<'a> Records<'a> {
    /// The records in `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self {
            rest: body,
            count: 0,
            done: false,
        }
    }

    fn advance(&mut self) -> Result<Option<RawRecord<'a>>, Damage> {
        let (header, rest) =
            RecordHeader::read_from_prefix(self.rest).map_err(|_| Damage::Truncated)?;
        let (padded, rest) = rest
            .split_at_checked(header.padded_length()?)
            .ok_or(Damage::Truncated)?;
        let record = RawRecord::new(&header, padded)?;
        self.rest = rest;
        if !record.is_end(self.count)? {
            self.count += 1;
            return Ok(Some(record));
        }
        if self.rest.is_empty() {
            Ok(None)
        } else {
            Err(Damage::TrailingBytes)
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RawRecord<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let result = self.advance().transpose();
        self.done = !matches!(result, Some(Ok(_)));
        result
    }
}

/// The last record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct End {
    /// Number of records before this one.
    pub records: u64,
}
record!(End, 0xffff, "the end record", 0);
