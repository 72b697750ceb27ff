// SPDX-License-Identifier: GPL-2.0

//! The layout of an address space, and what is new in it since the last capture.
//!
//! A moved mapping (`mremap(2)`) is seen by neither hook nor notifier at its new address; the
//! difference of the layouts shows it.

use kernel::prelude::*;

/// What backs a range, so that two layouts can be compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backing {
    /// A [`crate::image::mm::VmaKind`].
    pub(crate) kind: u32,
    /// Device and inode number of the file, or zero.
    pub(crate) file: (u64, u64),
    /// Address minus offset in the file, or zero: how the file lies in memory.
    pub(crate) shift: u64,
}

#[derive(Clone, Copy)]
struct Range {
    start: u64,
    end: u64,
    backing: Backing,
}

/// The mappings of an address space. Neighbours with the same backing are one range, so that a
/// change of protection is no change of layout.
pub(crate) struct Layout {
    ranges: KVVec<Range>,
    mappings: u64,
    bytes: u64,
}

impl Layout {
    /// An empty layout.
    pub(crate) fn new() -> Self {
        Self {
            ranges: KVVec::new(),
            mappings: 0,
            bytes: 0,
        }
    }

    /// An empty layout with room for so many mappings. May sleep. `ENOMEM`.
    pub(crate) fn with_room_for(mappings: usize) -> Result<Self> {
        Ok(Self {
            ranges: KVVec::with_capacity(mappings, GFP_KERNEL)?,
            ..Self::new()
        })
    }

    /// Number of mappings.
    pub(crate) fn mappings(&self) -> u64 {
        self.mappings
    }

    /// Whether both have as many mappings and as many addresses, wherever they lie.
    pub(crate) fn counts_as(&self, other: &Layout) -> bool {
        (self.mappings, self.bytes) == (other.mappings, other.bytes)
    }

    /// Adds the next mapping, in ascending order. May sleep.
    pub(crate) fn push(&mut self, start: u64, end: u64, backing: Backing) -> Result {
        self.mappings += 1;
        self.bytes += end - start;
        if let Some(last) = self.ranges.last_mut() {
            if last.end == start && last.backing == backing {
                last.end = end;
                return Ok(());
            }
        }
        let range = Range {
            start,
            end,
            backing,
        };
        Ok(self.ranges.push(range, GFP_KERNEL)?)
    }

    /// Takes `holes` out, which ascend and do not touch, as if nothing had been mapped there; the
    /// counts stay. May sleep. `ENOMEM` leaves the layout as it was.
    pub(crate) fn cut(&mut self, holes: &[(u64, u64)]) -> Result {
        if holes.is_empty() {
            return Ok(());
        }
        let mut rest = KVVec::with_capacity(self.ranges.len() + holes.len(), GFP_KERNEL)?;
        for range in self.ranges.iter() {
            let mut at = range.start;
            let first = holes.partition_point(|hole| hole.1 <= at);
            let inside = holes.iter().skip(first);
            for hole in inside.take_while(|hole| hole.0 < range.end) {
                if at < hole.0 {
                    let end = hole.0;
                    let start = at;
                    rest.push(
                        Range {
                            start,
                            end,
                            ..*range
                        },
                        GFP_KERNEL,
                    )?;
                }
                at = hole.1;
            }
            if at < range.end {
                rest.push(
                    Range {
                        start: at,
                        ..*range
                    },
                    GFP_KERNEL,
                )?;
            }
        }
        self.ranges = rest;
        Ok(())
    }

    /// Calls `visit` with every range of `self` that `old` does not have with the same backing, in
    /// ascending order.
    pub(crate) fn new_since(
        &self,
        old: &Layout,
        mut visit: impl FnMut(u64, u64) -> Result,
    ) -> Result {
        let mut rest = old.ranges.iter().peekable();
        for range in self.ranges.iter() {
            let mut at = range.start;
            while at < range.end {
                let Some(known) = rest.peek() else {
                    visit(at, range.end)?;
                    break;
                };
                if known.end <= at {
                    rest.next();
                    continue;
                }
                if known.start > at {
                    let until = known.start.min(range.end);
                    visit(at, until)?;
                    at = until;
                    continue;
                }
                let until = known.end.min(range.end);
                if known.backing != range.backing {
                    visit(at, until)?;
                }
                at = until;
            }
        }
        Ok(())
    }

    /// Calls `visit` with every range that belongs to no mapping, up to the highest address.
    pub(crate) fn gaps(&self, mut visit: impl FnMut(u64, u64) -> Result) -> Result {
        let mut at = 0;
        for range in self.ranges.iter() {
            if at < range.start {
                visit(at, range.start)?;
            }
            at = range.end;
        }
        visit(at, u64::MAX & !(crate::image::PAGE_SIZE as u64 - 1))
    }
}
