// SPDX-License-Identifier: GPL-2.0

//! Whether the files that a process had open are still as it needs them.

use crate::image::Task;
use crate::output::plain;
use geist_image::files::{FileObject, ObjectKind, OBJECT_MAPPED_ONLY, OBJECT_UNCHANGED};
use rustix::fs::{self, FileType, Stat};

/// What the user allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// Files may have changed.
    pub changed: bool,
    /// Files may be truncated to what they were.
    pub rewind: bool,
}

/// A file, for people: `file /x/y that process 812 uses`.
pub fn file_name(pid: u32, path: &[u8]) -> String {
    format!("file {} that process {pid} uses", shown(path))
}

/// A path, for people.
pub fn shown(path: &[u8]) -> String {
    plain(&String::from_utf8_lossy(path))
}

/// Whether the object was open for writing.
pub fn is_written(object: &FileObject) -> bool {
    object.open_flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32
        && object.open_flags & libc::O_PATH as u32 == 0
}

fn is_appended(object: &FileObject) -> bool {
    object.open_flags & libc::O_APPEND as u32 != 0
}

/// Modification time, nanoseconds since 1970.
fn mtime_ns(stat: &Stat) -> i64 {
    let nanoseconds = stat.st_mtime_nsec as i64;
    stat.st_mtime
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

/// Checks what is found at the path of an object. The error is a whole sentence.
pub fn check(
    pid: u32,
    object: &FileObject,
    path: &[u8],
    stat: &Stat,
    allowed: Allowed,
) -> Result<(), String> {
    let name = file_name(pid, path);
    let found = FileType::from_raw_mode(stat.st_mode);
    let (wanted, what) = match ObjectKind::from_number(object.kind) {
        Some(ObjectKind::Regular) => (FileType::RegularFile, "regular file"),
        Some(ObjectKind::Directory) => (FileType::Directory, "directory"),
        Some(ObjectKind::Device | ObjectKind::Terminal) => (FileType::CharacterDevice, "device"),
        Some(ObjectKind::Memfd | ObjectKind::SharedAnonymous | ObjectKind::Pipe) | None => {
            return Ok(())
        }
    };
    if found != wanted {
        return Err(format!("{name} is no {what} any more"));
    }
    if wanted == FileType::CharacterDevice && stat.st_rdev != u64::from(object.rdev) {
        return Err(format!("{name} is another device now"));
    }
    if wanted != FileType::RegularFile {
        return Ok(());
    }
    let size = stat.st_size as u64;
    let same = size == object.size && mtime_ns(stat) == object.mtime_ns;
    if object.flags & OBJECT_UNCHANGED != 0 && !same && !allowed.changed {
        return Err(format!(
            "{name} was changed since the checkpoint; --ignore-changed-files restarts all the same"
        ));
    }
    if !is_written(object) {
        return Ok(());
    }
    let needed = match object.flags & OBJECT_MAPPED_ONLY {
        0 => object.position.min(object.size),
        _ => object.size,
    };
    if size < needed {
        return Err(format!(
            "{name} has only {size} bytes, at least {needed} of those at the checkpoint are needed"
        ));
    }
    if is_appended(object) && size > object.size && !allowed.rewind {
        return Err(format!(
            "{name} has grown since the checkpoint, what is appended again would stand there twice; --rewind-files truncates it to the {} bytes it had",
            object.size
        ));
    }
    Ok(())
}

/// Everything about the files of a process that forbids a restart here and now.
pub fn problems(task: &Task, allowed: Allowed) -> Vec<String> {
    let pid = task.process.pid;
    let mut problems = Vec::new();
    for (object, path) in &task.objects {
        let by_path = [
            ObjectKind::Regular,
            ObjectKind::Directory,
            ObjectKind::Device,
        ];
        if !by_path.iter().any(|kind| *kind as u32 == object.kind) {
            continue;
        }
        match fs::lstat(path.as_slice()) {
            Ok(stat) => problems.extend(check(pid, object, path, &stat, allowed).err()),
            Err(error) => problems.push(missing(pid, path, error.into())),
        }
    }
    for path in [&task.cwd.1, &task.root] {
        match fs::stat(path.as_slice()) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
            Ok(_) => problems.push(format!("{} is no directory any more", file_name(pid, path))),
            Err(error) => problems.push(missing(pid, path, error.into())),
        }
    }
    problems
}

/// The sentence for a file that cannot be opened or looked at.
pub fn missing(pid: u32, path: &[u8], error: std::io::Error) -> String {
    let name = file_name(pid, path);
    match error.kind() {
        std::io::ErrorKind::NotFound => format!("{name} is gone"),
        _ => format!("{name} cannot be opened: {error}"),
    }
}
