// SPDX-License-Identifier: GPL-2.0

//! The Rust definitions of the ioctl interface against the C header: the compiler is asked.

use geist_image::uapi::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Expressions in C and their values in Rust.
fn expected() -> BTreeMap<String, u64> {
    let mut expected = BTreeMap::new();
    let mut add = |expression: String, value: u64| {
        assert!(expected.insert(expression, value).is_none());
    };
    macro_rules! structure {
        ($c:literal, $rust:ty, $v1:expr, [$($field:ident),* $(,)?]) => {
            add(format!("sizeof(struct {})", $c), size_of::<$rust>() as u64);
            assert!($v1 <= size_of::<$rust>(), "{} is smaller than it was", $c);
            let mut sum = 0;
            $(
                let c = stringify!($field);
                add(format!("offsetof(struct {}, {c})", $c), offset_of!($rust, $field) as u64);
                add(
                    format!("sizeof(((struct {} *)0)->{c})", $c),
                    field_size(|value: &$rust| &value.$field) as u64,
                );
                sum += field_size(|value: &$rust| &value.$field);
            )*
            assert_eq!(sum, size_of::<$rust>(), "{}: a field is not compared", $c);
        };
    }
    structure!(
        "geist_info",
        Info,
        size_v1::INFO,
        [size, abi_version, format_version, applications]
    );
    structure!(
        "geist_checkpoint",
        Checkpoint,
        size_v1::CHECKPOINT,
        [
            size,
            flags,
            pid,
            dir_fd,
            app,
            signal,
            version,
            durability,
            timeout_ms,
            description,
            description_len,
            message_len,
            message,
            pages,
            bytes,
            control_bytes,
            pause_us,
            capture_us,
            write_us,
            commit_us,
            total_us,
            parent,
            left_out,
            reserved,
        ]
    );
    structure!("geist_restart_file", RestartFile, 8, [object, fd]);
    structure!(
        "geist_restart_prepare",
        RestartPrepare,
        size_v1::RESTART_PREPARE,
        [
            size,
            dir_fd,
            app,
            message_len,
            version,
            message,
            files,
            file_count,
            flags
        ]
    );
    structure!(
        "geist_restart_join",
        RestartJoin,
        size_v1::RESTART_JOIN,
        [size, pid, message_len, reserved, message]
    );
    structure!(
        "geist_restart_finish",
        RestartFinish,
        size_v1::RESTART_FINISH,
        [size, message_len, message, pages, reserved]
    );
    structure!(
        "geist_watch_file",
        WatchFile,
        24,
        [version, needed_by, flags, reserved]
    );
    structure!(
        "geist_watch",
        Watch,
        size_v1::WATCH,
        [
            size,
            flags,
            pid,
            dir_fd,
            app,
            durability,
            version,
            interval_us,
            keep,
            full_every,
            timeout_ms,
            file_count,
            files,
            description,
            description_len,
            message_len,
            message,
        ]
    );
    structure!(
        "geist_unwatch",
        Unwatch,
        size_v1::UNWATCH,
        [
            size,
            pid,
            message,
            message_len,
            app,
            versions,
            skipped,
            errors,
            last_version,
        ]
    );
    add("GEIST_INTERVAL_MAX_US".to_owned(), INTERVAL_MAX_US);
    for (name, value) in [
        ("GEIST_ABI_VERSION", ABI_VERSION),
        ("GEIST_DESCRIPTION_MAX", DESCRIPTION_MAX as u32),
        ("GEIST_CHECKPOINT_KILL", CHECKPOINT_KILL),
        ("GEIST_CHECKPOINT_STOP", CHECKPOINT_STOP),
        (
            "GEIST_CHECKPOINT_IGNORE_UNSUPPORTED_FILES",
            CHECKPOINT_IGNORE_UNSUPPORTED_FILES,
        ),
        ("GEIST_CHECKPOINT_FULL", CHECKPOINT_FULL),
        ("GEIST_RESTART_STOPPED", RESTART_STOPPED),
        ("GEIST_DURABILITY_NONE", DURABILITY_NONE),
        ("GEIST_DURABILITY_DATA", DURABILITY_DATA),
        ("GEIST_IOC_MAGIC", IOC_MAGIC),
        ("GEIST_IOC_INFO", IOC_INFO),
        ("GEIST_IOC_CHECKPOINT", IOC_CHECKPOINT),
        ("GEIST_IOC_RESTART_PREPARE", IOC_RESTART_PREPARE),
        ("GEIST_IOC_RESTART_JOIN", IOC_RESTART_JOIN),
        ("GEIST_IOC_RESTART_FINISH", IOC_RESTART_FINISH),
        ("GEIST_IOC_WATCH", IOC_WATCH),
        ("GEIST_IOC_UNWATCH", IOC_UNWATCH),
        ("GEIST_DEFAULT", DEFAULT),
        ("GEIST_WATCH_FILE_COMMITTED", WATCH_FILE_COMMITTED),
        ("GEIST_WATCH_CHANGE", WATCH_CHANGE),
        ("GEIST_INTERVAL_MIN_US", INTERVAL_MIN_US as u32),
        ("GEIST_WATCH_FILES_MAX", WATCH_FILES_MAX),
    ] {
        add(name.to_owned(), value.into());
    }
    expected
}

