// SPDX-License-Identifier: GPL-2.0

//! Versions that build on others.

use super::common::{Made, HEAP};
use geist_image::control::Extent;
use std::path::Path;

/// Makes a chain: a full version of four pages; an increment that has another content for one of
/// them, a new one, and no longer a third; an increment that changes nothing.
pub fn increments(dir: &Path) {
    Made::new(dir, 1).write(dir);
    let mut second = Made::new(dir, 2);
    second.parent = 1;
    second.salt = 5;
    second.pages = vec![(HEAP + 4096, 3), (HEAP + 2 * 4096, 3)];
    let gone = Extent {
        address: HEAP + 3 * 4096,
        pages: 1,
        version: 0,
        offset: 0,
    };
    second.gone = (vec![gone], 2);
    second.write(dir);
    let mut third = Made::new(dir, 3);
    third.parent = 2;
    third.pages.clear();
    third.gone.1 = 4;
    third.write(dir);
}
