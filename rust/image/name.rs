// SPDX-License-Identifier: GPL-2.0

//! Names of the files of a version.

use super::FileKind;
use core::fmt::{self, Write};

/// Longest name in bytes.
pub const NAME_MAX: usize = 64;

/// The name of a file of a version.
#[derive(Clone, Copy)]
pub struct Name {
    bytes: [u8; NAME_MAX],
    length: usize,
}

impl Name {
    /// The name of the file of `kind` of `version`; `pid` matters where a process has its own.
    pub fn new(kind: FileKind, pid: u32, version: u64) -> Self {
        match kind {
            FileKind::Global => Self::format(format_args!("global_v{version}.bin")),
            FileKind::Node => Self::format(format_args!("node_0_v{version}.bin")),
            FileKind::Task => Self::format(format_args!("task_{pid}_v{version}.bin")),
            FileKind::TaskMm => Self::format(format_args!("task_mm_{pid}_v{version}.bin")),
            FileKind::Control => Self::format(format_args!("control_{pid}_v{version}.bin")),
            FileKind::Description => Self::format(format_args!("description_v{version}.txt")),
        }
    }

    /// The name of the `global` file before its version is committed.
    pub fn uncommitted_global(version: u64) -> Self {
        Self::format(format_args!("global_v{version}.bin.new"))
    }

    fn format(args: fmt::Arguments<'_>) -> Self {
        let mut name = Self {
            bytes: [0; NAME_MAX],
            length: 0,
        };
        // Cannot fail: the longest name, with two numbers of 20 and 10 digits, is shorter.
        let _ = name.write_fmt(args);
        name
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or(&[]);
        core::str::from_utf8(bytes).unwrap_or("")
    }

    /// The name with a final zero byte.
    pub fn as_bytes_with_nul(&self) -> &[u8] {
        self.bytes.get(..=self.length).unwrap_or(&[0])
    }
}

impl Write for Name {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        if end >= NAME_MAX {
            return Err(fmt::Error);
        }
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A file name, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Kind of file.
    pub kind: FileKind,
    /// Process, or 0.
    pub pid: u32,
    /// Version.
    pub version: u64,
    /// A `global` file whose version was never committed.
    pub uncommitted: bool,
}

/// Takes the name of a file of a version apart; `None` when it is none.
pub fn parse(name: &str) -> Option<Parsed> {
    let (name, uncommitted) = match name.strip_suffix(".new") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let (stem, text) = match name.strip_suffix(".txt") {
        Some(stem) => (stem, true),
        None => (name.strip_suffix(".bin")?, false),
    };
    let (head, version) = stem.rsplit_once("_v")?;
    let version = number(version)?;
    let pid_of = |rest: &str| number(rest).and_then(|pid| u32::try_from(pid).ok());
    let (kind, pid) = match head {
        "global" => (FileKind::Global, 0),
        "node_0" => (FileKind::Node, 0),
        "description" => (FileKind::Description, 0),
        _ => {
            if let Some(pid) = head.strip_prefix("task_mm_") {
                (FileKind::TaskMm, pid_of(pid)?)
            } else if let Some(pid) = head.strip_prefix("task_") {
                (FileKind::Task, pid_of(pid)?)
            } else {
                (FileKind::Control, pid_of(head.strip_prefix("control_")?)?)
            }
        }
    };
    if text != (kind == FileKind::Description) || (uncommitted && kind != FileKind::Global) {
        return None;
    }
    Some(Parsed {
        kind,
        pid,
        version,
        uncommitted,
    })
}

/// A number from 1 without leading zeros, as names have it.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    plain.then(|| text.parse().ok()).flatten()
}
