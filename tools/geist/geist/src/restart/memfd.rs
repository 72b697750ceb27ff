// SPDX-License-Identifier: GPL-2.0

//! Files of `memfd_create(2)`, made again with the content that no mapping shows.

use super::check::shown;
use crate::image::Task;
use anyhow::{bail, Context as _, Result};
use geist_image::files::FileObject;
use geist_image::mm::VmaKind;
use rustix::fs::{self, MemfdFlags, Mode};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// No seal can be added.
const SEAL_SEAL: u32 = 0x1;
/// Nobody can write, or no new mapping can.
const WRITE_SEALS: u32 = 0x8 | 0x10;
/// It can neither be executed nor made executable.
const SEAL_EXEC: u32 = 0x20;

/// A memfd that was made.
pub struct Made {
    /// Its descriptor.
    pub fd: OwnedFd,
    /// Seals that must wait until the module has written what mappings show.
    pub late_seals: Option<u32>,
}

/// Whether two objects are one memfd, opened twice.
pub fn same(one: &FileObject, other: &FileObject) -> bool {
    (one.kind, one.dev, one.inode) == (other.kind, other.dev, other.inode)
}

/// Makes a memfd with its content and seals.
pub fn make(task: &Task, object: &FileObject, name: &[u8]) -> Result<Made> {
    let context = || format!("the memfd {} cannot be made", shown(name));
    let mut flags = MemfdFlags::CLOEXEC;
    if object.seals != SEAL_SEAL {
        flags |= MemfdFlags::ALLOW_SEALING;
    }
    flags |= match object.seals & SEAL_EXEC {
        0 => MemfdFlags::from_bits_retain(libc::MFD_EXEC),
        _ => MemfdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL),
    };
    let fd = fs::memfd_create(name, flags).with_context(context)?;
    if fs::fstat(&fd)?.st_mode & 0o7777 != object.mode & 0o7777 {
        let mode = Mode::from_bits_retain(object.mode & 0o7777);
        fs::fchmod(&fd, mode).with_context(context)?;
    }
    fs::ftruncate(&fd, object.size).with_context(context)?;
    fill(task, object, fd.as_fd()).with_context(context)?;
    let late = object.seals & WRITE_SEALS != 0 && is_mapped(task, object);
    if !late {
        seal(fd.as_fd(), object.seals).with_context(context)?;
    }
    Ok(Made {
        fd,
        late_seals: late.then_some(object.seals),
    })
}

/// Sets those seals that are not set yet.
pub fn seal(fd: BorrowedFd<'_>, seals: u32) -> Result<()> {
    let missing = fs::SealFlags::from_bits_retain(seals) - fs::fcntl_get_seals(fd)?;
    if !missing.is_empty() {
        fs::fcntl_add_seals(fd, missing).context("seals cannot be set")?;
    }
    Ok(())
}

/// Whether a shared mapping shows the memfd, through whichever of its objects.
fn is_mapped(task: &Task, object: &FileObject) -> bool {
    task.vmas.iter().any(|(vma, _)| {
        let shown = task.object(vma.object);
        vma.kind == VmaKind::SharedMemory as u32
            && shown.is_some_and(|(shown, _)| same(shown, object))
    })
}

/// Writes the content that records have. What mappings show the module writes.
fn fill(task: &Task, object: &FileObject, fd: BorrowedFd<'_>) -> Result<()> {
    for (content, bytes) in &task.memfd_content {
        let of = task.object(content.object);
        if of.is_some_and(|(of, _)| same(of, object)) {
            write_at(fd, bytes, content.offset)?;
        }
    }
    Ok(())
}

fn write_at(fd: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, offset)? {
            0 => bail!("it takes no more bytes"),
            count => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
        }
    }
    Ok(())
}
