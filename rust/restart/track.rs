// SPDX-License-Identifier: GPL-2.0

//! A restarted process is tracked from its first instruction on: its next version is an increment on
//! the one that it came from.

use super::image::ProcessImage;
use crate::app::{self, Base};
use crate::checkpoint;
use crate::error::Outcome;
use crate::image::mm::VmaKind;
use crate::image::PAGE_SIZE;
use crate::sys::file::Incarnation;
use crate::sys::mm::AddressSpace;
use crate::track::{ControlTree, Tracker};
use kernel::{prelude::*, sync::aref::ARef, task::Task};

/// The version that an image is of.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// Application ID.
    pub(super) app: u32,
    /// Version.
    pub(super) version: u64,
    /// Its `global` file.
    pub(super) global: Incarnation,
    /// Number of its files.
    pub(super) number: u64,
    /// Directory of the application: device and inode number.
    pub(super) directory: (u64, u64),
}

/// The stored pages of shared memory, ascending. Nobody took their fingerprints.
fn shared_pages(image: &ProcessImage) -> Result<KVVec<(u64, Option<u64>)>> {
    let mut pages = KVVec::new();
    let extents = image.pages.extents();
    for mapping in image.mappings.iter() {
        if mapping.kind != VmaKind::SharedMemory {
            continue;
        }
        let (start, end) = (mapping.vma.start, mapping.vma.end);
        let first = extents.partition_point(|one| one.end().is_some_and(|end| end <= start));
        for extent in extents.iter().skip(first) {
            if extent.address >= end {
                break;
            }
            let last = extent.end().unwrap_or(end).min(end);
            for address in (extent.address.max(start)..last).step_by(PAGE_SIZE) {
                pages.push((address, None), GFP_KERNEL)?;
            }
        }
    }
    Ok(pages)
}

/// Begins to track `task`, whose memory is that of `image` and which waits for its registers. May
/// sleep.
pub(super) fn track(image: &ProcessImage, task: &ARef<Task>, origin: Origin) -> Outcome {
    let space = AddressSpace::of(task)?;
    let tracker = Tracker::begin(&space)?;
    let layout = checkpoint::mark_clean(image.pid, &space, tracker.set())?;
    let mut tree = ControlTree::new();
    for extent in image.pages.extents() {
        tree.set(extent, &mut |_, _| Ok(()))?;
    }
    let base = Base {
        version: origin.version,
        global: Some(origin.global),
        // Nobody knows how it was written.
        durable: false,
        number: origin.number,
        tree,
        layout,
        shared: shared_pages(image)?,
        chain: KVVec::new(),
        ..Base::nothing()
    };
    app::adopt(task, origin.app, tracker, origin.directory, base)
}
