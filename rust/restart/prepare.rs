// SPDX-License-Identifier: GPL-2.0

//! The beginning of a restart: everything is read and checked before anything is touched.

use super::image::{damaged, ProcessImage};
use super::session::{Files, Session};
use super::track::Origin;
use crate::error::{fail, Context, Outcome};
use crate::ghost::FileReader;
use crate::image::files::ObjectKind;
use crate::image::global;
use crate::image::mm::VmaKind;
use crate::image::name::Name;
use crate::image::FileKind;
use crate::sys::file::{Directory, Incarnation, OpenFile};
use crate::sys::restart_mm;
use crate::uapi::{RestartFile, RestartPrepare, RESTART_FLAGS, RESTART_STOPPED};
use kernel::{prelude::*, sync::Arc};
use zerocopy::FromBytes;

/// More files than this are handed in by no client.
const MAX_FILES: u32 = 65536;

/// Reads and checks an image and takes the caller's files and credentials. May sleep.
pub(crate) fn prepare(args: &RestartPrepare) -> Outcome<Arc<Session>> {
    if args.flags & !RESTART_FLAGS != 0 {
        fail!(
            EINVAL,
            "the request has undefined flags ({:#x})",
            args.flags
        );
    }
    let directory = crate::device::directory(args.dir_fd)?;
    let (global, number, images) = read_images(&directory, args.app, args.version)?;
    let files = take_files(args)?;
    for image in images.iter() {
        check_files(image, &files).within(format_args!("pid {}", image.pid))?;
    }
    let origin = Origin {
        app: args.app,
        version: args.version,
        global,
        number,
        directory: directory.identity(),
    };
    let stopped = args.flags & RESTART_STOPPED != 0;
    Session::new(origin, images, files, stopped)
}

/// Reads every file of a version but its description. A damaged one is refused by its name. Returns
/// which file the `global` one was, and the number of the others, too.
fn read_images(
    directory: &Directory,
    app: u32,
    version: u64,
) -> Outcome<(Incarnation, u64, KVec<ProcessImage>)> {
    let global = Name::new(FileKind::Global, 0, version);
    let manifest = FileReader::open(directory, FileKind::Global, app, 0, version)?;
    let (body, listed) = global::parse(manifest.body(), app, version)
        .map_err(damaged)
        .within(format_args!("{global}"))?;
    let number = body.number();
    if number != version {
        let other = Name::new(FileKind::Global, 0, number);
        if directory.open(&other).is_ok() {
            fail!(
                EBADMSG,
                "{global}: its files have the number of another version: it is damaged"
            );
        }
    }

    let name = Name::new(FileKind::Node, 0, number);
    let file = FileReader::open(directory, FileKind::Node, app, 0, number)?;
    let (node, tasks) = global::parse_node(file.body())
        .map_err(damaged)
        .within(format_args!("{name}"))?;
    if node.tasks != 1 {
        fail!(
            EOPNOTSUPP,
            "{name}: the application has {} processes; geist restarts applications of one process only yet",
            node.tasks
        );
    }
    let mut images = KVec::new();
    for task in tasks {
        for kind in [FileKind::Task, FileKind::TaskMm, FileKind::Control] {
            if !listed
                .clone()
                .any(|one| (one.kind, one.pid) == (kind as u32, task.pid))
            {
                let missing = Name::new(kind, task.pid, number);
                fail!(
                    EBADMSG,
                    "{global}: its manifest lacks {missing}: it is damaged"
                );
            }
        }
        images.push(
            ProcessImage::read(directory, app, task.pid, number)?,
            GFP_KERNEL,
        )?;
    }
    Ok((manifest.incarnation(), number, images))
}

/// The files that the caller hands in.
fn take_files(args: &RestartPrepare) -> Outcome<Files> {
    if args.file_count > MAX_FILES {
        fail!(E2BIG, "more than {MAX_FILES} files are handed in");
    }
    let size = size_of::<RestartFile>();
    let mut bytes = KVVec::from_elem(0u8, args.file_count as usize * size, GFP_KERNEL)?;
    restart_mm::read_user(args.files, &mut bytes)?;
    let mut files = Files::new();
    for row in bytes.chunks_exact(size) {
        let Ok(one) = RestartFile::read_from_bytes(row) else {
            fail!(EINVAL, "the array of files is not one");
        };
        let file = OpenFile::from_fd(one.fd).within(format_args!(
            "descriptor {} (handed in for object {})",
            one.fd, one.object
        ))?;
        if !super::insert_sorted(&mut files, (one.object, file), |(object, _)| *object)? {
            fail!(EINVAL, "two files are handed in for object {}", one.object);
        }
    }
    Ok(files)
}

/// Every file that the process needs was handed in.
fn check_files(image: &ProcessImage, files: &[(u32, OpenFile)]) -> Outcome {
    let handed_in = |object: u32| {
        files
            .binary_search_by_key(&object, |(number, _)| *number)
            .is_ok()
    };
    if !handed_in(image.space.exe_object) {
        fail!(EBADF, "its executable was not handed in");
    }
    for mapping in image.mappings.iter() {
        let own = matches!(
            mapping.kind,
            VmaKind::Anonymous | VmaKind::Vdso | VmaKind::Vvar
        );
        let object = mapping.vma.object;
        let made = image.object_kind(object) == Some(ObjectKind::SharedAnonymous);
        if !own && !made && !handed_in(object) {
            fail!(
                EBADF,
                "the file of the mapping at {:#x} was not handed in (object {object})",
                mapping.vma.start
            );
        }
    }
    Ok(())
}
