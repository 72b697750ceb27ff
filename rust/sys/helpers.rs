// SPDX-License-Identifier: GPL-2.0

//! Declarations of the C helpers, generated from `c/geist_helpers.h`.

#![allow(
    clippy::all,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    dead_code
)]

use kernel::{bindings::*, ffi};

include!(env!("GEIST_HELPERS"));
