// SPDX-License-Identifier: GPL-2.0

//! The control tree: for every stored page, in which version's `task_mm` file it lies and where.
//!
//! A red-black tree keyed by virtual address. Neighbouring pages with the same version and
//! consecutive offsets are one node.
//!
//! # Invariants
//!
//! Nodes do not overlap, none is empty, and no two neighbours could be one.

use crate::image::control::Extent;
use crate::image::PAGE_SIZE;
use kernel::{prelude::*, rbtree::RBTree};

const PAGE: u64 = PAGE_SIZE as u64;

/// Pages of a node, which the key gives the address of.
#[derive(Clone, Copy)]
struct Run {
    pages: u64,
    version: u64,
    offset: u64,
}

impl Run {
    /// The node at `address` that this is, as a control file holds it.
    fn extent_at(&self, address: u64) -> Extent {
        Extent {
            address,
            pages: self.pages,
            version: self.version,
            offset: self.offset,
        }
    }
}

/// The tree of one address space.
pub(crate) struct ControlTree {
    runs: RBTree<u64, Run>,
    pages: u64,
    nodes: u64,
}

impl ControlTree {
    /// A tree without pages.
    pub(crate) fn new() -> Self {
        Self {
            runs: RBTree::new(),
            pages: 0,
            nodes: 0,
        }
    }

    /// Number of pages.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    /// Number of nodes.
    pub(crate) fn nodes(&self) -> u64 {
        self.nodes
    }

