// SPDX-License-Identifier: GPL-2.0

//! `geist restart`: verifies a version, opens its files, makes the skeleton of its process, and has
//! the module fill it.

pub mod check;
mod creds;
mod files;
mod hook;
mod locks;
mod memfd;
pub mod process;
mod room;
pub mod signals;
mod skeleton;

use crate::cli::{exit, Common, RestartArgs};
use crate::device::Device;
use crate::foreground;
use crate::image::{self, Chain, Image, Task};
use crate::instance::Instance;
use crate::output::{self, plain};
use crate::proc::{self, Running};
use crate::progress::{self, Sight};
use crate::store::{App, State, Store};
use crate::sys::ioctl::{self, Refusal};
use crate::sys::shared::SharedPage;
use crate::sys::{clone, signal};
use anyhow::{anyhow, bail, Context as _, Result};
use check::Allowed;
use files::Files;
use geist_image::task::PROCESS_STOPPED;
use geist_image::PAGE_SIZE;
use rustix::process::{
    kill_process, waitid, waitpid, Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus,
};
use serde::Serialize;
use skeleton::{Outcome, Plan};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Instant;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    app: u32,
    version: u64,
    pid: u32,
    pages: u64,
    total_us: u64,
}

/// Restarts an application. In the foreground, the result is that of its process.
pub fn run(common: &Common, args: &RestartArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let device = Device::open(&common.device)?;
    let store = Store::open(&common.store)?;
    let app = store.app(args.app)?;
    check_free(args.app, args.app)?;
    app.lock(false)?;
    let version = choose(&app, args.version)?;
    let image =
        image::check(&mut Chain::new(&app), version).map_err(|mut damages| damages.remove(0))?;
    let task = the_task(&image)?;
    let pid = task.process.pid;
    check_free(app.id, pid)?;
    let stored = stored_bytes(&image);
    room::check(version, stored)?;
    let allowed = Allowed {
        changed: args.ignore_changed_files,
        rewind: args.rewind_files,
    };
    let files = Files::open(task, allowed, args.foreground)?;
    let device = device.moved_above(files.lowest)?;
    signal::interrupt_after(args.timeout)?;
    let for_mappings = files.for_mappings(task);
    ioctl::restart_prepare(
        device.as_fd(),
        app.dir(),
        app.id,
        version,
        &for_mappings,
        args.stopped || args.hook.is_some(),
    )?;
    let terminal = foreground::Terminal::find(args.foreground);
    let pages = revive(task, stored, &files, &device, args, terminal.as_ref())?;
    signal::no_interrupt();
    // The process has them to itself from here on: pipes, locks.
    drop(files);
    drop(device);
    let process = as_pid(pid)?;
    let stays_stopped = args.stopped || task.process.flags & PROCESS_STOPPED != 0;
    if stays_stopped || args.hook.is_some() {
        wait_for_stop(process)?;
    }
    if let Some(command) = &args.hook {
        hook::run(command, app.id, version, process).map_err(|error| {
            let _ = end(process, terminal.as_ref());
            error.context(format!(
                "process {pid} was killed again before its first instruction"
            ))
        })?;
        if !stays_stopped {
            kill_process(process, Signal::CONT).context("letting the process go on")?;
        }
    }
    let report = Report {
        app: app.id,
        version,
        pid,
        pages,
        total_us: start.elapsed().as_micros() as u64,
    };
    if let Some(running) = Running::find(pid)? {
        Instance::of(pid, &running, Some(version))?.record(&app);
    }
    app.unlock();
    if args.json {
        output::print_json(&report)?;
    } else if !args.foreground {
        let (app, version) = (report.app, report.version);
        let stopped = match args.stopped {
            true => format!(", stopped; kill -CONT {pid} lets it go on"),
            false => String::new(),
        };
        output::print(&format!(
            "restarted application {app} from version {version} as pid {pid}{stopped}\n"
        ))?;
    }
    match args.foreground {
        true => foreground::wait(process, terminal),
        false => Ok(ExitCode::SUCCESS),
    }
}

/// The exit code of a failed restart.
pub fn failure(args: &RestartArgs) -> ExitCode {
    match args.foreground {
        true => exit::FOREGROUND_FAILED.into(),
        false => exit::FAILED.into(),
    }
}

/// Waits until a process of ours has stopped, or has ended because somebody killed it meanwhile.
fn wait_for_stop(pid: Pid) -> Result<()> {
    let what = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid), what).context("waiting for the stop of the process")?;
    Ok(())
}

/// Nobody must have the pid.
fn check_free(app: u32, pid: u32) -> Result<()> {
    match Running::find(pid)? {
        None => Ok(()),
        Some(running) => bail!(
            "pid {pid} is taken by `{}`; application {app} can be restarted when that has ended",
            plain(&running.comm)
        ),
    }
}

