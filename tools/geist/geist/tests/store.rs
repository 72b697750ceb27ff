// SPDX-License-Identifier: GPL-2.0

//! `gc`, `consolidate` and `diff`, called as users call them, on a chain that was made for it.

#[path = "common/chain.rs"]
mod chain;
mod common;

use chain::increments;
use common::{Made, HEAP, PID, STACK};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A store with a chain: a full version of four pages; a second version that has another content for
/// one of them, a new one of zeros, and no longer a third; a third version that changes nothing; a
/// fourth, full one.
struct Chain(tempfile::TempDir);

impl Chain {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        increments(dir.path());
        Made::new(dir.path(), 4).write(dir.path());
        Self(dir)
    }

    fn app(&self) -> PathBuf {
        self.0.path().join(PID.to_string())
    }

    /// Calls a command with `APP` or `APP@VERSION` where `%` stands.
    fn call(&self, arguments: &str) -> Called {
        let arguments = arguments.replace('%', &PID.to_string());
        let output = Command::new(env!("CARGO_BIN_EXE_geist"))
            .arg("--store")
            .arg(self.0.path())
            .args(arguments.split_whitespace())
            .output();
        Called(output.unwrap())
    }

    fn json(&self, arguments: &str) -> Value {
        self.call(arguments).says(0, "").json()
    }

    /// Versions that are listed.
    fn listed(&self) -> Vec<u64> {
        let rows = self.json("list --json");
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row["version"].as_u64().unwrap()).collect()
    }

    fn files(&self) -> Vec<String> {
        names(&self.app())
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

struct Called(Output);

impl Called {
    fn text(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&self.0.stdout) + &text(&self.0.stderr)
    }

    #[track_caller]
    fn says(self, code: i32, words: &str) -> Self {
        assert_eq!(self.0.status.code(), Some(code), "{}", self.text());
        assert!(self.text().contains(words), "{}", self.text());
        self
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.0.stdout).unwrap()
    }
}

#[test]
fn gc() {
    let chain = Chain::new();
    let all = chain.files();
    chain
        .call("gc % --versions 1-2")
        .says(1, "say --yes to drop versions 1, 2 of application");
    chain
        .call("gc % --versions 1-2 --dry-run")
        .says(0, "would be dropped; version 3 needs its pages");
    chain
        .call("gc % --versions 7")
        .says(1, "has no version 7; `geist list`");
    chain.call("gc % --versions 1-9 --yes").says(1, "`geist rm");
    chain.call("gc % --keep 2 --versions 1").says(2, "--keep");
    chain.call("gc % --keep 0").says(2, "a number from 1");
    assert_eq!(chain.files(), all);
    chain
        .call("gc %")
        .says(0, "nothing freed; 4 versions are kept");

    let done = chain.json("gc % --versions 1-2 --yes --json");
    assert_eq!(done["dropped"], serde_json::json!([1, 2]));
    assert_eq!(done["kept"], serde_json::json!([3, 4]));
    assert_eq!(done["freed_files"], 8);
    assert_eq!(done["numbers"][0]["needed_by"], 3);
    assert_eq!(chain.listed(), [3, 4]);
    chain.call("verify %").says(0, "version 3");
    chain
        .call("list --all")
        .says(0, "dropped; version 3 needs its pages");
    chain.call("show %@1").says(1, "has no version 1");

    // What was held for the third version goes with it.
    let done = chain.json("gc % --keep 1 --yes --json");
    assert_eq!(done["dropped"], serde_json::json!([3]));
    assert_eq!(done["held_bytes"], 0);
    assert_eq!(chain.files().len(), 6);
    chain.call("verify %").says(0, "version 4");
}

#[test]
fn gc_frees_what_belongs_to_nothing() {
    let chain = Chain::new();
    fs::remove_file(chain.app().join("global_v4.bin")).unwrap();
    fs::write(chain.app().join("global_v9.bin.new"), "x").unwrap();
    fs::write(chain.app().join("global_v5.bin"), "geist\r\n").unwrap();
    chain.call("list --all").says(
        0,
        "belongs to no version; the next checkpoint or `geist gc`",
    );
    let done = chain.json("gc % --json");
    assert_eq!(
        (&done["freed_files"], &done["dropped"]),
        (&7.into(), &serde_json::json!([]))
    );
    assert_eq!(chain.listed(), [1, 2, 3]);
}

#[test]
fn gc_touches_nothing_while_a_version_is_damaged() {
    let chain = Chain::new();
    let control = chain.app().join(format!("control_{PID}_v3.bin"));
    fs::write(&control, "").unwrap();
    let all = chain.files();
    let words = format!("version 3 of application {PID}: control_{PID}_v3.bin");
    chain.call("gc % --versions 1 --yes").says(1, &words);
    chain.call("gc % --keep 2 --yes").says(1, &words);
    assert_eq!(chain.files(), all);
    chain.call("gc % --versions 3 --yes").says(0, "dropped");
    assert_eq!(chain.listed(), [1, 2, 4]);

    // The newest is damaged, though it can say what it needs.
    fs::remove_file(chain.app().join(format!("task_mm_{PID}_v4.bin"))).unwrap();
    chain
        .call("gc % --keep 1 --yes")
        .says(1, "it would be kept, and good versions dropped");
    assert_eq!(chain.listed(), [1, 2, 4]);
}

