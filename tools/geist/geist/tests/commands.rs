// SPDX-License-Identifier: GPL-2.0

//! The client, called as users call it, on images that were made for it. No module is needed.

mod common;

use common::{Made, HEAP, PID};
use geist_image::FileKind;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{kill_process, pidfd_open, Pid, PidfdFlags, Signal};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// A store to call the client with.
struct Store(tempfile::TempDir);

impl Store {
    fn new(versions: &[u64]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for version in versions {
            Made::new(dir.path(), *version).write(dir.path());
        }
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn app(&self) -> std::path::PathBuf {
        self.path().join(PID.to_string())
    }

    fn call(&self, arguments: &[&str]) -> Called {
        let output = Command::new(env!("CARGO_BIN_EXE_geist"))
            .args([
                "--store",
                self.path().to_str().unwrap(),
                "--device",
                "/nonexistent",
            ])
            .args(arguments)
            .env("TZ", "UTC")
            .output()
            .unwrap();
        Called::new(output)
    }

    fn verify(&self) -> Called {
        self.call(&["verify", &PID.to_string()])
    }

    fn flip(&self, file: &str, place: usize) {
        let path = self.app().join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[place] ^= 4;
        fs::write(path, bytes).unwrap();
    }
}

struct Called {
    code: i32,
    out: String,
    err: String,
}

impl Called {
    fn new(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }

    #[track_caller]
    fn says(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(
            (self.out.clone() + &self.err).contains(words),
            "{}{}",
            self.out,
            self.err
        );
    }
}

#[test]
fn top() {
    let store = Store::new(&[]);
    let sysfs = store.path().join("sysfs");
    let sysfs = sysfs.to_str().unwrap();
    let top = |arguments: &[&str]| store.call(&[&["top", "--sysfs", sysfs], arguments].concat());
    top(&[]).says(1, "is the module loaded");
    fs::create_dir_all(Path::new(sysfs).join("apps")).unwrap();
    top(&[]).says(0, "0 applications");
    top(&["--once"]).says(0, "INTERVAL");
    let once = top(&["--once", "--json"]);
    assert_eq!(once.out.lines().count(), 1);
    assert_eq!(once.json()["applications"].as_array().unwrap().len(), 0);
    top(&["--delay", "0"]).says(2, "0.1 to 3600");
}

#[test]
fn list() {
    let store = Store::new(&[1, 2, 10]);
    fs::create_dir(store.path().join("99")).unwrap();
    fs::create_dir(store.path().join("lost+found")).unwrap();
    let listed = store.call(&["list"]);
    assert_eq!(listed.code, 0);
    let lines: Vec<Vec<&str>> = listed
        .out
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0][..4], ["APP", "VERSION", "KIND", "DATE"]);
    let versions: Vec<&str> = lines[1..].iter().map(|line| line[1]).collect();
    assert_eq!(versions, ["1", "2", "10"]);
    assert!(listed.out.contains("before the long run") && listed.out.contains("dreamy"));

    let json = store.call(&["list", "--json"]).json();
    assert_eq!(json[2]["version"], 10);
    assert_eq!(json[2]["pages"], 4);
    assert_eq!(json[2]["state"], "good");
    assert_eq!(json[2]["description"], "before the long run");
    assert_eq!(json[2]["left_out"], 1);
    let files = fs::read_dir(store.app())
        .unwrap()
        .map(|entry| entry.unwrap());
    let own = files.filter(|file| file.file_name().to_str().unwrap().contains("_v10."));
    let bytes: u64 = own.map(|file| file.metadata().unwrap().len()).sum();
    assert_eq!(json[2]["bytes"], bytes);
}

