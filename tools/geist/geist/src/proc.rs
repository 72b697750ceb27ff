// SPDX-License-Identifier: GPL-2.0

//! What `/proc` says about processes.

use anyhow::{bail, Context as _, Result};
use rustix::time::{clock_gettime, ClockId};
use std::fs;
use std::path::PathBuf;

/// Set in the flags of `/proc/<pid>/stat` for a kernel thread.
const PF_KTHREAD: u64 = 0x0020_0000;

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its name.
    pub comm: String,
    /// Its state, one letter.
    pub state: char,
    /// It is a thread of the kernel.
    pub kernel_thread: bool,
    /// When it started, clock ticks since boot: with the boot, its identity.
    pub start: u64,
}

impl Running {
    /// The process `pid`, `None` when there is none.
    pub fn find(pid: u32) -> Result<Option<Self>> {
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        match fs::read(&path) {
            // The name may be any bytes.
            Ok(stat) => match Self::parse(&String::from_utf8_lossy(&stat)) {
                Some(running) => Ok(Some(running)),
                None => bail!("{}: cannot be understood", path.display()),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// It has ended, and only its parent's asking for its status is missing.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    fn parse(stat: &str) -> Option<Self> {
        let (head, rest) = stat.rsplit_once(") ")?;
        let (_, comm) = head.split_once('(')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let flags: u64 = fields.get(6)?.parse().ok()?;
        Some(Self {
            comm: comm.to_owned(),
            state: fields.first()?.chars().next()?,
            kernel_thread: flags & PF_KTHREAD != 0,
            start: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Bytes of a process that are in memory; 0 when there is none.
pub fn resident_bytes(pid: u32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"));
    let pages = statm.ok().and_then(|statm| {
        let mut fields = statm.split_ascii_whitespace();
        fields.nth(1)?.parse::<u64>().ok()
    });
    pages.unwrap_or(0) * geist_image::PAGE_SIZE as u64
}

/// Identity of this boot.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).context(path)?.trim().to_owned())
}

/// When this system was booted, nanoseconds since 1970, as its clocks say now.
pub fn booted_ns() -> u64 {
    let ns = |id| {
        let time = clock_gettime(id);
        (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
    };
    ns(ClockId::Realtime).saturating_sub(ns(ClockId::Boottime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_stat() {
        let own = Running::find(std::process::id()).unwrap().unwrap();
        assert!(!own.kernel_thread && own.start > 0);
        assert_eq!(Running::find(u32::MAX >> 1).unwrap(), None);
    }

    #[test]
    fn name_with_parentheses() {
        let stat = "7 (a) (b) S 1 7 7 0 -1 2097152 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        let running = Running::parse(stat).unwrap();
        assert_eq!(running.comm, "a) (b");
        assert!(running.kernel_thread);
        assert_eq!(running.start, 4242);
    }

    #[test]
    fn own_memory() {
        assert!(resident_bytes(std::process::id()) > 100_000);
        assert_eq!(resident_bytes(u32::MAX >> 1), 0);
    }

    #[test]
    fn boot() {
        assert_eq!(boot_id().unwrap().len(), 36);
        assert!(booted_ns() > 0);
    }
}
