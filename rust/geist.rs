// SPDX-License-Identifier: GPL-2.0

//! geist: incremental checkpoint and restart of running applications.

#![deny(unsafe_code)]
// A panic is a BUG() here: it kills a task, with the locks that it holds.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::unwrap_used
)]

use kernel::{miscdevice::MiscDeviceRegistration, prelude::*};
use sys::sysfs::Folder;

mod app;
mod checkpoint;
mod device;
mod error;
mod ghost;
#[allow(unreachable_pub, dead_code, unused_imports)]
// Shared with the tools, which need more of it.
mod image;
#[allow(dead_code)] // Until everything that reads them is there.
mod knobs;
mod kunit;
mod restart;
mod sys;
mod sysfs;
mod track;
#[allow(unreachable_pub, dead_code)] // As above.
mod uapi;

module! {
    type: Geist,
    name: "geist",
    authors: ["The geist founders"],
    description: "Incremental checkpoint and restart of running applications",
    license: "GPL",
}

/// The module while it is loaded. Its parts go in this order when it is unloaded.
#[pin_data]
struct Geist {
    #[pin]
    device: MiscDeviceRegistration<device::Device>,
    apps: app::Apps,
    works: sys::park::Works,
    folder: Folder<sysfs::Knobs>,
}

impl kernel::InPlaceModule for Geist {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: {
                sys::symbols::resolve()?;
                sys::watch::init();
                knobs::KNOBS.init()?;
                restart::generation::renew();
            },
            folder: sysfs::open()?,
            apps: app::Apps::init(folder)?,
            device <- MiscDeviceRegistration::register(device::OPTIONS),
            works: sys::park::Works,
        })
    }
}
