// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/geist`: the knobs (see `Documentation/ABI/testing/sysfs-kernel-geist`).

use crate::knobs::{Knob, KNOBS};
use crate::sys::sysfs::{may_log, number, Content, File, Folder, WRITABLE};
use crate::uapi;
use core::fmt::Write;
use kernel::{prelude::*, sync::Arc};

/// What the durabilities are called.
const DURABILITIES: [(u32, &str); 2] = [
    (uapi::DURABILITY_NONE, "none"),
    (uapi::DURABILITY_DATA, "data"),
];

/// What `/sys/kernel/geist` shows.
pub(crate) struct Knobs;

/// The folder, until that is dropped.
pub(crate) fn open() -> Result<Folder<Knobs>> {
    Folder::below_kernel(c"geist", Arc::new(Knobs, GFP_KERNEL)?)
}

macro_rules! knob {
    ($name:literal, $knob:ident) => {
        File {
            name: $name,
            mode: WRITABLE,
            show: |_, page| write!(page, "{}", KNOBS.$knob.get()),
            store: |_, text| set(&KNOBS.$knob, $name, text),
        }
    };
}

impl Content for Knobs {
    const FILES: &'static [File<Self>] = &[
        knob!(c"interval_ms", interval_ms),
        knob!(c"keep", keep),
        File {
            name: c"durability",
            mode: WRITABLE,
            show: |_, page| page.write_str(durability()),
            store: |_, text| set_durability(text),
        },
        knob!(c"full_every", full_every),
        knob!(c"seed_layout_rule", seed_layout_rule),
        knob!(c"memory_limit", memory_limit),
        knob!(c"paranoid", paranoid),
    ];
}

fn set(knob: &Knob, name: &CStr, text: &str) -> Result {
    let set = number(text).and_then(|value| knob.set(value));
    if set.is_err() && may_log() {
        pr_warn!(
            "{} takes a number from {} to {}, nothing else\n",
            name.to_str().unwrap_or("?"),
            knob.allowed().start(),
            knob.allowed().end(),
        );
    }
    set
}

fn durability() -> &'static str {
    let known = DURABILITIES
        .iter()
        .find(|(durability, _)| u64::from(*durability) == KNOBS.durability.get());
    known.map_or("?", |(_, name)| name)
}

fn set_durability(text: &str) -> Result {
    match DURABILITIES.iter().find(|(_, name)| *name == text) {
        Some((durability, _)) => KNOBS.durability.set(u64::from(*durability)),
        None => {
            if may_log() {
                pr_warn!("durability takes none or data, nothing else\n");
            }
            Err(EINVAL)
        }
    }
}
