// SPDX-License-Identifier: GPL-2.0

//! Restart: an image becomes processes again.
//!
//! What an ordinary system call can do, the client's skeleton process has done before it joins.
//! Here the rest is done, one file a kind of state: memory, registers, interrupted system calls,
//! what the kernel keeps for libc.
//!
//! ```text
//! client                               skeleton
//!   prepare: read and check the image
//!                                        join: give up rseq, queue the work
//!   finish: wait ...                     work: empty the memory, rebuild it, ready; wait ...
//!           set the registers
//!           release               --->   timers, signal mask; into the program
//! ```

mod call;
mod check;
pub(crate) mod generation;
mod image;
mod kinds;
mod memory;
mod pages;
mod prepare;
mod registers;
mod scratch;
mod session;
mod space;
mod thread;
mod track;
mod verify;
mod work;

pub(crate) use prepare::prepare;
pub(crate) use session::Session;

use crate::error::{fail, Outcome};
use crate::sys::file::OpenFile;
use crate::sys::restart_task;
use core::sync::atomic::Ordering;
use kernel::{alloc::Allocator, prelude::*};

/// Adds `value` to a list that is ascending by `key`. Returns whether it was added: not when one with
/// the same key is in it.
fn insert_sorted<T, K: Ord, A: Allocator>(
    list: &mut Vec<T, A>,
    value: T,
    key: impl Fn(&T) -> K,
) -> Outcome<bool> {
    let wanted = key(&value);
    // Mostly it belongs at the end.
    let place = match list.last() {
        Some(last) if key(last) >= wanted => list.binary_search_by(|one| key(one).cmp(&wanted)),
        _ => Err(list.len()),
    };
    let Err(place) = place else {
        return Ok(false);
    };
    list.push(value, GFP_KERNEL)?;
    if let Some(behind) = list.get_mut(place..) {
        behind.rotate_right(1);
    }
    Ok(true)
}

/// A process of the image, as the one that is restarted sees it.
struct Member<'a> {
    image: &'a image::ProcessImage,
    restart: &'a session::Restart,
}

impl Member<'_> {
    /// The file that the client handed in for an object of the image.
    fn file(&self, object: u32) -> Option<&OpenFile> {
        self.restart.file(object)
    }

    /// Fails when the restart was given up or the process is being killed.
    fn proceed(&self) -> Outcome {
        if restart_task::is_dying() {
            fail!(EINTR, "it was killed while it was restarted");
        }
        if self.restart.given_up.load(Ordering::Relaxed) {
            fail!(ECANCELED, "the restart was given up");
        }
        Ok(())
    }
}