/// Size of the field that a function borrows.
fn field_size<S, F>(_: impl Fn(&S) -> &F) -> usize {
    size_of::<F>()
}

fn header_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../include/uapi")
}

/// Compiles `source` as a file `name`; returns the program.
fn compile(cc: &str, dir: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let source_path = dir.join(name);
    std::fs::write(&source_path, source).unwrap();
    let program = dir.join(name).with_extension("out");
    let output = Command::new(cc)
        .args(flags)
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(header_folder())
        .arg(&source_path)
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap_or_else(|error| panic!("{cc} is needed for this test: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    program
}

/// What C says the expressions are.
fn in_c(expressions: impl Iterator<Item = String>, header: &str) -> BTreeMap<String, u64> {
    let dir = std::env::temp_dir().join(format!(
        "geist-uapi-{}-{}",
        std::process::id(),
        header.len()
    ));
    std::fs::create_dir_all(&dir).unwrap();
    let mut source =
        format!("{header}\n#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{{\n");
    for expression in expressions {
        writeln!(
            source,
            "printf(\"%s=%llu\\n\", \"{expression}\", (unsigned long long)({expression}));"
        )
        .unwrap();
    }
    source.push_str("return 0;\n}\n");
    let program = compile("cc", &dir, "values.c", &source, &["-std=c11"]);
    let output = Command::new(program).output().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let pairs = text.lines().map(|line| line.rsplit_once('=').unwrap());
    pairs
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

const HEADER: &str = "#include <linux/geist.h>";

#[test]
fn same_in_c_and_rust() {
    let expected = expected();
    assert!(expected.len() > 100);
    assert_eq!(in_c(expected.keys().cloned(), HEADER), expected);
}

#[test]
fn a_difference_is_found() {
    let header = std::fs::read_to_string(header_folder().join("linux/geist.h")).unwrap();
    let changed = header.replace("\t__u32 timeout_ms;\n", "\t__u64 timeout_ms;\n");
    assert_ne!(changed, header);
    let expected = expected();
    assert_ne!(in_c(expected.keys().cloned(), &changed), expected);
}

#[test]
fn every_structure_of_the_header_is_compared() {
    let header = std::fs::read_to_string(header_folder().join("linux/geist.h")).unwrap();
    let expected = expected();
    for line in header.lines() {
        if let Some(name) = line
            .strip_prefix("struct ")
            .and_then(|l| l.strip_suffix(" {"))
        {
            assert!(
                expected.contains_key(&format!("sizeof(struct {name})")),
                "{name}"
            );
        }
        let define = line
            .strip_prefix("#define ")
            .and_then(|l| l.split_whitespace().next());
        if let Some(name) = define.filter(|name| *name != "_UAPI_LINUX_GEIST_H") {
            assert!(expected.contains_key(name), "{name}");
        }
    }
}

#[test]
fn the_header_alone_compiles_without_warnings() {
    let dir = std::env::temp_dir().join(format!("geist-uapi-alone-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    // Either will do; a userland for kernel modules may have clang alone.
    let is_there = |cc: &&str| Command::new(cc).arg("--version").output().is_ok();
    let cpp = ["c++", "clang++"].into_iter().find(is_there);
    let cpp = cpp.expect("a C++ compiler is needed for this test");
    for (name, flags) in [
        ("c99.c", &["-std=c99", "-fsyntax-only"][..]),
        ("c17.c", &["-std=c17", "-fsyntax-only"]),
        ("cpp17.cpp", &["-std=c++17", "-fsyntax-only"]),
    ] {
        let cc = if name.ends_with(".c") { "cc" } else { cpp };
        compile(cc, &dir, name, &format!("{HEADER}\n"), flags);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn numbers_do_not_encode_sizes() {
    for (call, number) in [IOC_INFO, IOC_CHECKPOINT].into_iter().enumerate() {
        assert_eq!(number, (IOC_MAGIC << 8) | call as u32);
    }
}