    /// All nodes in ascending order, as a control file holds them.
    pub(crate) fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        self.runs
            .iter()
            .map(|(address, run)| run.extent_at(*address))
    }

    fn insert(&mut self, address: u64, run: Run) -> Result {
        self.runs.try_create_and_insert(address, run, GFP_KERNEL)?;
        self.pages += run.pages;
        self.nodes += 1;
        Ok(())
    }

    fn remove(&mut self, address: u64) -> Option<Run> {
        let run = self.runs.remove(&address)?;
        self.pages -= run.pages;
        self.nodes -= 1;
        Some(run)
    }

    /// The last node that begins before `address`.
    fn before(&self, address: u64) -> Option<(u64, Run)> {
        let found = match self.runs.cursor_lower_bound(&address) {
            Some(cursor) => cursor.peek_prev().map(|(key, run)| (*key, *run)),
            None => self.runs.cursor_back().map(|cursor| {
                let (key, run) = cursor.current();
                (*key, *run)
            }),
        };
        found
    }

    /// The first node that begins at or behind `address`.
    fn from(&self, address: u64) -> Option<(u64, Run)> {
        let cursor = self.runs.cursor_lower_bound(&address)?;
        let (key, run) = cursor.current();
        Some((*key, *run))
    }

    /// The node that has the page at `address`.
    pub(crate) fn find(&self, address: u64) -> Option<Extent> {
        let (key, run) = self.before(address + 1)?;
        (address < key + run.pages * PAGE).then(|| run.extent_at(key))
    }

    /// Forgets the pages from `start` to `end`. Returns whether there were any; `lost` gets the
    /// version that stores them and how many, for every node. `ENOMEM` leaves the tree valid, with
    /// fewer pages than before. May sleep.
    pub(crate) fn clear(
        &mut self,
        start: u64,
        end: u64,
        lost: &mut impl FnMut(u64, u64) -> Result,
    ) -> Result<bool> {
        let mut found = false;
        if let Some((address, run)) = self.before(start) {
            if address + run.pages * PAGE > start {
                found = true;
                self.clear_in(address, run, start, end, lost)?;
            }
        }
        while let Some((address, run)) = self.from(start).filter(|(address, _)| *address < end) {
            found = true;
            self.clear_in(address, run, start, end, lost)?;
        }
        Ok(found)
    }

    /// Forgets what of the node `run` at `address` lies from `start` to `end`.
    fn clear_in(
        &mut self,
        address: u64,
        run: Run,
        start: u64,
        end: u64,
        lost: &mut impl FnMut(u64, u64) -> Result,
    ) -> Result {
        let before = self.pages;
        // What stays in front keeps its node.
        match self.runs.get_mut(&address).filter(|_| address < start) {
            Some(front) => {
                front.pages = (start - address) / PAGE;
                self.pages -= run.pages - front.pages;
            }
            None => {
                self.remove(address);
            }
        }
        self.insert_part(address, run, end, u64::MAX)?;
        lost(run.version, before - self.pages)
    }

    /// Inserts what of the node `run` at `address` lies from `start` to `end`.
    fn insert_part(&mut self, address: u64, run: Run, start: u64, end: u64) -> Result {
        let start = start.max(address);
        let end = end.min(address + run.pages * PAGE);
        if start >= end {
            return Ok(());
        }
        self.insert(
            start,
            Run {
                pages: (end - start) / PAGE,
                version: run.version,
                offset: run.offset + (start - address) / PAGE,
            },
        )
    }

    /// [`ControlTree::set`] where one node has all of the pages and no other is to be joined: most
    /// pages that are written have been stored before. The node as it was; `None`: that is not so, and nothing is done.
    fn set_in_one(&mut self, address: u64, run: &Run) -> Result<Option<Run>> {
        let end = address + run.pages * PAGE;
        let found = match self.runs.cursor_lower_bound_mut(&address) {
            Some(cursor) if *cursor.current().0 == address => Some(cursor),
            Some(cursor) => cursor.move_prev(),
            None => self.runs.cursor_back_mut(),
        };
        let Some(mut cursor) = found else {
            return Ok(None);
        };
        let (&key, &mut node) = cursor.current_mut();
        let node_end = key + node.pages * PAGE;
        let before = cursor.peek_prev().filter(|_| key == address);
        let next = cursor.peek_next().filter(|_| node_end == end);
        if node_end < end
            || node.version == run.version
            || before.is_some_and(|(key, before)| follows(*key, before, address, run))
            || next.is_some_and(|(key, next)| follows(address, run, *key, next))
        {
            return Ok(None);
        }
        let front = (address - key) / PAGE;
        if front == 0 {
            *cursor.current_mut().1 = *run;
            self.pages -= node.pages - run.pages;
        } else {
            cursor.current_mut().1.pages = front;
            self.pages -= node.pages - front;
            self.insert(address, *run)?;
        }
        self.insert_part(key, node, end, u64::MAX)?;
        Ok(Some(node))
    }

    /// Says that the pages of `extent` lie where it says. `lost` and `ENOMEM` as for
    /// [`ControlTree::clear`].
    pub(crate) fn set(
        &mut self,
        extent: &Extent,
        lost: &mut impl FnMut(u64, u64) -> Result,
    ) -> Result {
        let end = extent.end().ok_or(EINVAL)?;
        let mut address = extent.address;
        let mut run = Run {
            pages: extent.pages,
            version: extent.version,
            offset: extent.offset,
        };
        if let Some(node) = self.set_in_one(address, &run)? {
            return lost(node.version, run.pages);
        }
        self.clear(address, end, lost)?;
        if let Some((key, before)) = self.before(address) {
            if follows(key, &before, address, &run) {
                self.remove(key);
                address = key;
                run.pages += before.pages;
                run.offset = before.offset;
            }
        }
        if let Some((key, next)) = self.from(address) {
            if follows(address, &run, key, &next) {
                self.remove(key);
                run.pages += next.pages;
            }
        }
        self.insert(address, run)
    }
}

/// Whether the pages of `second` follow those of `first`, in memory and in the file.
fn follows(first_at: u64, first: &Run, second_at: u64, second: &Run) -> bool {
    first_at + first.pages * PAGE == second_at
        && first.version == second.version
        && first.offset + first.pages == second.offset
}
