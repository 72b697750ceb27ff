// SPDX-License-Identifier: GPL-2.0

//! The `global` file, whose presence commits a version, and the `node` file.

use super::{Damage, FileKind};
use zerocopy::FromBytes;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Kind of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum VersionKind {
    /// Needs no other version.
    Full = 1,
    /// Builds on its parent.
    Increment = 2,
}

/// Body of a `global` file; `files` [`ManifestEntry`]s follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Global {
    /// Application ID.
    pub app: u32,
    /// A [`VersionKind`].
    pub kind: u32,
    /// Version, from 1.
    pub version: u64,
    /// Version that this one builds on; 0: none.
    pub parent: u64,
    /// Nodes that take part, as a bit mask: 1.
    pub node_mask: u64,
    /// When it was taken, nanoseconds since 1970.
    pub realtime_ns: u64,
    /// When the kernel was booted that took it, nanoseconds since 1970, as its clocks said then.
    pub booted_ns: u64,
    /// Number in the names and headers of all other files of the version, higher than any number
    /// that was in use when it was given; 0: the version. A version that was made complete has one.
    pub stored_as: u64,
    /// Kernel release (`uname -r`), filled up with zeros.
    pub kernel: [u8; 64],
    /// Freeze to thaw, microseconds.
    pub pause_us: u64,
    /// Pages in the `task_mm` files of the version.
    pub pages: u64,
    /// Number of entries that follow.
    pub files: u32,
    /// Descriptors left out.
    pub left_out: u32,
}

impl Global {
    /// Number in the names and headers of the other files of the version.
    pub fn number(&self) -> u64 {
        match self.stored_as {
            0 => self.version,
            number => number,
        }
    }
}

/// A file of the version, all but the `global` file itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ManifestEntry {
    /// A [`super::FileKind`].
    pub kind: u32,
    /// Process, or 0.
    pub pid: u32,
    /// Bytes of the file.
    pub bytes: u64,
    /// With a trailer: its checksum. `task_mm`: running CRC32C of all indexes. Description: CRC32C
    /// of the text.
    pub crc: u32,
    /// Zero.
    pub reserved: u32,
}

/// Body of a `node` file: how many [`NodeTask`]s follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Node {
    /// Number of the node: 0.
    pub node: u32,
    /// Number of processes.
    pub tasks: u32,
}

/// A process that takes part.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NodeTask {
    /// Process.
    pub pid: u32,
    /// Its parent.
    pub ppid: u32,
    /// Threads.
    pub threads: u32,
    /// Zero.
    pub reserved: u32,
}

/// Takes the body of a `global` file of version `version` apart.
pub fn parse(
    body: &[u8],
    app: u32,
    version: u64,
) -> Result<(Global, impl Iterator<Item = ManifestEntry> + Clone + '_), Damage> {
    let (global, rest) = Global::read_from_prefix(body).map_err(|_| Damage::Truncated)?;
    if global.app != app || global.version != version {
        return Err(Damage::Identity);
    }
    let kind = global.kind;
    if kind != VersionKind::Full as u32 && kind != VersionKind::Increment as u32 {
        return Err(Damage::Value("the kind of the version"));
    }
    if global.parent >= version || (kind == VersionKind::Increment as u32) != (global.parent != 0) {
        return Err(Damage::Value("the parent of the version"));
    }
    let stored_elsewhere = global.stored_as != 0;
    if stored_elsewhere && (global.stored_as <= version || kind != VersionKind::Full as u32) {
        return Err(Damage::Value("the number of the version's files"));
    }
    if global.node_mask != 1 {
        return Err(Damage::Value("the node mask"));
    }
    let entries = rows::<ManifestEntry>(rest, global.files, "the number of files")?;
    for entry in entries.clone() {
        let own = match FileKind::from_number(entry.kind) {
            Some(FileKind::Node | FileKind::Description) => false,
            Some(FileKind::Task | FileKind::TaskMm | FileKind::Control) => true,
            Some(FileKind::Global) | None => return Err(Damage::Value("an entry of the manifest")),
        };
        if own != (entry.pid != 0) || entry.reserved != 0 {
            return Err(Damage::Value("an entry of the manifest"));
        }
    }
    Ok((global, entries))
}

/// Takes the body of a `node` file apart.
pub fn parse_node(
    body: &[u8],
) -> Result<(Node, impl Iterator<Item = NodeTask> + Clone + '_), Damage> {
    let (node, rest) = Node::read_from_prefix(body).map_err(|_| Damage::Truncated)?;
    if node.node != 0 {
        return Err(Damage::Value("the number of the node"));
    }
    let tasks = rows::<NodeTask>(rest, node.tasks, "the number of processes")?;
    if tasks
        .clone()
        .any(|task| task.pid == 0 || task.threads == 0 || task.reserved != 0)
    {
        return Err(Damage::Value("a process of the node"));
    }
    Ok((node, tasks))
}

/// Exactly `count` structures that fill `bytes`.
fn rows<'a, T: FromBytes + 'a>(
    bytes: &'a [u8],
    count: u32,
    what: &'static str,
) -> Result<impl Iterator<Item = T> + Clone + 'a, Damage> {
    let size = core::mem::size_of::<T>();
    if bytes.len() % size != 0 || bytes.len() / size != count as usize {
        return Err(Damage::Value(what));
    }
    Ok(bytes
        .chunks_exact(size)
        .filter_map(|row| T::read_from_bytes(row).ok()))
}
