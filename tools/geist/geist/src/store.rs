// SPDX-License-Identifier: GPL-2.0

//! The store: a directory per application, with the files of its versions.

mod change;
mod free;
#[cfg(test)]
mod tests;

pub use change::Change;
pub use free::{Freeing, Remains};

use crate::image::{self, Summary};
use crate::progress::Sight;
use anyhow::{anyhow, bail, Context as _, Result};
use geist_image::name::{self, Name, Parsed};
use geist_image::FileKind;
use rustix::fs::{self, Access, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Name of the file that says which running process an application is.
const INSTANCE: &str = "instance";
/// Its name while it is written.
const INSTANCE_NEW: &str = "instance.new";

/// Flags for every directory that is opened.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    dir: OwnedFd,
}

/// The directory of an application.
#[derive(Debug)]
pub struct App {
    /// Application ID.
    pub id: u32,
    path: PathBuf,
    dir: OwnedFd,
}

/// Whether a version exists.
#[derive(Debug)]
pub enum State {
    /// It is committed; its `global` file is good, and its other files are there.
    Good(Box<Summary>),
    /// It was committed, but is damaged.
    Damaged(image::Damaged),
    /// It was never committed: its files are leftovers.
    Uncommitted,
}

impl Store {
    /// Opens the store at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let dir = fs::open(path, DIRECTORY - OFlags::NOFOLLOW, Mode::empty()).map_err(|error| {
            match error {
                Errno::NOENT => anyhow!(
                    "the store {shown} does not exist; make it with `mkdir -m 700 {shown}`, or name another with --store"
                ),
                Errno::NOTDIR => anyhow!("the store {shown} is no directory"),
                error => anyhow!("the store {shown} cannot be opened: {}", text(error)),
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            dir,
        })
    }

    /// The applications that it holds.
    pub fn apps(&self) -> Result<Vec<u32>> {
        let names = names(self.dir.as_fd()).with_context(|| self.path.display().to_string())?;
        let mut apps: Vec<u32> = names.iter().filter_map(|name| app_id(name)).collect();
        apps.sort_unstable();
        Ok(apps)
    }

    /// The application `id`.
    pub fn app(&self, id: u32) -> Result<App> {
        match fs::openat(&self.dir, id.to_string(), DIRECTORY, Mode::empty()) {
            Ok(dir) => Ok(self.opened(id, dir)),
            Err(Errno::NOENT) => bail!(
                "the store {} holds no application {id}; `geist list` shows what it holds",
                self.path.display()
            ),
            Err(error) => bail!(
                "the directory {} cannot be opened: {}",
                self.path.join(id.to_string()).display(),
                text(error)
            ),
        }
    }

    /// The application `id`, locked for writing; its directory is made when there is none. `None` when
    /// the lock is another's, and stays so for some seconds.
    pub fn app_for_checkpoint(&self, id: u32, seconds: u32) -> Result<Option<App>> {
        loop {
            match fs::mkdirat(&self.dir, id.to_string(), Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(Errno::ROFS) => {
                    bail!(
                        "the store {} is on a read-only file system",
                        self.path.display()
                    )
                }
                Err(error) => bail!(
                    "the store {} cannot take application {id}: {}",
                    self.path.display(),
                    text(error)
                ),
            }
            let app = match self.app(id) {
                Ok(app) => app,
                // Removed by another geist since.
                Err(_) if self.lacks(id) => continue,
                Err(error) => return Err(error),
            };
            if !app.lock_within(true, seconds)? {
                return Ok(None);
            }
            if !app.is_removed()? {
                app.check_writable()?;
                return Ok(Some(app));
            }
        }
    }

    fn lacks(&self, id: u32) -> bool {
        let name = id.to_string();
        matches!(
            fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW),
            Err(Errno::NOENT)
        )
    }

    fn opened(&self, id: u32, dir: OwnedFd) -> App {
        App {
            id,
            path: self.path.join(id.to_string()),
            dir,
        }
    }

    /// Removes the directory of an application, which must be empty.
    pub fn remove_app(&self, app: &App) -> Result<()> {
        fs::unlinkat(&self.dir, app.id.to_string(), AtFlags::REMOVEDIR)
            .map_err(|error| anyhow!("{}: {}", app.path.display(), text(error)))
    }
}

