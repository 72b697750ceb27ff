// SPDX-License-Identifier: GPL-2.0

//! The `description` file, the only one that is text:
//!
//! ```text
//! Date: 2026-11-23 07:06:19 UTC
//! Version: 3
//! Description: before the long run
//! Left out: fd 5: a TCP socket
//! ```
//!
//! The user's text may have several lines. A line `Left out` follows for every descriptor that was
//! left out; the `global` file has their number.

/// The text of the user in a description file of a version without `left_out` descriptors; empty
/// when the file is none.
pub fn text(file: &str, left_out: u32) -> &str {
    let text = match file.split_once("\nDescription: ") {
        Some((_, text)) => text,
        None => "",
    };
    let mut text = text.strip_suffix('\n').unwrap_or(text);
    for _ in 0..left_out {
        match text.rsplit_once('\n') {
            Some((rest, _)) => text = rest,
            None => return "",
        }
    }
    text
}
