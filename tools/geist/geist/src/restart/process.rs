// SPDX-License-Identifier: GPL-2.0

//! Session, limits, scheduling and other properties of a process that have a system call.

use crate::image::{Task, Thread};
use crate::sys::thread;
use anyhow::{Context as _, Result};
use geist_image::task::{PROCESS_NO_NEW_PRIVS, PROCESS_SUBREAPER};
use geist_image::thread::Scheduling;
use rustix::process::{self, Pid};
use std::fs;

/// `SCHED_RESET_ON_FORK`
const RESET_ON_FORK: u32 = 0x4000_0000;
/// `SS_ONSTACK` and `SS_DISABLE`.
const ON_STACK: u32 = 1;
const DISABLED: u32 = 2;

/// Names of the resource limits.
const LIMITS: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

/// The name of a resource limit.
pub fn limit_name(resource: usize) -> String {
    format!("RLIMIT_{}", LIMITS.get(resource).unwrap_or(&"?"))
}

/// Session and process group. Without `foreground`, the process gets a session of its own.
pub fn session(task: &Task, foreground: bool) -> Result<()> {
    if task.process.sid == task.process.pid || !foreground {
        process::setsid().context("a session cannot be begun")?;
    } else if task.process.pgid == task.process.pid {
        process::setpgid(None::<Pid>, None::<Pid>).context("a process group cannot be made")?;
    }
    Ok(())
}

/// Execution domain, name, mask for new files.
pub fn identity(task: &Task) -> Result<()> {
    thread::set_personality(task.process.personality).context("personality")?;
    thread::set_name(&task.threads[0].thread.comm).context("the name")?;
    process::umask(rustix::fs::Mode::from_bits_retain(task.cwd.0.umask));
    Ok(())
}

/// How likely the process is ended when memory runs out.
pub fn oom_score(task: &Task) -> Result<()> {
    const PATH: &str = "/proc/self/oom_score_adj";
    let wanted = task.process.oom_score_adj.to_string();
    if fs::read_to_string(PATH).context(PATH)?.trim() != wanted {
        fs::write(PATH, &wanted).with_context(|| {
            format!("oom_score_adj {wanted} cannot be set; this needs CAP_SYS_RESOURCE")
        })?;
    }
    Ok(())
}

/// Resource limits, but for those of memory: the module sets them when this program, which needs
/// more, is gone.
pub fn limits(task: &Task) -> Result<()> {
    for (resource, wanted) in task.limits.limits.iter().enumerate() {
        let number = resource as u32;
        if number == libc::RLIMIT_AS || number == libc::RLIMIT_DATA {
            continue;
        }
        if thread::limit(number).ok() != Some(*wanted) {
            thread::set_limit(number, wanted[0], wanted[1]).with_context(|| {
                let name = limit_name(resource);
                format!("{name} of the image cannot be set; this needs CAP_SYS_RESOURCE")
            })?;
        }
    }
    Ok(())
}

/// Scheduling. Returns a note when the processors of the image are not there.
pub fn scheduling(own: &Thread) -> Result<Option<String>> {
    let (wanted, affinity) = &own.scheduling;
    let needs = "this needs CAP_SYS_NICE";
    let reset = if wanted.reset_on_fork != 0 {
        RESET_ON_FORK
    } else {
        0
    };
    let policy = wanted.policy | reset;
    if thread::scheduler()? != (policy, wanted.priority) {
        thread::set_scheduler(policy, wanted.priority).with_context(|| {
            format!("scheduling policy {} cannot be set; {needs}", wanted.policy)
        })?;
    }
    if process::getpriority_process(None)? != wanted.nice {
        process::setpriority_process(None, wanted.nice)
            .with_context(|| format!("nice value {} cannot be set; {needs}", wanted.nice))?;
    }
    if thread::io_priority()? != wanted.ioprio {
        thread::set_io_priority(wanted.ioprio)
            .with_context(|| format!("I/O priority {:#x} cannot be set; {needs}", wanted.ioprio))?;
    }
    Ok(affinity_note(wanted, affinity))
}

fn affinity_note(wanted: &Scheduling, affinity: &[u8]) -> Option<String> {
    if wanted.affinity_bytes == 0 || thread::set_affinity(affinity).is_ok() {
        return None;
    }
    Some("the process may run on every processor: those it was bound to are not here".to_owned())
}

/// Properties that a change of credentials resets, and others that come late.
pub fn attributes(task: &Task) -> Result<()> {
    let has = |flag: u32| task.process.flags & flag != 0;
    if has(PROCESS_NO_NEW_PRIVS) != thread::no_new_privs()? {
        if !has(PROCESS_NO_NEW_PRIVS) {
            anyhow::bail!("no_new_privs is on where geist runs, and off in the image");
        }
        thread::set_no_new_privs().context("no_new_privs")?;
    }
    thread::set_subreaper(has(PROCESS_SUBREAPER)).context("child subreaper")?;
    // 2 (readable by root only) cannot be asked for; 0 is the stricter of what can.
    let dumpable = u32::from(task.process.dumpable == 1);
    thread::set_dumpable(dumpable).context("dumpable")?;
    thread::set_timer_slack(task.threads[0].thread.timer_slack_ns).context("timer slack")
}

/// The signal at the parent's death. Without `foreground` the parent ends right away, which must
/// not count; returns a note then.
pub fn parent_death(own: &Thread, foreground: bool) -> Result<Option<String>> {
    match own.thread.pdeath_signal {
        0 => Ok(None),
        signal if foreground => {
            thread::set_parent_death_signal(signal).context("the signal at the parent's death")?;
            Ok(None)
        }
        _ => Ok(Some(
            "the signal at its parent's death is not restored; --foreground does".to_owned(),
        )),
    }
}

/// What the kernel keeps for libc: addresses in the memory to come.
pub fn addresses(own: &Thread) -> Result<()> {
    let own = &own.thread;
    let flags = own.altstack_flags & !ON_STACK;
    let flags = if own.altstack_size == 0 {
        flags | DISABLED
    } else {
        flags
    };
    crate::sys::signal::set_altstack(own.altstack_sp, own.altstack_size, flags)
        .context("the alternate signal stack")?;
    thread::set_robust_list(own.robust_list).context("the robust list")?;
    thread::set_tid_address(own.clear_child_tid);
    Ok(())
}
