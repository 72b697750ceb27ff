// SPDX-License-Identifier: GPL-2.0

//! Files, descriptors, locks and directories.

use super::tree::{address, bytes, number, said, text, yes, Cell, Section, Table};
use crate::image::Task;
use crate::output;
use geist_image::files::{
    FileObject, LockKind, ObjectKind, DESCRIPTOR_CLOEXEC, OBJECT_MAPPED_ONLY, OBJECT_UNCHANGED,
};

/// Names of the flags of an open file.
const OPEN_FLAGS: [(i32, &str); 9] = [
    (libc::O_APPEND, "APPEND"),
    (libc::O_NONBLOCK, "NONBLOCK"),
    (libc::O_SYNC, "SYNC"),
    (libc::O_DSYNC, "DSYNC"),
    (libc::O_DIRECT, "DIRECT"),
    (libc::O_NOATIME, "NOATIME"),
    (libc::O_DIRECTORY, "DIRECTORY"),
    (libc::O_NOFOLLOW, "NOFOLLOW"),
    (libc::O_PATH, "PATH"),
];

/// The files of a process.
pub fn section(task: &Task) -> Section {
    let mut section = Section::new("files");
    section
        .value("working directory", bytes(&task.cwd.1))
        .value("root directory", bytes(&task.root))
        .value("umask", octal(task.cwd.0.umask));
    section
        .table(objects(task))
        .table(descriptors(task))
        .table(locks(task));
    let mut left_out = Table::new("left out", &[">FD", "What"]);
    for (descriptor, what) in &task.left_out {
        left_out.row(vec![number(descriptor.fd), bytes(what)]);
    }
    let mut contents = Table::new("memfd content", &[">Object", ">Offset", ">Bytes"]);
    for (content, bytes) in &task.memfd_content {
        contents.row(vec![
            number(content.object),
            number(content.offset),
            number(bytes.len() as u64),
        ]);
    }
    section.table(left_out).table(contents);
    section
}

fn octal(number: u32) -> Cell {
    said(format!("{number:04o}"), number)
}

fn objects(task: &Task) -> Table {
    let head = [
        ">Object",
        "Kind",
        "Flags",
        ">Position",
        ">Size",
        "Modified",
        ">Inode",
        "Mode",
        "Use",
        "Path",
    ];
    let mut table = Table::new("objects", &head);
    for (object, path) in &task.objects {
        table.row(vec![
            number(object.object),
            text(kind(object)),
            open_flags(object.open_flags),
            number(object.position),
            number(object.size),
            modified(object),
            number(object.inode),
            octal(object.mode & 0o7777),
            usage(object),
            bytes(path),
        ]);
    }
    table
}

fn kind(object: &FileObject) -> &'static str {
    match ObjectKind::from_number(object.kind) {
        Some(ObjectKind::Regular) => "file",
        Some(ObjectKind::Directory) => "directory",
        Some(ObjectKind::Device) => "device",
        Some(ObjectKind::Terminal) => "terminal",
        Some(ObjectKind::Memfd) => "memfd",
        Some(ObjectKind::SharedAnonymous) => "shared memory",
        Some(ObjectKind::Pipe) => "pipe",
        None => "unknown",
    }
}

fn open_flags(flags: u32) -> Cell {
    let access = match flags as i32 & libc::O_ACCMODE {
        libc::O_RDONLY => "RDONLY",
        libc::O_WRONLY => "WRONLY",
        _ => "RDWR",
    };
    let set = OPEN_FLAGS
        .iter()
        .filter(|(flag, _)| flags as i32 & flag == *flag);
    let names: Vec<&str> = std::iter::once(access)
        .chain(set.map(|(_, name)| *name))
        .collect();
    said(names.join("|"), flags)
}

fn modified(object: &FileObject) -> Cell {
    let words = match u64::try_from(object.mtime_ns) {
        Ok(0) => "-".to_owned(),
        Ok(ns) => output::date(ns),
        Err(_) => "before 1970".to_owned(),
    };
    said(words, object.mtime_ns)
}

fn usage(object: &FileObject) -> Cell {
    let uses = [
        (OBJECT_MAPPED_ONLY, "mapped only"),
        (OBJECT_UNCHANGED, "must be unchanged"),
    ];
    let uses = uses.iter().filter(|(flag, _)| object.flags & flag != 0);
    let names: Vec<&str> = uses.map(|(_, name)| *name).collect();
    said(names.join(", "), names)
}

fn descriptors(task: &Task) -> Table {
    let mut table = Table::new("descriptors", &[">FD", ">Object", "Close on exec", "Path"]);
    for descriptor in &task.descriptors {
        let path = task
            .object(descriptor.object)
            .map(|(_, path)| path.as_slice());
        table.row(vec![
            number(descriptor.fd),
            number(descriptor.object),
            yes(descriptor.flags & DESCRIPTOR_CLOEXEC != 0),
            bytes(path.unwrap_or_default()),
        ]);
    }
    table
}

fn locks(task: &Task) -> Table {
    let mut table = Table::new("locks", &[">Object", "Kind", "Exclusive", "First", "Last"]);
    for lock in &task.locks {
        let kind = match LockKind::from_number(lock.kind) {
            Some(LockKind::Posix) => "posix",
            Some(LockKind::Ofd) => "ofd",
            Some(LockKind::Flock) => "flock",
            None => "unknown",
        };
        table.row(vec![
            number(lock.object),
            text(kind),
            yes(lock.exclusive != 0),
            address(lock.start),
            address(lock.end),
        ]);
    }
    table
}