#[test]
fn list_tells_the_truth() {
    let store = Store::new(&[1, 2, 3, 4]);
    fs::remove_file(store.app().join("global_v2.bin")).unwrap();
    store.flip("global_v3.bin", 80);
    fs::remove_file(store.app().join(format!("task_mm_{PID}_v4.bin"))).unwrap();
    let states = |arguments: &[&str]| -> Vec<(u64, String)> {
        let json = store.call(arguments).json();
        let state = |row: &Value| {
            (
                row["version"].as_u64().unwrap(),
                row["state"].as_str().unwrap().to_owned(),
            )
        };
        json.as_array().unwrap().iter().map(state).collect()
    };
    let damaged = || "damaged".to_owned();
    let mut expected = vec![(1, "good".to_owned()), (3, damaged()), (4, damaged())];
    assert_eq!(states(&["list", "--json"]), expected);
    expected.insert(1, (2, "unknown".to_owned()));
    assert_eq!(states(&["list", "--all", "--json"]), expected);
    store
        .call(&["list"])
        .says(0, &format!("damaged: task_mm_{PID}_v4.bin: it is missing"));
}

#[test]
fn an_empty_store() {
    let store = Store::new(&[]);
    store.call(&["list"]).says(0, "holds no checkpoint");
    assert_eq!(
        store.call(&["list", "--json"]).json(),
        serde_json::json!([])
    );
    store
        .call(&["verify", "5"])
        .says(1, "holds no application 5");
    store
        .call(&["show", "5@1"])
        .says(1, "holds no application 5");
}

#[test]
fn a_missing_store() {
    let call = |store: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_geist"));
        Called::new(command.args(["--store", store, "list"]).output().unwrap())
    };
    call("/nonexistent/store").says(1, "the store /nonexistent/store does not exist");
    call("/dev/null").says(1, "the store /dev/null is no directory");
}

