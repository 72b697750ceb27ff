// SPDX-License-Identifier: GPL-2.0

//! Whether the memory of a version fits where it is to be restarted: into the machine, and into the
//! control groups of the caller, which the process will be in. Said before anything is begun, since
//! afterwards the kernel would kill what does not fit.

use crate::output::bytes;
use anyhow::{bail, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the control groups of version 2 are.
const GROUPS: &str = "/sys/fs/cgroup";

/// A place with a limit.
struct Place {
    /// What it is, and where its limit comes from.
    name: String,
    /// Bytes that it has room for.
    room: u64,
}

/// Refuses a version that holds so many bytes of memory where there is no room for them.
pub fn check(version: u64, stored: u64) -> Result<()> {
    let free_swap = swap();
    let places = machine(free_swap).into_iter().chain(groups(free_swap));
    let Some(tightest) = places.min_by_key(|place| place.room) else {
        return Ok(());
    };
    if stored > tightest.room {
        bail!(
            "version {version} holds {} of memory, and {} has room for {}",
            bytes(stored),
            tightest.name,
            bytes(tightest.room)
        );
    }
    Ok(())
}

/// A field of `/proc/meminfo`, bytes.
fn meminfo(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    Some(field(&text, name)? * 1024)
}

/// The number behind a name, with or without a colon, at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let found = words.next()?.trim_end_matches(':') == name;
        found.then(|| words.next()?.parse().ok()).flatten()
    })
}

fn swap() -> u64 {
    meminfo("SwapFree").unwrap_or(0)
}

fn machine(free_swap: u64) -> Option<Place> {
    Some(Place {
        name: "this machine".into(),
        room: meminfo("MemAvailable")?.saturating_add(free_swap),
    })
}

/// The control group of the caller and those above it, as far as they have limits.
fn groups(free_swap: u64) -> Vec<Place> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let mut places = Vec::new();
    let mut folder = path.map(|path| Path::new(GROUPS).join(path));
    while let Some(group) = folder.filter(|folder| folder.starts_with(GROUPS)) {
        let read = |name: &str| fs::read_to_string(group.join(name)).ok();
        if let Some(room) = room(read, free_swap) {
            places.push(Place {
                name: format!("the control group {} (memory.max)", shown(&group)),
                room,
            });
        }
        folder = group.parent().map(Path::to_path_buf);
    }
    places
}

fn shown(group: &Path) -> String {
    let path: PathBuf = group.strip_prefix(GROUPS).unwrap_or(group).into();
    format!("/{}", path.display())
}

/// What a group with these files has room for, if it has a limit. What it caches of files gives way,
/// and what may be swapped too.
fn room(read: impl Fn(&str) -> Option<String>, free_swap: u64) -> Option<u64> {
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let limit = number("memory.max")?;
    let stat = read("memory.stat").unwrap_or_default();
    let cached: u64 = ["inactive_file", "active_file", "slab_reclaimable"]
        .iter()
        .filter_map(|name| field(&stat, name))
        .sum();
    let used = number("memory.current")?.saturating_sub(cached);
    let swap = match number("memory.swap.max") {
        Some(limit) => limit.saturating_sub(number("memory.swap.current").unwrap_or(0)),
        None => u64::MAX,
    };
    Some(
        limit
            .saturating_sub(used)
            .saturating_add(swap.min(free_swap)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)], free_swap: u64) -> Option<u64> {
        let read = |name: &str| {
            let (_, text) = files.iter().find(|(found, _)| *found == name)?;
            Some((*text).to_owned())
        };
        room(read, free_swap)
    }

    #[test]
    fn a_group_without_a_limit_has_room_for_all() {
        assert_eq!(
            of(&[("memory.max", "max\n"), ("memory.current", "5\n")], 7),
            None
        );
        assert_eq!(of(&[], 7), None);
    }

    #[test]
    fn what_is_cached_and_what_may_be_swapped_gives_way() {
        let mut files = vec![
            ("memory.max", "1000\n"),
            ("memory.current", "900\n"),
            (
                "memory.stat",
                "anon 500\ninactive_file 200\nactive_file 100\n",
            ),
        ];
        assert_eq!(of(&files, 0), Some(400));
        assert_eq!(of(&files, 50), Some(450));
        files.push(("memory.swap.max", "30\n"));
        files.push(("memory.swap.current", "10\n"));
        assert_eq!(of(&files, 50), Some(420));
        files[1] = ("memory.current", "5000\n");
        files[3] = ("memory.swap.max", "0\n");
        assert_eq!(of(&files, 50), Some(0));
    }

    #[test]
    fn fields_are_whole_words() {
        let text = "MemFree: 12 kB\nMemAvailable:   34 kB\n";
        assert_eq!(field(text, "MemAvailable"), Some(34));
        assert_eq!(field(text, "Mem"), None);
    }
}
