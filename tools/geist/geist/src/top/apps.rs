// SPDX-License-Identifier: GPL-2.0

//! What `/sys/kernel/geist` says of the applications.

use crate::proc::Running;
use crate::sysfs::{self, Folder};
use anyhow::Result;
use serde::Serialize;
use std::path::Path;

/// An application, as `--json` prints it. The files of its folder, and the name of its process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct App {
    /// Application ID
    pub app: u32,
    /// 0: not in this pid namespace
    pub pid: u32,
    /// Name of the process
    pub command: String,
    /// Versions are taken at an interval
    pub watched: bool,
    /// 0: not watched, or suspended
    pub interval_ms: u64,
    /// 0: all
    pub keep: u64,
    /// The last one
    pub version: u64,
    /// Pages that may have changed since
    pub dirty: u64,
    /// Pages in the last version
    pub pages: u64,
    /// Bytes of the last version
    pub bytes: u64,
    /// Times of the last version
    pub pause_us: u64,
    /// Part of the pause
    pub capture_us: u64,
    /// Writing
    pub write_us: u64,
    /// Flushing and renaming
    pub commit_us: u64,
    /// Versions since tracking began, and their sums
    pub versions: u64,
    /// Pages of all
    pub total_pages: u64,
    /// Bytes of all
    pub total_bytes: u64,
    /// Pauses of all
    pub total_pause_us: u64,
    /// Ticks without a version
    pub skipped: u64,
    /// Versions that failed
    pub errors: u64,
    /// Bytes held until they are written
    pub held_bytes: u64,
    /// Absent where there was none, or who asks may not know
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl App {
    /// Reads the folder of an application; `None` when that ended meanwhile.
    fn read(folder: &Folder) -> Result<Option<Self>> {
        folder.read(|folder| {
            let pid = folder.number("pid")? as u32;
            let command = match pid {
                0 => None,
                pid => Running::find(pid)?.map(|running| running.comm),
            };
            Ok(Self {
                app: folder.app,
                pid,
                command: command.unwrap_or_else(|| "-".to_owned()),
                watched: folder.number("watched")? != 0,
                interval_ms: folder.number("interval_ms")?,
                keep: folder.number("keep")?,
                version: folder.number("version")?,
                dirty: folder.number("dirty")?,
                pages: folder.number("pages")?,
                bytes: folder.number("bytes")?,
                pause_us: folder.number("pause_us")?,
                capture_us: folder.number("capture_us")?,
                write_us: folder.number("write_us")?,
                commit_us: folder.number("commit_us")?,
                versions: folder.number("versions")?,
                total_pages: folder.number("total_pages")?,
                total_bytes: folder.number("total_bytes")?,
                total_pause_us: folder.number("total_pause_us")?,
                skipped: folder.number("skipped")?,
                errors: folder.number("errors")?,
                held_bytes: folder.number("held_bytes")?,
                last_error: folder.sentence("last_error")?,
            })
        })
    }
}

/// All applications, by their IDs. `root` is the folder of the module.
pub fn read_all(root: &Path) -> Result<Vec<App>> {
    let mut apps = Vec::new();
    for folder in sysfs::folders(root)? {
        apps.extend(App::read(&folder)?);
    }
    apps.sort_by_key(|app| (app.app, app.pid));
    Ok(apps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const FILES: [&str; 21] = [
        "pid",
        "interval_ms",
        "keep",
        "version",
        "dirty",
        "pages",
        "bytes",
        "pause_us",
        "capture_us",
        "write_us",
        "commit_us",
        "versions",
        "total_pages",
        "total_bytes",
        "total_pause_us",
        "skipped",
        "errors",
        "held_bytes",
        "last_error",
        "watched",
        "something_newer",
    ];

    fn make(root: &Path, name: &str) {
        let folder = root.join("apps").join(name);
        fs::create_dir_all(&folder).unwrap();
        for (number, file) in FILES.iter().enumerate() {
            fs::write(folder.join(file), format!("{}\n", number * 10)).unwrap();
        }
    }

    #[test]
    fn folders() {
        let root = tempfile::tempdir().unwrap();
        for name in ["812", "99", "812-4711", "power"] {
            make(root.path(), name);
        }
        let own = std::process::id();
        fs::write(root.path().join("apps/99/pid"), format!("{own}\n")).unwrap();
        fs::write(root.path().join("apps/99/last_error"), "\n").unwrap();
        let apps = read_all(root.path()).unwrap();
        let ids: Vec<u32> = apps.iter().map(|app| app.app).collect();
        assert_eq!(ids, [99, 812, 812]);
        assert_eq!(apps[0].pid, own);
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(apps[0].command, name.trim_end());
        assert_eq!(apps[0].last_error, None);
        assert_eq!((apps[1].pid, apps[1].command.as_str()), (0, "-"));
        assert_eq!((apps[1].interval_ms, apps[1].held_bytes), (10, 170));
        assert_eq!(apps[1].last_error.as_deref(), Some("180"));
    }

    #[test]
    fn an_application_that_ends_meanwhile() {
        let root = tempfile::tempdir().unwrap();
        make(root.path(), "812");
        make(root.path(), "813");
        fs::remove_file(root.path().join("apps/812/errors")).unwrap();
        let apps = read_all(root.path()).unwrap();
        assert_eq!(apps.len(), 1);
        assert_eq!(apps[0].app, 813);
    }

    #[test]
    fn what_cannot_be() {
        let root = tempfile::tempdir().unwrap();
        let error = read_all(root.path()).unwrap_err().to_string();
        assert!(error.contains("modprobe geist"), "{error}");
        make(root.path(), "812");
        fs::write(root.path().join("apps/812/pages"), "many\n").unwrap();
        let error = read_all(root.path()).unwrap_err().to_string();
        assert!(
            error.contains("812/pages: \"many\" is no number"),
            "{error}"
        );
    }
}
