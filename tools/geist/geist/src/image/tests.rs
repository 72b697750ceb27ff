// SPDX-License-Identifier: GPL-2.0

//! A damaged version is never taken for a good one.

use super::common::{Made, HEAP, PID};
use super::made_chain::increments;
use super::{check, summary, Chain, Needs};
use crate::output::Progress;
use crate::store::{App, State, Store};
use geist_image::task::Process;
use geist_image::task_mm::INDEX_ENTRIES;
use geist_image::{FileKind, PAGE_SIZE};
use std::fs;
use std::path::{Path, PathBuf};

/// A store with one version.
fn store(made: impl FnOnce(&Path) -> Made) -> (tempfile::TempDir, App, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = made(temporary.path()).write(temporary.path());
    let app = Store::open(temporary.path()).unwrap().app(PID).unwrap();
    (temporary, app, dir)
}

/// The files of the version.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 6);
    files
}

#[test]
fn good() {
    let (_temporary, app, _) = store(|dir| Made::new(dir, 1));
    let image = check(&mut Chain::new(&app), 1).unwrap();
    assert_eq!(image.processes[0].pages(1).len(), 4);
    assert_eq!(image.processes[0].extents.len(), 3);
    assert_eq!(image.summary.command(), "dreamy");
    assert_eq!(image.summary.text, "before the long run");
    assert!(matches!(app.state(1), State::Good(_)));
}

#[test]
fn whole_blocks() {
    for pages in [
        0,
        1,
        INDEX_ENTRIES - 1,
        INDEX_ENTRIES,
        INDEX_ENTRIES + 1,
        700,
    ] {
        let (_temporary, app, _) = store(|dir| {
            let mut made = Made::new(dir, 1);
            let addresses = (0..pages as u64).map(|n| (super::common::HEAP + n * 4096, 3));
            made.pages = addresses.collect();
            made.heap_pages = 1000;
            made
        });
        assert_eq!(
            check(&mut Chain::new(&app), 1).unwrap().processes[0]
                .pages(1)
                .len(),
            pages
        );
    }
}

/// Every byte of a file, but only every seventh behind the first index of a large one.
fn places(file: &[u8]) -> impl DoubleEndedIterator<Item = usize> {
    (0..file.len()).filter(|place| *place < 2 * PAGE_SIZE || place % 7 == 0)
}

#[test]
fn truncated_anywhere() {
    let (_temporary, app, dir) = store(|dir| Made::new(dir, 1));
    let mut count = 0;
    for path in files(&dir) {
        let whole = fs::read(&path).unwrap();
        // From the end, so that the file only has to be made shorter.
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        for length in places(&whole).rev() {
            file.set_len(length as u64).unwrap();
            let damages = check(&mut Chain::new(&app), 1)
                .expect_err(&format!("{path:?} with {length} bytes"));
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(
                damages.iter().any(|damage| damage.file == name),
                "{damages:?}"
            );
            count += 1;
        }
        fs::write(&path, whole).unwrap();
    }
    check(&mut Chain::new(&app), 1).unwrap();
    assert!(count > 12_000, "{count}");
}

#[test]
fn a_bit_flipped_anywhere() {
    use std::os::unix::fs::FileExt as _;
    let (_temporary, app, dir) = store(|dir| Made::new(dir, 1));
    let mut count = 0;
    for path in files(&dir) {
        let whole = fs::read(&path).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        for place in places(&whole) {
            let byte = whole[place];
            let flipped = byte ^ (1 << (place * 5 % 8));
            file.write_all_at(&[flipped], place as u64).unwrap();
            assert!(
                check(&mut Chain::new(&app), 1).is_err(),
                "{path:?}: byte {place}"
            );
            file.write_all_at(&[byte], place as u64).unwrap();
            count += 1;
        }
    }
    check(&mut Chain::new(&app), 1).unwrap();
    assert!(count > 12_000, "{count}");
}

#[test]
fn bytes_behind_the_end() {
    let (_temporary, app, dir) = store(|dir| Made::new(dir, 1));
    for path in files(&dir) {
        let whole = fs::read(&path).unwrap();
        for tail in [&b"\0"[..], &[0; 16], &[0; 4096]] {
            fs::write(&path, [&whole, tail].concat()).unwrap();
            assert!(check(&mut Chain::new(&app), 1).is_err(), "{path:?}");
        }
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn every_file_is_missed() {
    let (_temporary, app, dir) = store(|dir| Made::new(dir, 1));
    for path in files(&dir) {
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(check(&mut Chain::new(&app), 1).is_err() && summary(&app, 1).is_err());
        fs::write(&path, whole).unwrap();
    }
    check(&mut Chain::new(&app), 1).unwrap();
}

#[test]
fn files_of_another_version() {
    let (temporary, app, dir) = store(|dir| Made::new(dir, 1));
    Made::new(temporary.path(), 2).write(temporary.path());
    for path in files_of(&dir, "_v1.") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let whole = fs::read(&path).unwrap();
        fs::copy(dir.join(name.replace("_v1.", "_v2.")), &path).unwrap();
        assert!(check(&mut Chain::new(&app), 1).is_err(), "{name}");
        fs::write(&path, whole).unwrap();
    }
    check(&mut Chain::new(&app), 1).unwrap();
    check(&mut Chain::new(&app), 2).unwrap();
}

fn files_of(dir: &Path, part: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|p| p.to_str().unwrap().contains(part))
        .collect()
}