/// The version that was asked for, or the newest.
fn choose(app: &App, version: Option<u64>) -> Result<u64> {
    let Some(version) = version else {
        return match app.newest()? {
            0 => bail!("application {} has no committed version", app.id),
            version => Ok(version),
        };
    };
    match app.state(version) {
        State::Uncommitted => bail!(
            "application {} has no version {version}; `geist list` shows which it has",
            app.id
        ),
        State::Good(_) => Ok(version),
        State::Damaged(damaged) => Err(damaged.into()),
    }
}

/// The only process, of one thread.
fn the_task(image: &Image) -> Result<&Task> {
    let [process] = image.processes.as_slice() else {
        bail!("the version has more than one process, which this geist cannot restart yet");
    };
    if process.task.threads.len() != 1 {
        bail!("the version has more than one thread, which this geist cannot restart yet");
    }
    Ok(&process.task)
}

fn as_pid(pid: u32) -> Result<Pid> {
    Pid::from_raw(pid as i32).context("pid 0 is none")
}

/// Bytes of all pages of an image.
fn stored_bytes(image: &Image) -> u64 {
    let extents = image.processes.iter().flat_map(|one| &one.extents);
    extents.map(|extent| extent.pages).sum::<u64>() * PAGE_SIZE as u64
}

/// The memory of a process that is being filled with so many bytes.
fn filling(pid: u32, stored: u64) -> Sight<'static> {
    Sight {
        what: format!("filling the memory of process {pid}"),
        total: Some(stored),
        look: Box::new(move || proc::resident_bytes(pid).min(stored)),
    }
}

/// Makes the skeleton and has it filled; returns the number of pages.
fn revive(
    task: &Task,
    stored: u64,
    files: &Files,
    device: &Device,
    args: &RestartArgs,
    terminal: Option<&foreground::Terminal>,
) -> Result<u64> {
    let pid = as_pid(task.process.pid)?;
    let mut page = SharedPage::new().context("a page of shared memory")?;
    let (read, write) = skeleton::pipe(files.lowest)?;
    let plan = Plan {
        task,
        files,
        device,
        foreground: args.foreground,
    };
    if clone::fork_with_pid(task.process.pid as i32).map_err(|error| no_pid(task, &error))? {
        skeleton::run(&plan, write, &mut page);
    }
    drop(write);
    let fill = || -> Result<u64> {
        let notes = match skeleton::listen(read)? {
            Outcome::Joining(notes) => notes,
            Outcome::Failed(why) => bail!("process {} cannot be restored: {why}", pid.as_raw_pid()),
        };
        for note in files.notes.iter().chain(&notes) {
            output::note(note);
        }
        files.rewind()?;
        if let Some(terminal) = terminal {
            terminal.give(pid);
        }
        let pages = progress::show(filling(task.process.pid, stored), || {
            ioctl::restart_finish(device.as_fd())
        })?;
        files.seal()?;
        Ok(pages)
    };
    fill().map_err(|error| {
        let status = end(pid, terminal);
        let refused = ioctl::sentence(&page.content());
        if !refused.is_empty() {
            return anyhow!(refused);
        }
        match error.downcast_ref::<Refusal>() {
            Some(refusal) if refusal.message.is_empty() => {
                let ended = match status {
                    Ok(Some((_, status))) => {
                        format!("; its skeleton {}", foreground::ended(status))
                    }
                    _ => String::new(),
                };
                error.context(format!(
                    "process {} cannot be restored{ended}",
                    pid.as_raw_pid()
                ))
            }
            _ => error,
        }
    })
}

/// Ends a process that is not to be, a child of ours, which gives the terminal back: how it ended.
fn end(
    pid: Pid,
    terminal: Option<&foreground::Terminal>,
) -> rustix::io::Result<Option<(Pid, WaitStatus)>> {
    // It may have died by itself; then there is nobody to kill.
    let _ = kill_process(pid, Signal::KILL);
    let status = waitpid(Some(pid), WaitOptions::empty());
    if let Some(terminal) = terminal {
        terminal.take_back();
    }
    status
}

/// Why a process with the old pid cannot be made.
fn no_pid(task: &Task, error: &std::io::Error) -> anyhow::Error {
    let pid = task.process.pid;
    match error.raw_os_error() {
        Some(libc::EEXIST) => anyhow!("pid {pid} is taken, as a process, group or session"),
        Some(libc::EPERM) => anyhow!(
            "a process with pid {pid} may not be made by this user; this needs CAP_CHECKPOINT_RESTORE or root"
        ),
        Some(libc::EINVAL) => anyhow!(
            "a process with pid {pid} cannot be made; /proc/sys/kernel/pid_max may be lower than that"
        ),
        _ => anyhow!("a process with pid {pid} cannot be made: {error}"),
    }
}
