// SPDX-License-Identifier: GPL-2.0

//! libFuzzer's door to [`judge`].

#![no_main]

mod judge;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    judge::judge(input);
});
