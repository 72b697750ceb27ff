// SPDX-License-Identifier: GPL-2.0

//! Capture of working directory, root directory and umask.

use super::text::Text;
use crate::app::FrozenProcess;
use crate::error::{fail, Outcome};
use crate::ghost::{Export, RecordWriter};
use crate::image::files::{RootDirectory, WorkingDirectory};
use crate::sys::fd::{self, Directory, Place, Root};
use kernel::prelude::*;

/// The directories of the process.
pub(super) struct DirectoryState;

impl Export<FrozenProcess> for DirectoryState {
    fn export(process: &FrozenProcess, out: &mut RecordWriter<'_>) -> Outcome {
        let directories = fd::directories(&process.leader)?;
        let working = path_of("working", &directories.working, &directories.root)?;
        let root = path_of("root", directories.root.directory(), &Root::own()?)?;
        let record = WorkingDirectory {
            umask: directories.umask,
            reserved: 0,
        };
        out.record_with_tail(&record, &working)?;
        out.record_with_tail(&RootDirectory { reserved: 0 }, &root)
    }
}

/// The path of a directory beneath `root`, or why it has none.
fn path_of(which: &str, directory: &Directory, root: &Root) -> Outcome<KVVec<u8>> {
    let why = match directory.path(root)? {
        Place::At(path) => return Ok(path),
        Place::Deleted => "was deleted",
        Place::Unreachable => "cannot be reached from the root directory",
        Place::TooLong => fail!(
            ENAMETOOLONG,
            "the path of its {which} directory is too long"
        ),
    };
    let shown = directory.shown_path();
    let shown = Text(shown.as_deref().unwrap_or(b"?"));
    fail!(
        EOPNOTSUPP,
        "its {which} directory {shown} {why}, which geist cannot checkpoint yet"
    )
}
