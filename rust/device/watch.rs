// SPDX-License-Identifier: GPL-2.0

//! `GEIST_IOC_WATCH` and `GEIST_IOC_UNWATCH`.

use super::checkpoint::{check_numbers, description, durable, timeout_ms};
use super::locked_directory;
use crate::app::interval::{self, Settings, Wish};
use crate::error::{fail, Outcome};
use crate::knobs::KNOBS;
use crate::uapi;
use kernel::{
    prelude::*,
    uaccess::{UserPtr, UserSlice},
};
use zerocopy::{FromZeros, IntoBytes};

/// Begins or changes a watch.
pub(super) fn watch(args: &mut uapi::Watch) -> Outcome {
    if args.flags & !uapi::WATCH_FLAGS != 0 {
        fail!(
            EINVAL,
            "this geist module does not know a flag of the request"
        );
    }
    if args.flags & uapi::WATCH_CHANGE != 0 {
        return interval::change(args.pid, |now| settings(args, now));
    }
    let settings = settings(args, &defaults())?;
    check_numbers(args.app, args.version)?;
    interval::watch(Wish {
        pid: args.pid,
        app: args.app,
        version: args.version,
        full: args.flags & uapi::CHECKPOINT_FULL != 0,
        directory: locked_directory(args.dir_fd)?,
        files: files(args)?,
        description: description(args.description, args.description_len)?,
        ignore_unsupported_files: args.flags & uapi::CHECKPOINT_IGNORE_UNSUPPORTED_FILES != 0,
        settings,
    })
}

/// Ends a watch.
pub(super) fn unwatch(args: &mut uapi::Unwatch) -> Outcome {
    let totals = interval::unwatch(args.pid)?;
    args.app = totals.app;
    args.versions = totals.versions;
    args.skipped = totals.skipped;
    args.errors = totals.errors;
    args.last_version = totals.last_version;
    Ok(())
}

/// What the caller asks for; where it leaves something open, that of `default`.
fn settings(args: &uapi::Watch, default: &Settings) -> Outcome<Settings> {
    let interval_us = match args.interval_us {
        // A watch that was suspended goes on.
        0 if default.interval_us == 0 => KNOBS.interval_us(),
        0 => default.interval_us,
        asked if (uapi::INTERVAL_MIN_US..=uapi::INTERVAL_MAX_US).contains(&asked) => asked,
        asked => fail!(
            EINVAL,
            "an interval of {asked} us is not possible, it has to be from {} us to {} us",
            uapi::INTERVAL_MIN_US,
            uapi::INTERVAL_MAX_US
        ),
    };
    let or = |asked: u32, default: u32| match asked {
        uapi::DEFAULT => default,
        asked => asked,
    };
    Ok(Settings {
        interval_us,
        keep: or(args.keep, default.keep),
        full_every: or(args.full_every, default.full_every),
        durable: match args.durability {
            uapi::DEFAULT => default.durable,
            asked => durable(asked)?,
        },
        timeout_ms: match args.timeout_ms {
            0 => default.timeout_ms,
            asked => asked,
        },
    })
}

/// The settings of a watch of which nothing is said.
fn defaults() -> Settings {
    Settings {
        interval_us: KNOBS.interval_us(),
        keep: KNOBS.keep(),
        full_every: KNOBS.full_every(),
        durable: KNOBS.durable(),
        timeout_ms: timeout_ms(0),
    }
}

/// What the caller says that the directory holds.
fn files(args: &uapi::Watch) -> Outcome<KVVec<uapi::WatchFile>> {
    if args.file_count > uapi::WATCH_FILES_MAX {
        fail!(
            E2BIG,
            "the directory holds files of {} versions, more than a watch can begin with ({}); `geist gc` removes some",
            args.file_count,
            uapi::WATCH_FILES_MAX
        );
    }
    let count = args.file_count as usize;
    let bytes = count * core::mem::size_of::<uapi::WatchFile>();
    let mut reader = UserSlice::new(UserPtr::from_addr(args.files as usize), bytes).reader();
    let mut files = KVVec::with_capacity(count, GFP_KERNEL)?;
    for _ in 0..count {
        let mut file = uapi::WatchFile::new_zeroed();
        reader.read_slice(file.as_mut_bytes())?;
        files.push(file, GFP_KERNEL)?;
    }
    Ok(files)
}
