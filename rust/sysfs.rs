// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/geist`: the knobs (see `Documentation/ABI/testing/sysfs-kernel-geist`).

use crate::knobs::{Knob, KNOBS};
use crate::restart::generation;
use crate::sys::sysfs::{may_log, number, Content, File, Folder, Page, READ_ONLY, WRITABLE};
use core::fmt::Write;
use kernel::{prelude::*, sync::Arc};

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

macro_rules! named {
    ($name:literal, $named:ident) => {
        File {
            name: $name,
            mode: WRITABLE,
            show: |_, page| $named.show(page),
            store: |_, text| $named.set($name, text),
        }
    };
}

impl Content for Knobs {
    const FILES: &'static [File<Self>] = &[
        knob!(c"interval_ms", interval_ms),
        knob!(c"keep", keep),
        named!(c"durability", DURABILITY),
        knob!(c"full_every", full_every),
        knob!(c"seed_layout_rule", seed_layout_rule),
        knob!(c"memory_limit", memory_limit),
        named!(c"memory_charge", CHARGE),
        knob!(c"paranoid", paranoid),
        named!(c"blind", BLIND),
        File {
            name: c"generation",
            mode: READ_ONLY,
            show: |_, page| write!(page, "{:016x}", generation::current()),
            store: File::refuse,
        },
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

/// A knob whose values have names, in the order of their numbers from 0.
struct Named {
    knob: &'static Knob,
    names: &'static [&'static str],
}

/// See `uapi::DURABILITY_NONE` and `uapi::DURABILITY_DATA`.
static DURABILITY: Named = Named {
    knob: &KNOBS.durability,
    names: &["none", "data"],
};

/// See `knobs::charge`.
static CHARGE: Named = Named {
    knob: &KNOBS.memory_charge,
    names: &["application", "system"],
};

/// See `knobs::Source`.
static BLIND: Named = Named {
    knob: &KNOBS.blind,
    names: &[
        "none",
        "writes",
        "absences",
        "clearings",
        "unmappings",
        "forks",
        "layouts",
        "userfaults",
    ],
};

impl Named {
    fn show(&self, page: &mut Page<'_>) -> core::fmt::Result {
        page.write_str(self.names.get(self.knob.get() as usize).unwrap_or(&"?"))
    }

    fn set(&self, name: &CStr, text: &str) -> Result {
        match (0..).zip(self.names).find(|(_, name)| **name == text) {
            Some((value, _)) => self.knob.set(value),
            None => {
                if may_log() {
                    let name = name.to_str().unwrap_or("?");
                    pr_warn!("{name} takes one of {:?}, nothing else\n", self.names);
                }
                Err(EINVAL)
            }
        }
    }
}