impl App {
    /// Its directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Its path, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check_writable(&self) -> Result<()> {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        let shown = self.path.display();
        match fs::accessat(&self.dir, ".", access, AtFlags::EACCESS) {
            Ok(()) => Ok(()),
            Err(Errno::ROFS) => bail!("{shown} is on a read-only file system"),
            Err(error) => bail!("{shown} cannot be written to: {}", text(error)),
        }
    }

    fn is_removed(&self) -> Result<bool> {
        Ok(fs::fstat(&self.dir)?.st_nlink == 0)
    }

    /// Opens one of its files for reading.
    pub fn open_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = fs::openat(&self.dir, name, flags, Mode::empty())?;
        if FileType::from_raw_mode(fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(File::from(fd))
    }

    /// The whole content of one of its files.
    pub fn read_file(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.open_file(name)?.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Version `version` of process `pid` while the module writes it.
    pub fn being_written(&self, pid: u32, version: u64) -> Sight<'_> {
        let name = Name::new(FileKind::TaskMm, pid, version);
        Sight {
            what: format!("writing version {version} of application {}", self.id),
            total: None,
            look: Box::new(move || {
                let file = self.open_file(name.as_str());
                let metadata = file.and_then(|file| file.metadata());
                metadata.map_or(0, |metadata| metadata.len())
            }),
        }
    }

    /// The names of the files of its versions.
    pub fn files(&self) -> Result<Vec<(String, Parsed)>> {
        let names = names(self.dir()).with_context(|| self.path.display().to_string())?;
        let parse = |name: String| name::parse(&name).map(|parsed| (name, parsed));
        Ok(names.into_iter().filter_map(parse).collect())
    }

    /// The versions whose `global` file is there, in order.
    pub fn numbers(&self) -> Result<BTreeSet<u64>> {
        let files = self.files()?;
        let globals = files
            .iter()
            .filter(|(_, parsed)| parsed.kind == FileKind::Global && !parsed.uncommitted);
        Ok(globals.map(|(_, parsed)| parsed.version).collect())
    }

    /// Every version that was committed, in order.
    pub fn versions(&self) -> Result<BTreeMap<u64, State>> {
        let state = |version| (version, self.state(version));
        let mut states: BTreeMap<u64, State> = self.numbers()?.into_iter().map(state).collect();
        states.retain(|_, state| !matches!(state, State::Uncommitted));
        Ok(states)
    }

    /// The state of one version.
    pub fn state(&self, version: u64) -> State {
        let name = Name::new(FileKind::Global, 0, version);
        match self.open_file(name.as_str()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::Uncommitted,
            _ => match image::summary(self, version) {
                Ok(summary) => State::Good(Box::new(summary)),
                // A watch dropped it while it was read.
                Err(_) if self.lacks_file(name.as_str()) => State::Uncommitted,
                Err(damaged) => State::Damaged(damaged),
            },
        }
    }

    fn lacks_file(&self, name: &str) -> bool {
        let status = fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW);
        matches!(status, Err(Errno::NOENT))
    }

    /// The newest committed version; 0 when there is none.
    pub fn newest(&self) -> Result<u64> {
        Ok(self.numbers()?.last().copied().unwrap_or(0))
    }

    /// The number of the next version: higher than that of any file.
    pub fn next_number(&self) -> Result<u64> {
        let files = self.files()?;
        let highest = files.iter().map(|(_, parsed)| parsed.version).max();
        Ok(highest.unwrap_or(0) + 1)
    }

    /// Removes the file of the identity.
    pub fn remove_instance(&self) -> Result<()> {
        for name in [INSTANCE, INSTANCE_NEW] {
            match fs::unlinkat(&self.dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => bail!("{}/{name}: {}", self.path.display(), text(error)),
            }
        }
        Ok(())
    }

    /// The text of the file of the identity, `None` when there is none.
    pub fn read_instance(&self) -> Result<Option<String>> {
        match self.read_file(INSTANCE) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => bail!("{}/{INSTANCE}: {error}", self.path.display()),
        }
    }

    /// Replaces the file of the identity, so that after a crash the old or the new one is there.
    pub fn write_instance(&self, text: &str) -> Result<()> {
        let write = || -> io::Result<()> {
            let flags = OFlags::WRONLY
                | OFlags::CREATE
                | OFlags::TRUNC
                | OFlags::NOFOLLOW
                | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            let mut file = File::from(fs::openat(&self.dir, INSTANCE_NEW, flags, mode)?);
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::renameat(&self.dir, INSTANCE_NEW, &self.dir, INSTANCE)?;
            Ok(fs::fsync(&self.dir)?)
        };
        write()
            .inspect_err(|_| {
                // What is half written is worth nothing; the error of the writing is what counts.
                let _ = fs::unlinkat(&self.dir, INSTANCE_NEW, AtFlags::empty());
            })
            .with_context(|| format!("{}/{INSTANCE}", self.path.display()))
    }
}

/// The words of an error number.
fn text(error: Errno) -> String {
    io::Error::from(error).to_string()
}

/// Names in a directory that are text.
fn names(dir: BorrowedFd<'_>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(dir)? {
        if let Ok(name) = entry?.file_name().to_str() {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The application that a directory's name says.
fn app_id(name: &str) -> Option<u32> {
    let id: u32 = name.parse().ok()?;
    (id > 0 && id.to_string() == name).then_some(id)
}
