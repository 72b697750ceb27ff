// SPDX-License-Identifier: GPL-2.0

//! The knob `paranoid`: every increment looks at all private pages, and compares them with what the
//! previous version holds. A difference that the capture did not see is a missed change.
//!
//! It changes nothing that the tracking goes by, so that it cannot hide what it looks for: a page in
//! swap stays there, and is compared when it is back.

use super::changes::Changes;
use super::mm::Plan;
use super::task_mm::ZERO_UNLESS_STORED;
use crate::error::{fail, Context, Failure, Outcome};
use crate::image::mm::vma_flags;
use crate::image::PAGE_SIZE;
use crate::sys::fingerprint::fingerprint;
use crate::sys::mm::{Locked, Mapping};
use crate::sys::mm_look::Look;

use crate::track::ControlTree;
use kernel::prelude::*;

/// Errno of a version that missed a change.
pub(crate) const MISSED: Error = EUCLEAN;

/// Most pages between two calls of [`Look::prepare`].
const AT_ONCE: usize = 512;

/// What a version holds of a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Content with this hash.
    Hash(u64),
    /// Nothing.
    Nothing,
    /// It was in swap whenever it was looked at.
    Unknown,
}

#[derive(Clone, Copy)]
struct Page {
    address: u64,
    content: Content,
}

/// What a version holds of the private pages, ascending by address.
pub(crate) struct Seen {
    pages: KVVec<Page>,
    /// Pages with [`ZERO_UNLESS_STORED`] that are zero have this hash.
    zero: u64,
    zero_unless_stored: bool,
}

impl Look for Seen {
    fn prepare(&mut self) -> Result {
        if self.pages.capacity() - self.pages.len() < AT_ONCE {
            let more = AT_ONCE.max(self.pages.capacity());
            self.pages.reserve(more, GFP_KERNEL)?;
        }
        Ok(())
    }

    fn page(&mut self, address: u64, content: Option<&[u8; PAGE_SIZE]>) {
        let content = match content.map(|bytes| fingerprint(bytes)) {
            Some(hash) if hash == self.zero && self.zero_unless_stored => Content::Nothing,
            Some(hash) => Content::Hash(hash),
            None => Content::Unknown,
        };
        // There is room.
        let _ = self.pages.push_within_capacity(Page { address, content });
    }
}

impl Seen {
    /// Looks at all private pages. May sleep.
    pub(super) fn look(
        pid: u32,
        locked: &Locked<'_>,
        mappings: &[Mapping<'_>],
        plans: &[Plan],
    ) -> Outcome<Self> {
        let mut seen = Self {
            pages: KVVec::new(),
            zero: fingerprint(&[0; PAGE_SIZE]),
            zero_unless_stored: false,
        };
        for (plan, mapping) in plans.iter().zip(mappings) {
            if !plan.is_private() || plan.vma.flags & vma_flags::DROPPABLE != 0 {
                continue;
            }
            seen.zero_unless_stored = plan.protection() & ZERO_UNLESS_STORED != 0;
            locked
                .look_at(mapping, &mut seen)
                .within(format_args!("pid {pid}: paranoid"))?;
        }
        Ok(seen)
    }

    /// What is known of the page at `address`, if anything.
    fn get(&self, address: u64) -> Option<Content> {
        let index = self
            .pages
            .binary_search_by_key(&address, |page| page.address)
            .ok()?;
        self.pages.get(index).map(|page| page.content)
    }

    /// Compares what was seen with what the previous version holds, and the increment `changes`.
    /// What is in swap keeps what was known of it.
    pub(super) fn compare(
        &mut self,
        pid: u32,
        old: &Seen,
        changes: &Changes,
        plans: &[Plan],
    ) -> Outcome {
        for index in 0..self.pages.len() {
            let Some(page) = self.pages.get_mut(index) else {
                break;
            };
            if changes.captured(page.address) {
                continue;
            }
            let held = match old.get(page.address) {
                Some(content) if !changes.gone(page.address) => content,
                _ => Content::Nothing,
            };
            match (held, page.content) {
                (_, Content::Unknown) => page.content = held,
                (Content::Unknown, _) => {}
                (held, now) if held == now => {}
                (Content::Nothing, _) => {
                    return Err(missed(pid, page.address, plans, "is not stored"))
                }
                _ => {
                    return Err(missed(
                        pid,
                        page.address,
                        plans,
                        "is stored as it was before",
                    ))
                }
            }
        }
        for page in old.pages.iter() {
            if matches!(page.content, Content::Hash(_))
                && self.get(page.address).is_none()
                && !changes.gone(page.address)
                && plans
                    .iter()
                    .any(|plan| (plan.vma.start..plan.vma.end).contains(&page.address))
            {
                return Err(missed(pid, page.address, plans, "is stored, but is gone"));
            }
        }
        Ok(())
    }

    /// Demands that the control tree has the pages that were seen, and no others but `shared` ones.
    pub(super) fn agrees<T>(&self, pid: u32, tree: &ControlTree, shared: &[(u64, T)]) -> Outcome {
        let mut wanted = self
            .pages
            .iter()
            .filter(|page| page.content != Content::Nothing)
            .peekable();
        let stored = tree.extents().flat_map(|extent| {
            (extent.address..)
                .step_by(PAGE_SIZE)
                .take(extent.pages as usize)
        });
        for address in stored {
            while let Some(page) = wanted.next_if(|page| page.address < address) {
                if page.content != Content::Unknown {
                    fail!(
                        MISSED,
                        "pid {pid}: paranoid: the page at {:#x} is missing in the control tree",
                        page.address
                    );
                }
            }
            let known = wanted.next_if(|page| page.address == address).is_some();
            if !known
                && shared
                    .binary_search_by_key(&address, |page| page.0)
                    .is_err()
            {
                fail!(
                    MISSED,
                    "pid {pid}: paranoid: the control tree has a page at {address:#x} that is not there"
                );
            }
        }
        match wanted.find(|page| page.content != Content::Unknown) {
            Some(page) => fail!(
                MISSED,
                "pid {pid}: paranoid: the page at {:#x} is missing in the control tree",
                page.address
            ),
            None => Ok(()),
        }
    }
}

/// The words for a missed change.
fn missed(pid: u32, address: u64, plans: &[Plan], how: &str) -> Failure {
    let vma = plans
        .iter()
        .map(|plan| &plan.vma)
        .find(|vma| (vma.start..vma.end).contains(&address));
    let (start, end) = vma.map_or((0, 0), |vma| (vma.start, vma.end));
    Failure::new(
        MISSED,
        format_args!(
            "pid {pid}: paranoid: the page at {address:#x} of the mapping at {start:#x}-{end:#x} changed unnoticed: it {how}"
        ),
    )
}