#[test]
fn what_does_not_fit_together() {
    let (_temporary, app, _) = store(|dir| {
        let mut made = Made::new(dir, 1);
        // A page where no mapping is.
        made.pages.insert(0, (0x1000, 3));
        made
    });
    let damages = check(&mut Chain::new(&app), 1).unwrap_err();
    assert!(damages[0]
        .why
        .contains("no mapping has the stored page at 0x1000"));

    let changes: [fn(&mut Process); 5] = [
        |process| process.threads = 2,
        |process| process.flags = 1 << 31,
        |process| process.dumpable = 77,
        |process| process.oom_score_adj = -1001,
        |process| process.reserved = 1,
    ];
    for change in changes {
        let (_temporary, app, _) = store(|dir| {
            let mut made = Made::new(dir, 1);
            made.process = change;
            made
        });
        assert!(check(&mut Chain::new(&app), 1).is_err());
    }
}

#[test]
fn increments_are_resolved() {
    let (temporary, app, dir) = store(|dir| Made::new(dir, 1));
    increments(temporary.path());
    let mut chain = Chain::new(&app);
    let image = check(&mut chain, 3).unwrap();
    let rows: Vec<_> = image.processes[0]
        .extents
        .iter()
        .map(|e| (e.address, e.pages, e.version, e.offset))
        .collect();
    let stack = super::common::STACK;
    assert_eq!(
        rows,
        [(HEAP, 1, 1, 0), (HEAP + 4096, 2, 2, 0), (stack, 1, 1, 3)]
    );
    assert_eq!(image.summary.kind(), "increment");
    let mut progress = Progress::count("", 1);
    let needs = Needs::of(&app, &[3], &mut progress).unwrap();
    for (name, needed) in [
        ("control_4194000_v1.bin", Some(false)),
        ("task_mm_4194000_v2.bin", Some(false)),
        ("task_mm_4194000_v3.bin", Some(true)),
        ("global_v3.bin", Some(true)),
        ("global_v2.bin", None),
        ("task_4194000_v2.bin", None),
    ] {
        assert_eq!(needs.get(name).map(|needed| needed.own), needed, "{name}");
    }

    // What an increment needs is checked with it, and not lost by cleaning up.
    for name in files_of(&dir, "_v1.").iter().chain(&files_of(&dir, "_v2.")) {
        let whole = fs::read(name).unwrap();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        fs::write(name, changed).unwrap();
        let needed = ["task_mm_", "control_"].iter().any(|part| {
            name.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(part)
        });
        assert_eq!(check(&mut Chain::new(&app), 3).is_err(), needed, "{name:?}");
        fs::write(name, whole).unwrap();
    }
    fs::remove_file(dir.join("global_v2.bin")).unwrap();
    // Of a dropped version only what the third one needs stays.
    assert_eq!(app.clean(&app).unwrap(), [2]);
    assert!(app.clean(&app).unwrap().is_empty());
    assert_eq!(files_of(&dir, "_v2.").len(), 2);
    check(&mut Chain::new(&app), 3).unwrap();
    fs::remove_file(dir.join("global_v3.bin")).unwrap();
    assert_eq!(app.clean(&app).unwrap(), [2, 3]);
}

/// Forged files with right checksums: whatever they say, reading and showing them ends, and ends
/// well or with a reason.
#[test]
fn forged_bodies() {
    let mut random = Random(0x6765_6973_7421);
    let mut accepted = 0;
    for round in 0..2000u32 {
        let kinds = [
            FileKind::Task,
            FileKind::Control,
            FileKind::Global,
            FileKind::Node,
        ];
        let kind = kinds[round as usize % 4];
        let places: Vec<(usize, u8, bool)> = (0..1 + random.below(3))
            .map(|_| {
                let byte = [0, 1, 0x7f, 0x80, 0xff, random.below(256) as u8][random.below(6)];
                (random.below(1 << 20), byte, random.below(4) == 0)
            })
            .collect();
        let (_temporary, app, _) = store(|dir| {
            let mut made = Made::new(dir, 1);
            made.forge = Box::new(move |of, mut body| {
                for (place, byte, word) in places.iter().filter(|_| of == kind) {
                    // Whole words now and then: lengths and addresses that are far off.
                    let place = place % body.len();
                    let end = if *word {
                        (place + 8).min(body.len())
                    } else {
                        place + 1
                    };
                    body[place..end].fill(*byte);
                }
                body
            });
            made
        });
        if let Ok(image) = check(&mut Chain::new(&app), 1) {
            accepted += 1;
            for process in &image.processes {
                crate::restart::check::problems(&process.task, Default::default());
            }
        }
    }
    // Most bytes of a process may have any value.
    assert!(accepted > 200, "{accepted}");
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
