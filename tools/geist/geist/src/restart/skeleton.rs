// SPDX-License-Identifier: GPL-2.0

//! The skeleton: a copy of the client that turns itself, call by call, into the process of the
//! image, as far as system calls go, and then joins the restart in the module, which does the rest.
//!
//! It tells the client how it goes through a pipe, in lines: `note ...`, `error ...`, `joining`.

use super::files::Files;
use super::{creds, locks, process, signals};
use crate::device::Device;
use crate::image::{Task, Thread};
use crate::sys::shared::SharedPage;
use crate::sys::{clone, ioctl, signal, thread};
use anyhow::{Context as _, Result};
use geist_image::files::DESCRIPTOR_CLOEXEC;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{chroot, fchdir};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

/// What a skeleton needs.
pub struct Plan<'a> {
    /// The process of the image.
    pub task: &'a Task,
    /// Its files.
    pub files: &'a Files,
    /// The device, with a number above those of the process.
    pub device: &'a Device,
    /// It stays on this terminal.
    pub foreground: bool,
}

/// How far a skeleton came.
pub enum Outcome {
    /// It is joining; people should know the notes.
    Joining(Vec<String>),
    /// It failed; the sentence may be empty when it died without a word.
    Failed(String),
}

/// The pipe from the skeleton to the client, both ends with numbers of at least `lowest`.
pub fn pipe(lowest: i32) -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let read = fcntl_dupfd_cloexec(&read, lowest)?;
    let write = fcntl_dupfd_cloexec(&write, lowest)?;
    Ok((read, write))
}

/// Reads what the skeleton says until it joins or ends.
pub fn listen(pipe: OwnedFd) -> io::Result<Outcome> {
    let mut said = Vec::new();
    // Ends when the skeleton closes its end, which it does before it joins.
    File::from(pipe).read_to_end(&mut said)?;
    // A path in it may be any bytes.
    let said = String::from_utf8_lossy(&said);
    let mut notes = Vec::new();
    for line in said.lines() {
        match line.split_once(' ') {
            Some(("note", note)) => notes.push(note.to_owned()),
            Some(("error", error)) => return Ok(Outcome::Failed(error.to_owned())),
            _ if line == "joining" => return Ok(Outcome::Joining(notes)),
            _ => {}
        }
    }
    Ok(Outcome::Failed(String::new()))
}

/// Becomes the process. Never returns; when it fails, the reason stands in the pipe, or, when the
/// module refused to join, on `page`.
pub fn run(plan: &Plan<'_>, pipe: OwnedFd, page: &mut SharedPage) -> ! {
    let mut pipe = File::from(pipe);
    match prepare(plan, &mut pipe) {
        Ok(()) => {
            // One write each, shorter than a pipe takes at once.
            let told = pipe.write_all(b"joining\n");
            drop(pipe);
            if told.is_ok() {
                let pid = plan.task.process.pid as i32;
                let error = ioctl::restart_join(plan.device.as_fd(), pid, page);
                if ioctl::sentence(&page.content()).is_empty() {
                    page.set(&format!("the geist module refused the join: {error}"));
                }
            }
        }
        Err(error) => {
            let line = format!("{error:#}").replace('\n', " ");
            // Nobody is left to tell when the client is gone.
            let _ = pipe.write_all(format!("error {line}\n").as_bytes());
        }
    }
    clone::exit_now(1)
}

/// What a step works on.
struct Making<'a> {
    plan: &'a Plan<'a>,
    /// To the client.
    pipe: &'a File,
    /// What people should know.
    notes: Vec<String>,
}

/// A kind of state that a process gives itself with system calls.
type Step = fn(&mut Making<'_>) -> Result<()>;

/// All of them, in the one order in which nothing undoes another: the mirror of the module's
/// `checkpoint/kinds.rs` and `restart/kinds.rs`. A further kind is a further line.
const STEPS: [Step; 14] = [
    |making| process::session(making.plan.task, making.plan.foreground),
    |making| process::oom_score(making.plan.task),
    |making| descriptors(making.plan),
    |making| directories(making.plan),
    |making| close_others(making.plan, making.pipe),
    |making| file_locks(making.plan),
    |making| process::identity(making.plan.task),
    |making| making.noting(process::scheduling(own(making.plan))),
    |making| process::limits(making.plan.task),
    |making| signals::handlers(making.plan.task),
    |making| creds::restore(&making.plan.task.creds, &making.plan.task.groups),
    |making| process::attributes(making.plan.task),
    |making| signals::pending(making.plan.task),
    |making| {
        process::addresses(own(making.plan))?;
        making.noting(process::parent_death(
            own(making.plan),
            making.plan.foreground,
        ))
    },
];

impl Making<'_> {
    /// Keeps the note of a step.
    fn noting(&mut self, note: Result<Option<String>>) -> Result<()> {
        self.notes.extend(note?);
        Ok(())
    }
}

/// The only thread.
fn own<'a>(plan: &Plan<'a>) -> &'a Thread {
    &plan.task.threads[0]
}

/// Everything that has a system call.
fn prepare(plan: &Plan<'_>, pipe: &mut File) -> Result<()> {
    signal::block_all().context("signals cannot be blocked")?;
    let mut making = Making {
        plan,
        pipe,
        notes: Vec::new(),
    };
    for step in STEPS {
        step(&mut making)?;
    }
    for note in making.notes {
        writeln!(pipe, "note {note}")?;
    }
    Ok(())
}

/// Takes the locks of the process again, which has its descriptors.
fn file_locks(plan: &Plan<'_>) -> Result<()> {
    locks::restore(plan.task, |object| {
        let mut descriptors = plan.task.descriptors.iter();
        let descriptor = descriptors.find(|descriptor| descriptor.object == object)?;
        Some(thread::placed(descriptor.fd as i32))
    })
}

/// Puts the descriptors of the process into their places. Those of the client are gone then.
fn descriptors(plan: &Plan<'_>) -> Result<()> {
    let lowest = plan.files.lowest as u32;
    thread::close_range(0, lowest - 1).context("descriptors cannot be closed")?;
    for descriptor in &plan.task.descriptors {
        let from = &plan.files.objects[&descriptor.object];
        let close_on_exec = descriptor.flags & DESCRIPTOR_CLOEXEC != 0;
        thread::dup_to(from.as_raw_fd(), descriptor.fd as i32, close_on_exec)
            .with_context(|| format!("descriptor {}", descriptor.fd))?;
    }
    Ok(())
}

/// Working directory and root directory.
fn directories(plan: &Plan<'_>) -> Result<()> {
    if let Some(root) = &plan.files.root {
        fchdir(root).context("the root directory of the image")?;
        chroot(".").context("the root directory of the image; this needs CAP_SYS_CHROOT")?;
    }
    fchdir(&plan.files.cwd).context("the working directory of the image")
}

/// Closes everything that is not the process's, the device and the pipe.
fn close_others(plan: &Plan<'_>, pipe: &File) -> Result<()> {
    let mut kept = [plan.device.as_fd().as_raw_fd(), pipe.as_raw_fd()].map(|fd| fd as u32);
    kept.sort_unstable();
    let [first, second] = kept;
    let ranges = [
        (plan.files.lowest as u32, first.wrapping_sub(1)),
        (first + 1, second.wrapping_sub(1)),
        (second + 1, u32::MAX),
    ];
    for (from, to) in ranges {
        if from <= to {
            thread::close_range(from, to).context("descriptors cannot be closed")?;
        }
    }
    Ok(())
}