#[test]
fn show() {
    let store = Store::new(&[1]);
    let shown = store.call(&["show", &PID.to_string()]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    for part in [
        "before the long run",
        "asleep in a system call",
        "a TCP socket",
        "arena",
        "rw-p",
        "VMA_Count: 3",
        "Address_Count: 4",
        "Offset  Virtual address  Version  Pages",
        "SIGUSR1",
        "nanosleep",
    ] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    let json = store.call(&["show", &format!("{PID}@1"), "--json"]).json();
    let process = &json["processes"][0];
    assert_eq!(process["memory"]["control"][0]["virtual_address"], HEAP);
    assert_eq!(process["memory"]["control"][0]["pages"], 2);
    assert_eq!(process["threads"][0]["registers"][1]["value"], 0x1111);
    assert_eq!(process["files"]["descriptors"][2]["fd"], 3);
    assert_eq!(process["files"]["descriptors"][2]["close_on_exec"], true);
    assert_eq!(process["credentials"]["groups"], serde_json::json!([4, 27]));
    assert_eq!(json["global"]["application"], PID);
}

#[test]
fn show_the_control_table_and_pages() {
    let store = Store::new(&[1]);
    let app = PID.to_string();
    let rows = store.call(&["show", &app, "--control", "--json"]).json();
    let control = rows["processes"][0]["memory"]["control"]
        .as_array()
        .unwrap()
        .clone();
    let offsets: Vec<u64> = control
        .iter()
        .map(|row| row["offset"].as_u64().unwrap())
        .collect();
    assert_eq!(offsets, [0, 1, 2, 3]);
    assert_eq!(control[1]["virtual_address"], HEAP + 4096);
    assert_eq!(control[1]["version"], 1);
    let pages = store.call(&["show", &app, "--pages"]);
    assert!(pages.out.contains("rw-"), "{}", pages.out);
}

#[test]
fn verify() {
    let store = Store::new(&[1, 2]);
    store
        .verify()
        .says(0, &format!("version 2 of application {PID}: good"));
    store
        .call(&["verify", &format!("{PID}@3")])
        .says(1, "has no version 3");
    store.flip(&format!("task_mm_{PID}_v1.bin"), 9000);
    store.verify().says(3, "DAMAGED");
    store.call(&["verify", &format!("{PID}@2")]).says(0, "good");
    let json = store.call(&["verify", &PID.to_string(), "--json"]);
    assert_eq!(json.code, 3);
    assert_eq!(json.json()[0]["result"], "damaged");
    assert_eq!(json.json()[1]["result"], "good");
}

#[test]
fn files_that_changed() {
    let store = Store::new(&[1]);
    let input = store.path().join("input.txt");
    let content = fs::read(&input).unwrap();
    fs::write(&input, "another input\n").unwrap();
    store.verify().says(
        4,
        &format!(
            "file {} that process {PID} uses was changed",
            input.display()
        ),
    );
    fs::write(&input, content).unwrap();
    // The same bytes, but written later.
    store.verify().says(4, "was changed");
    fs::remove_file(&input).unwrap();
    store.verify().says(4, "is gone");
    fs::create_dir(&input).unwrap();
    store.verify().says(4, "is no regular file any more");
}

#[test]
fn damage_in_every_file_is_named() {
    for file in [
        "description_v1.txt".to_owned(),
        "global_v1.bin".to_owned(),
        "node_0_v1.bin".to_owned(),
        format!("task_{PID}_v1.bin"),
        format!("task_mm_{PID}_v1.bin"),
        format!("control_{PID}_v1.bin"),
    ] {
        let store = Store::new(&[1]);
        let path = store.app().join(&file);
        let bytes = fs::read(&path).unwrap();
        store.flip(&file, bytes.len() / 2);
        store.verify().says(3, &file);
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        store.verify().says(3, &file);
    }
}

#[test]
fn rm() {
    let store = Store::new(&[1, 2, 3]);
    let app = PID.to_string();
    store.call(&["rm", &app]).says(1, "say --yes");
    store
        .call(&["rm", &format!("{app}@9"), "--yes"])
        .says(1, "has no version 9");
    store
        .call(&["rm", &format!("{app}@2"), "--yes"])
        .says(0, "removed version 2");
    let left = fs::read_dir(store.app())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(left
        .into_iter()
        .all(|name| !name.to_str().unwrap().contains("_v2.")));
    store.verify().says(0, "good");
    fs::write(store.app().join("instance"), "boot: x\npid: 1\nstart: 1\n").unwrap();
    store
        .call(&["rm", &app, "--yes"])
        .says(0, "removed application");
    assert!(!store.app().exists());
}

#[test]
fn rm_of_what_is_needed() {
    let store = Store::new(&[1]);
    let mut increment = Made::new(store.path(), 2);
    increment.parent = 1;
    increment.pages.truncate(1);
    increment.gone.1 = 3;
    increment.write(store.path());
    store.verify().says(0, "version 2");
    store.call(&["list"]).says(0, "increment");
    store.call(&["rm", &format!("{PID}@1"), "--yes"]).says(
        1,
        &format!("version 1 of application {PID} is needed by version 2"),
    );
    store
        .call(&["rm", &format!("{PID}@2"), "--yes"])
        .says(0, "removed version 2");
    store
        .call(&["rm", &format!("{PID}@1"), "--yes"])
        .says(0, "removed version 1");
}

#[test]
fn what_needs_the_module_says_so() {
    let store = Store::new(&[1]);
    let pid = std::process::id().to_string();
    let words = "/nonexistent does not exist: the module is not loaded";
    store.call(&["checkpoint", &pid]).says(1, words);
    store.call(&["restart", &PID.to_string()]).says(1, words);
    store
        .call(&["restart", &PID.to_string(), "--foreground"])
        .says(125, words);
    store.call(&["info"]).says(1, words);
    assert!(!store.path().join(&pid).exists());
}

#[test]
fn usage() {
    let store = Store::new(&[]);
    for wrong in [
        &["checkpoint"][..],
        &["checkpoint", "x"],
        &["checkpoint", "0"],
        &["show", "1@"],
        &["restart", "0"],
        &["nonsense"],
        &[],
    ] {
        assert_eq!(store.call(wrong).code, 2, "{wrong:?}");
    }
    store.call(&["--help"]).says(0, "Examples:");
    store
        .call(&["checkpoint", "--help"])
        .says(0, "geist checkpoint 812");
    store.call(&["completions", "bash"]).says(0, "complete -F");
}

/// Forged tables with right checksums do not keep the client busy for ever.
#[test]
fn a_forged_table_is_not_shown_row_by_row() {
    let store = Store::new(&[]);
    let mut made = Made::new(store.path(), 1);
    made.forge = Box::new(|kind, mut body| {
        if kind == FileKind::Control {
            // The pages of the last extent, and with them the number of addresses.
            let pages = 1u64 << 40;
            let place = body.len() - 24;
            body[place..place + 8].copy_from_slice(&pages.to_le_bytes());
            body[8..16].copy_from_slice(&(pages + 3).to_le_bytes());
        }
        body
    });
    made.write(store.path());
    store
        .call(&["show", &PID.to_string(), "--control"])
        .says(1, "an extent is out of range");
    store.verify().says(3, "an extent is out of range");
}

#[test]
fn watching_needs_the_module() {
    let store = Store::new(&[1]);
    let pid = std::process::id().to_string();
    let words = "/nonexistent does not exist: the module is not loaded";
    store.call(&["watch", &pid]).says(1, words);
    store.call(&["watch", &pid, "--change"]).says(1, words);
    store.call(&["unwatch", &pid]).says(1, words);
    store.call(&["unwatch", "--all"]).says(1, words);
    store
        .call(&["watch", &pid, "--interval", "500us"])
        .says(2, "the shortest interval is 1ms");
    store
        .call(&["watch", "4194000"])
        .says(1, "no process with pid 4194000");
    assert!(!store.path().join(&pid).exists());
}

/// A shell that `geist run` has started, and that geist has said of that it is not protected.
struct Run(Child, BufReader<ChildStderr>);

impl Run {
    fn begin(store: &Store, script: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_geist"))
            .args(["--store", store.path().to_str().unwrap()])
            .args(["--device", "/nonexistent", "run", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains("`sh` runs unprotected as pid"), "{line}");
        assert!(line.contains("the module is not loaded"), "{line}");
        Self(child, said)
    }

    /// Gives the shell a line, and waits until it has said something.
    fn tell_and_wait(&mut self) {
        let mut line = String::new();
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.1.read_line(&mut line).unwrap();
    }

    /// The exit code of geist, to which a signal was sent. The input of the shell ends with the shell, or after a minute.
    fn end_by(mut self, signal: Signal) -> Option<i32> {
        let input = self.0.stdin.take();
        let pid = Pid::from_child(&self.0);
        let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        kill_process(pid, signal).unwrap();
        let minute = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        let mut ends = [PollFd::new(&process, PollFlags::IN)];
        poll(&mut ends, Some(&minute)).unwrap();
        drop(input);
        self.0.wait().unwrap().code()
    }

    /// Ends the input of the shell; the exit code of geist.
    fn end(mut self) -> Option<i32> {
        drop(self.0.stdin.take());
        self.0.wait().unwrap().code()
    }
}

#[test]
fn run_passes_on() {
    let store = Store::new(&[]);
    assert_eq!(Run::begin(&store, "read -r line; exit 7").end(), Some(7));
    let killed = Run::begin(&store, "read -r line; kill -KILL $$");
    assert_eq!(killed.end(), Some(128 + 9));
    let trap = "read -r line; trap 'exit 5' TERM; echo set >&2; while read -r line; do :; done";
    let mut trapped = Run::begin(&store, trap);
    trapped.tell_and_wait();
    assert_eq!(trapped.end_by(Signal::TERM), Some(5));
}

#[test]
fn run_required() {
    let store = Store::new(&[]);
    let required = ["run", "--required", "--", "sleep", "1000"];
    store.call(&required).says(125, "`sleep` was ended: ");
    store
        .call(&["run", "nonexistent-command"])
        .says(127, "nonexistent-command cannot be run");
    store
        .call(&["run", store.path().to_str().unwrap()])
        .says(126, "cannot be run");
}
