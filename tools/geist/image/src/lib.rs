// SPDX-License-Identifier: GPL-2.0

//! The file formats and the ioctl interface of geist, compiled from the module's own sources.

#![no_std]

#[path = "../../../../rust/image/mod.rs"]
mod image;
#[path = "../../../../rust/uapi.rs"]
pub mod uapi;

pub use image::*;
