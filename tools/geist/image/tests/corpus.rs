// SPDX-License-Identifier: GPL-2.0

//! The kept corpus of the fuzzer (`tools/testing/fuzz`), judged as it judges.

#[path = "../../../testing/fuzz/src/judge.rs"]
mod judge;

use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing/fuzz/corpus")
}

#[test]
fn every_kept_input_is_judged() {
    let mut count = 0;
    for entry in std::fs::read_dir(corpus()).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let input = std::fs::read(&path).expect("an input");
        let judged = std::panic::catch_unwind(|| judge::judge(&input));
        assert!(judged.is_ok(), "{} breaks a promise", path.display());
        count += 1;
    }
    assert!(count > 50, "only {count} inputs are kept");
}

#[test]
fn real_files_are_accepted() {
    // Those of a version, so that what the fuzzer makes of them gets as far.
    for name in [
        "global",
        "node",
        "task",
        "control",
        "index",
        "name",
        "description",
    ] {
        let input = std::fs::read(corpus().join(format!("real-{name}"))).expect("a real file");
        assert!(judge::judge(&input), "{name} is refused");
    }
}
