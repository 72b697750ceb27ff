// SPDX-License-Identifier: GPL-2.0

//! The lock of an application's directory: clients wait for each other. A watch holds it, too, and
//! nobody waits for that.

use crate::output;
use crate::proc::Running;
use crate::store::App;
use crate::sys::signal;
use crate::sysfs;
use anyhow::{anyhow, bail, Result};
use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;
use std::path::Path;

impl App {
    /// Takes the lock of the application, for writing or for reading, when it is free or becomes so
    /// within some seconds; says whether it was taken.
    pub fn lock_within(&self, exclusive: bool, seconds: u32) -> Result<bool> {
        let (now, wait) = match exclusive {
            true => (
                FlockOperation::NonBlockingLockExclusive,
                FlockOperation::LockExclusive,
            ),
            false => (
                FlockOperation::NonBlockingLockShared,
                FlockOperation::LockShared,
            ),
        };
        let mut result = flock(self.dir(), now);
        if result == Err(Errno::WOULDBLOCK) && seconds > 0 {
            signal::interrupt_every(seconds)?;
            result = flock(self.dir(), wait);
            signal::no_interrupt();
        }
        match result {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
            Err(error) => Err(anyhow!(
                "{}: cannot be locked: {}",
                self.path().display(),
                std::io::Error::from(error)
            )),
        }
    }

    /// Takes the lock of the application, waiting for others: for writing, or for reading. An error
    /// when it is watched, since that may go on for ever.
    pub fn lock(&self, exclusive: bool) -> Result<()> {
        match self.lock_unless_watched(exclusive)? {
            true => Ok(()),
            false => bail!(
                "application {} is watched; `geist unwatch {0}` ends that, `geist watch {0} --keep N` has old versions dropped",
                self.id
            ),
        }
    }

    /// Takes the lock of the application, waiting for others but not for a watch; says whether it
    /// was taken.
    pub fn lock_unless_watched(&self, exclusive: bool) -> Result<bool> {
        let (mut seconds, mut waited) = (0, 0);
        while !self.lock_within(exclusive, seconds)? {
            if self.is_watched()? {
                return Ok(false);
            }
            waited += seconds;
            if waited == 1 {
                output::note(&format!(
                    "waiting for another geist that uses application {}",
                    self.id
                ));
            }
            seconds = 1;
        }
        Ok(true)
    }

    /// Gives the lock back.
    pub fn unlock(&self) {
        // Cannot fail on an open directory; closing it unlocks it all the same.
        let _ = flock(self.dir(), FlockOperation::Unlock);
    }

    /// Whether the module takes versions of it at an interval, and its process runs: with that, the
    /// watch ends.
    fn is_watched(&self) -> Result<bool> {
        // Without the module nothing is.
        for pid in sysfs::watched(Path::new(sysfs::ROOT), self.id).unwrap_or_default() {
            if Running::find(pid)?.is_some_and(|running| !running.has_ended()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