#[test]
fn consolidate() {
    let chain = Chain::new();
    chain.call("consolidate %").says(1, "say which version");
    chain.call("consolidate %@9").says(1, "has no version 9");
    chain
        .call("consolidate %@1")
        .says(0, "needs no other version; nothing to do");
    let all = chain.files();
    let foreseen = chain.json("consolidate %@2 --dry-run --json");
    assert_eq!(chain.files(), all);
    let control = |version: u64| {
        let shown = chain.json(&format!("show %@{version} --control --json"));
        let rows = shown["processes"][0]["memory"]["control"]
            .as_array()
            .unwrap()
            .clone();
        let rows = rows
            .iter()
            .map(|row| row["virtual_address"].as_u64().unwrap());
        rows.collect::<Vec<u64>>()
    };
    let before = control(2);
    let done = chain.json("consolidate %@2 --json");
    for (key, value) in [("number", 5), ("pages", 4), ("freed_files", 3)] {
        assert_eq!(
            (&done[key], &foreseen[key]),
            (&value.into(), &value.into()),
            "{key}"
        );
    }
    assert_eq!(done["freed_bytes"], foreseen["freed_bytes"]);
    assert_eq!(control(2), before);
    chain.call("verify %").says(0, "version 2");
    chain
        .call("diff %@2 %@3 --exit-code")
        .says(0, "hold the same memory");
    assert_eq!(chain.listed(), [1, 2, 3, 4]);
    let rows = chain.json("list --all --json");
    assert_eq!(rows[1]["kind"], "full");
    assert_eq!(rows[1]["description"], "before the long run");
    assert_eq!(
        (&rows[2]["state"], &rows[2]["needed_by"]),
        (&"replaced".into(), &3.into())
    );
    chain.call("list --all").says(
        0,
        "its files before it was consolidated; version 3 needs their pages",
    );

    // Now nothing that is kept needs the first one.
    chain.json("gc % --versions 1,3,4 --yes --json");
    assert_eq!(chain.files().len(), 6);
    chain.call("verify %").says(0, "version 2");
    chain.call("rm %@2 --yes").says(0, "removed version 2");
    assert_eq!(chain.files().len(), 0);
}

#[test]
fn a_damaged_version_is_not_consolidated() {
    let chain = Chain::new();
    let path = chain.app().join(format!("task_mm_{PID}_v1.bin"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[9000] ^= 1;
    fs::write(path, bytes).unwrap();
    let all = chain.files();
    chain.call("consolidate %@3").says(
        1,
        &format!("task_mm_{PID}_v1.bin: the checksum of the page"),
    );
    assert_eq!(chain.files(), all);
}

#[test]
fn diff() {
    let chain = Chain::new();
    chain.call("diff % %@2").says(1, "say two versions");
    chain.call("diff %@1 7@2").says(1, "two applications");
    chain.call("diff %@1 %@9").says(1, "has no version 9");
    chain
        .call("diff %@1 %@4 --exit-code")
        .says(0, "hold the same memory");
    let found = chain.json("diff %@1 %@2 --pages --json");
    assert_eq!(found["same"], false);
    let heap = &found["mappings"][0];
    for (key, value) in [("changed", 1), ("new", 1), ("gone", 1)] {
        assert_eq!(
            (&found[key], &heap[key]),
            (&value.into(), &value.into()),
            "{key}"
        );
    }
    assert_eq!(
        (&heap["pages_from"], &heap["pages_to"]),
        (&3.into(), &3.into())
    );
    let ranges: Vec<(u64, &str)> = heap["pages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|range| {
            let start = range["start"].as_u64().unwrap();
            ((start - HEAP) / 4096, range["what"].as_str().unwrap())
        })
        .collect();
    assert_eq!(ranges, [(1, "changed"), (2, "new"), (3, "gone")]);
    chain
        .call("diff %@1 %@2 --exit-code")
        .says(5, "1 pages changed, 1 are new, 1 are gone");
    chain.call("diff %@1 %@2 --pages").says(0, "changed 5555");
}

/// A page of zeros is the same as none in memory that is zero by itself.
#[test]
fn diff_of_zeros() {
    let chain = Chain::new();
    let mut zeros = Made::new(chain.0.path(), 5);
    zeros.salt = u64::MAX;
    zeros.pages = vec![(HEAP, 3), (STACK, 3)];
    zeros.write(chain.0.path());
    let mut nothing = Made::new(chain.0.path(), 6);
    nothing.pages.clear();
    nothing.heap_pages = 10;
    nothing.write(chain.0.path());
    let found = chain.json("diff %@5 %@6 --json");
    assert_eq!(found["mappings"].as_array().unwrap().len(), 1);
    assert_eq!(found["mappings"][0]["mapping"], "came");
    for key in ["changed", "new", "gone"] {
        assert_eq!(found[key], 0, "{key}");
    }
    assert_eq!(chain.json("diff %@1 %@6 --json")["gone"], 4);
}
