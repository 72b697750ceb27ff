// SPDX-License-Identifier: GPL-2.0

//! `/dev/geist`.

use anyhow::{anyhow, Result};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The open device.
#[derive(Debug)]
pub struct Device(OwnedFd);

impl Device {
    /// Opens the device at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        match fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => Ok(Self(fd)),
            Err(Errno::NOENT) => Err(anyhow!(
                "{shown} does not exist: the module is not loaded; load it with `modprobe geist`"
            )),
            Err(Errno::ACCESS | Errno::PERM) => Err(anyhow!(
                "{shown} may not be opened by this user; try as root"
            )),
            Err(error) => Err(anyhow!(
                "{shown} cannot be opened: {}",
                std::io::Error::from(error)
            )),
        }
    }

    /// The device, as a descriptor whose number is at least `lowest`.
    pub fn moved_above(self, lowest: i32) -> Result<Self> {
        Ok(Self(rustix::io::fcntl_dupfd_cloexec(&self.0, lowest)?))
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
