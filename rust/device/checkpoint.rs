// SPDX-License-Identifier: GPL-2.0

//! `GEIST_IOC_CHECKPOINT`, and what other calls that lead to versions have in common with it.

use super::locked_directory;
use crate::app::interval;
use crate::checkpoint::{self, Figures, Options, Order};
use crate::error::{fail, Outcome};
use crate::uapi;
use kernel::{
    prelude::*,
    uaccess::{UserPtr, UserSlice},
};

/// How long threads may take to be stilled when the caller does not say, milliseconds.
const DEFAULT_TIMEOUT_MS: u32 = 30_000;

/// Highest signal number.
const MAX_SIGNAL: u32 = 64;

/// Takes one version.
pub(super) fn checkpoint(args: &mut uapi::Checkpoint) -> Outcome {
    if args.flags & !uapi::CHECKPOINT_FLAGS != 0 || args.reserved != 0 {
        fail!(
            EINVAL,
            "this geist module does not know a flag of the request"
        );
    }
    let kill = args.flags & uapi::CHECKPOINT_KILL != 0;
    let stop = args.flags & uapi::CHECKPOINT_STOP != 0;
    if kill && stop {
        fail!(
            EINVAL,
            "a checkpoint either kills or stops the process, not both"
        );
    }
    if kill && !(1..=MAX_SIGNAL).contains(&args.signal) {
        fail!(EINVAL, "there is no signal {}", args.signal);
    }
    let description = description(args.description, args.description_len)?;
    let options = Options {
        full: args.flags & uapi::CHECKPOINT_FULL != 0,
        ignore_unsupported_files: args.flags & uapi::CHECKPOINT_IGNORE_UNSUPPORTED_FILES != 0,
        kill: kill.then_some(args.signal),
        stop,
        durable: durable(args.durability)?,
        timeout_ms: timeout_ms(args.timeout_ms),
    };
    let figures = match args.version {
        0 => {
            let (version, figures) = interval::take_now(args.pid, options, &description)?;
            args.version = version;
            figures
        }
        version => {
            check_numbers(args.app, version)?;
            checkpoint::checkpoint(&Order {
                pid: args.pid,
                app: args.app,
                version,
                directory: &locked_directory(args.dir_fd)?,
                description: &description,
                options,
            })?
        }
    };
    answer(args, &figures);
    Ok(())
}

fn answer(args: &mut uapi::Checkpoint, figures: &Figures) {
    args.pages = figures.pages;
    args.bytes = figures.bytes;
    args.control_bytes = figures.control_bytes;
    args.pause_us = figures.pause_us;
    args.capture_us = figures.capture_us;
    args.write_us = figures.write_us;
    args.commit_us = figures.commit_us;
    args.total_us = figures.total_us;
    args.left_out = figures.left_out;
    args.parent = figures.parent;
}

/// Refuses numbers that no application and no version has.
pub(super) fn check_numbers(app: u32, version: u64) -> Outcome {
    if app == 0 || version == 0 || version > i64::MAX as u64 {
        fail!(EINVAL, "application IDs and versions begin at 1");
    }
    Ok(())
}

/// The description at an address of the caller.
pub(super) fn description(address: u64, length: u32) -> Outcome<KVec<u8>> {
    if length as usize > uapi::DESCRIPTION_MAX {
        fail!(
            EINVAL,
            "the description is longer than {} bytes",
            uapi::DESCRIPTION_MAX
        );
    }
    let mut description = KVec::new();
    UserSlice::new(UserPtr::from_addr(address as usize), length as usize)
        .read_all(&mut description, GFP_KERNEL)?;
    if !description.is_ascii() || description.contains(&b'\n') {
        fail!(EINVAL, "the description is not one line of ASCII");
    }
    Ok(description)
}

/// Whether a durability asks for files on the disk.
pub(super) fn durable(durability: u32) -> Outcome<bool> {
    match durability {
        uapi::DURABILITY_NONE => Ok(false),
        uapi::DURABILITY_DATA => Ok(true),
        other => fail!(EINVAL, "this geist module does not know durability {other}"),
    }
}

/// How long threads may take to be stilled, milliseconds.
pub(super) fn timeout_ms(asked: u32) -> u32 {
    match asked {
        0 => DEFAULT_TIMEOUT_MS,
        asked => asked,
    }
}
