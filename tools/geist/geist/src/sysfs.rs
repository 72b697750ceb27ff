// SPDX-License-Identifier: GPL-2.0

//! What the module shows of applications in `/sys/kernel/geist/apps`: a folder for each.

use anyhow::{bail, Context as _, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The folder of the module.
pub const ROOT: &str = "/sys/kernel/geist";

/// The folder of an application.
pub struct Folder {
    /// Application ID.
    pub app: u32,
    path: PathBuf,
}

/// The folders of all applications. `root` is the folder of the module.
pub fn folders(root: &Path) -> Result<Vec<Folder>> {
    let apps = root.join("apps");
    let entries = match fs::read_dir(&apps) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "{} is not there: is the module loaded (`modprobe geist`)?",
            apps.display()
        ),
        Err(error) => return Err(error).with_context(|| apps.display().to_string()),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| apps.display().to_string())?;
        let name = entry.file_name();
        folders.extend(name.to_str().and_then(app_of).map(|app| Folder {
            app,
            path: entry.path(),
        }));
    }
    Ok(folders)
}

/// The application of a folder: `812`, or `812-4711` where two applications are called so.
fn app_of(name: &str) -> Option<u32> {
    let id = name.split_once('-').map_or(name, |(id, _)| id);
    id.parse().ok()
}

impl Folder {
    /// What `read` reads of it; `None` when the application ended meanwhile.
    pub fn read<T>(&self, read: impl FnOnce(&Self) -> Result<T>) -> Result<Option<T>> {
        match read(self) {
            Ok(read) => Ok(Some(read)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn text(&self, file: &str) -> Result<String> {
        let path = self.path.join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.trim_end().to_owned())
    }

    /// A figure.
    pub fn number(&self, file: &str) -> Result<u64> {
        let text = self.text(file)?;
        match text.parse() {
            Ok(number) => Ok(number),
            Err(_) => bail!("{}/{file}: {text:?} is no number", self.path.display()),
        }
    }

    /// Words; `None` where there are none, or who asks may not know.
    pub fn sentence(&self, file: &str) -> Result<Option<String>> {
        match self.text(file) {
            Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
            Err(error) if kind(&error) == Some(ErrorKind::PermissionDenied) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The process, when versions of it are taken at an interval, or would be if that were not
    /// suspended; `None` too for one of another pid namespace.
    fn watched(&self) -> Result<Option<u32>> {
        let pid = self.read(|folder| match folder.number("watched")? {
            0 => Ok(0),
            _ => folder.number("pid"),
        })?;
        Ok(pid.filter(|pid| *pid != 0).map(|pid| pid as u32))
    }
}

fn kind(error: &anyhow::Error) -> Option<ErrorKind> {
    error
        .downcast_ref::<std::io::Error>()
        .map(std::io::Error::kind)
}

/// The folder was removed while it was being read.
fn is_gone(error: &anyhow::Error) -> bool {
    let errno = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::raw_os_error);
    matches!(errno, Some(libc::ENOENT | libc::ENODEV))
}

/// The interval at which versions of a watched process are taken, milliseconds; 0: suspended.
pub fn interval_ms(root: &Path, pid: u32) -> Option<u64> {
    let mut folders = folders(root).ok()?.into_iter();
    let own = folders.find(|folder| folder.watched().is_ok_and(|watched| watched == Some(pid)))?;
    own.number("interval_ms").ok()
}

/// The processes of an application that are watched: of one in this store or another.
pub fn watched(root: &Path, app: u32) -> Result<Vec<u32>> {
    pids(folders(root)?.iter().filter(|folder| folder.app == app))
}

/// The processes of all applications that are watched.
pub fn all_watched(root: &Path) -> Result<Vec<u32>> {
    pids(folders(root)?.iter())
}

fn pids<'a>(folders: impl Iterator<Item = &'a Folder>) -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for folder in folders {
        pids.extend(folder.watched()?);
    }
    pids.sort_unstable();
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of the module with applications: name, pid, whether watched, interval.
    fn root(apps: &[(&str, u32, u32, u32)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, pid, watched, interval) in apps {
            let folder = root.path().join("apps").join(name);
            fs::create_dir_all(&folder).unwrap();
            for (file, number) in [
                ("pid", pid),
                ("watched", watched),
                ("interval_ms", interval),
            ] {
                fs::write(folder.join(file), format!("{number}\n")).unwrap();
            }
        }
        root
    }

    #[test]
    fn who_is_watched() {
        let root = root(&[
            ("812", 812, 1, 10),
            ("812-4711", 4711, 1, 20),
            ("99", 99, 1, 0),
            ("100", 100, 0, 0),
            ("7", 0, 1, 10),
            ("power", 5, 1, 10),
        ]);
        let root = root.path();
        // Those that are suspended, too, and those that share an ID.
        assert_eq!(all_watched(root).unwrap(), [99, 812, 4711]);
        assert_eq!(watched(root, 812).unwrap(), [812, 4711]);
        assert_eq!(watched(root, 99).unwrap(), [99]);
        assert!(watched(root, 100).unwrap().is_empty());
        assert_eq!(interval_ms(root, 4711), Some(20));
        assert_eq!(interval_ms(root, 99), Some(0));
        assert_eq!(interval_ms(root, 100), None);
        // One that ends meanwhile is not.
        fs::remove_file(root.join("apps/812/pid")).unwrap();
        assert_eq!(all_watched(root).unwrap(), [99, 4711]);
        let nowhere = root.join("nowhere");
        let error = all_watched(&nowhere).unwrap_err().to_string();
        assert!(error.contains("modprobe geist"), "{error}");
    }
}
