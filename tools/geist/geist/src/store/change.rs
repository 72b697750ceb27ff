// SPDX-License-Identifier: GPL-2.0

//! What changes the directory of an application, step by step: the one place where that happens, so
//! that tests can cut it off behind any step.

use super::{text, App};
use anyhow::{anyhow, Context as _, Result};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use std::fs::File;

/// Changes a directory of versions.
pub trait Change {
    /// Makes the file `name`, which must not be there; `write` gives it its content, which is on the
    /// disk when this returns.
    fn create(&self, name: &str, write: &mut dyn FnMut(&mut File) -> Result<()>) -> Result<()>;

    /// Renames a file, replacing `to`.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a file.
    fn unlink(&self, name: &str) -> Result<()>;

    /// Brings the entries of the directory to the disk.
    fn sync(&self) -> Result<()>;
}

impl Change for App {
    fn create(&self, name: &str, write: &mut dyn FnMut(&mut File) -> Result<()>) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut make = || -> Result<()> {
            let fd = fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = File::from(fd);
            write(&mut file)?;
            Ok(file.sync_all()?)
        };
        make().with_context(|| {
            let path = self.path.join(name);
            format!("{} cannot be written", path.display())
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        fs::renameat(&self.dir, from, &self.dir, to).map_err(|error| {
            let path = self.path.join(from);
            anyhow!("{} cannot be renamed: {}", path.display(), text(error))
        })
    }

    fn unlink(&self, name: &str) -> Result<()> {
        fs::unlinkat(&self.dir, name, AtFlags::empty()).map_err(|error| {
            let path = self.path.join(name);
            anyhow!("{} cannot be removed: {}", path.display(), text(error))
        })
    }

    fn sync(&self) -> Result<()> {
        fs::fsync(&self.dir)
            .map_err(|error| anyhow!("{}: cannot be synced: {}", self.path.display(), text(error)))
    }
}
