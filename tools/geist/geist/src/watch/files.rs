// SPDX-License-Identifier: GPL-2.0

//! What the module must know of the files that lie in the store when a watch begins, so that it
//! drops none that a kept version needs.

use crate::image::{self, Gathering};
use crate::store::App;
use anyhow::Result;
use geist_image::uapi::{WatchFile, WATCH_FILE_COMMITTED};
use std::collections::{BTreeMap, BTreeSet};

/// Every number with files in the directory of an application.
pub fn held(app: &App) -> Result<Vec<WatchFile>> {
    let files = app.files()?;
    let numbers: BTreeSet<u64> = files.iter().map(|(_, parsed)| parsed.version).collect();
    let unneeded = |number: &u64| WatchFile {
        version: *number,
        ..Default::default()
    };
    // All of them first: a version may need files of a higher number than its own.
    let mut held: BTreeMap<u64, WatchFile> = numbers
        .iter()
        .map(|number| (*number, unneeded(number)))
        .collect();
    let mut gathering = Gathering::default();
    // The newest version that cannot say what it needs: then it is everything.
    let mut damaged = 0;
    for version in &numbers {
        if !image::exists(app, *version) {
            continue;
        }
        if gathering.add(app, *version).is_err() {
            damaged = *version;
        }
        if let Some(own) = held.get_mut(version) {
            own.flags = WATCH_FILE_COMMITTED;
            own.needed_by = *version;
        }
    }
    let needed = gathering.finish().numbers();
    for (number, file) in &mut held {
        let by = needed.get(number).copied().unwrap_or(0);
        file.needed_by = file.needed_by.max(by).max(damaged);
    }
    Ok(held.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consolidate::consolidate;
    use crate::image::common::{Made, PID};
    use crate::store::Store;
    use std::fs;

    /// Versions, newest that needs them, whether they are committed.
    fn seen(app: &App) -> Vec<(u64, u64, bool)> {
        let seen = |file: &WatchFile| (file.version, file.needed_by, file.flags != 0);
        held(app).unwrap().iter().map(seen).collect()
    }

    #[test]
    fn what_is_needed() {
        let store = tempfile::tempdir().unwrap();
        Made::new(store.path(), 1).write(store.path());
        for (version, parent) in [(2, 1), (4, 1)] {
            let mut increment = Made::new(store.path(), version);
            increment.parent = parent;
            increment.pages.truncate(1);
            increment.gone.1 = 3;
            increment.write(store.path());
        }
        Made::new(store.path(), 7).write(store.path());
        let app = Store::open(store.path()).unwrap().app(PID).unwrap();
        assert_eq!(
            seen(&app),
            [(1, 4, true), (2, 2, true), (4, 4, true), (7, 7, true)]
        );

        // Dropped, but needed.
        let file = |name: &str| app.path().join(name);
        fs::remove_file(file("global_v1.bin")).unwrap();
        assert_eq!(seen(&app)[0], (1, 4, false));

        // Made complete: its files have a higher number than its own.
        consolidate(&app, &app, 2).unwrap();
        assert_eq!(
            seen(&app),
            [
                (1, 4, false),
                (2, 2, true),
                (4, 4, true),
                (7, 7, true),
                (8, 2, false)
            ]
        );
        fs::remove_file(file("global_v2.bin")).unwrap();
        app.clean(&app).unwrap();

        // Damaged: it may need anything.
        fs::write(file(&format!("control_{PID}_v4.bin")), "").unwrap();
        assert_eq!(seen(&app), [(1, 4, false), (4, 4, true), (7, 7, true)]);
    }
}
