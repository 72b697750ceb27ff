// SPDX-License-Identifier: GPL-2.0

//! The calls of `/dev/geist`.

use geist_image::uapi;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of the buffer for the module's sentence.
const MESSAGE_BYTES: usize = 1024;

/// Why the module refused a call.
#[derive(Debug)]
pub struct Refusal {
    /// The error number.
    pub errno: i32,
    /// The module's sentence; empty when it gave none.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.message.is_empty() {
            let error = io::Error::from_raw_os_error(self.errno);
            write!(f, "the geist module refused the call: {error}")
        } else {
            f.write_str(&self.message)
        }
    }
}

impl std::error::Error for Refusal {}

/// A structure of the interface with the place of its common fields.
trait Argument: Default {
    const NUMBER: u32;
    fn set_size(&mut self, size: u32);
    fn set_message(&mut self, address: u64, length: u32);
}

macro_rules! argument {
    ($type:ty, $number:expr) => {
        impl Argument for $type {
            const NUMBER: u32 = $number;
            fn set_size(&mut self, size: u32) {
                self.size = size;
            }
            fn set_message(&mut self, address: u64, length: u32) {
                self.message = address;
                self.message_len = length;
            }
        }
    };
}
argument!(uapi::Checkpoint, uapi::IOC_CHECKPOINT);
argument!(uapi::RestartPrepare, uapi::IOC_RESTART_PREPARE);
argument!(uapi::RestartFinish, uapi::IOC_RESTART_FINISH);
argument!(uapi::Watch, uapi::IOC_WATCH);
argument!(uapi::Unwatch, uapi::IOC_UNWATCH);

impl Argument for uapi::Info {
    const NUMBER: u32 = uapi::IOC_INFO;
    fn set_size(&mut self, size: u32) {
        self.size = size;
    }
    fn set_message(&mut self, _address: u64, _length: u32) {}
}

/// The sentence in a buffer that the module filled.
pub fn sentence(buffer: &[u8]) -> String {
    let end = buffer.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&buffer[..end.unwrap_or(buffer.len())]).into_owned()
}

/// Makes the call. Private: `argument` may hold addresses, which the callers here keep valid.
fn call<T: Argument>(device: BorrowedFd<'_>, argument: &mut T) -> Result<(), Refusal> {
    let mut message = [0u8; MESSAGE_BYTES];
    argument.set_size(size_of::<T>() as u32);
    argument.set_message(message.as_mut_ptr() as u64, MESSAGE_BYTES as u32);
    // SAFETY: the number belongs to the structure, whose size it holds; its addresses are valid
    // for the time of the call: that of the message is set here, others by the callers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ioctl,
            device.as_raw_fd(),
            libc::c_ulong::from(T::NUMBER),
            argument as *mut T,
        )
    };
    if result != -1 {
        return Ok(());
    }
    Err(Refusal {
        errno: io::Error::last_os_error().raw_os_error().unwrap_or(0),
        message: sentence(&message),
    })
}

/// `GEIST_IOC_INFO`
pub fn info(device: BorrowedFd<'_>) -> Result<uapi::Info, Refusal> {
    let mut info = uapi::Info::default();
    call(device, &mut info)?;
    Ok(info)
}

/// `GEIST_IOC_CHECKPOINT`
pub fn checkpoint(
    device: BorrowedFd<'_>,
    arguments: uapi::Checkpoint,
    description: &[u8],
) -> Result<uapi::Checkpoint, Refusal> {
    let mut arguments = uapi::Checkpoint {
        description: description.as_ptr() as u64,
        description_len: description.len() as u32,
        ..arguments
    };
    call(device, &mut arguments)?;
    Ok(arguments)
}

/// `GEIST_IOC_WATCH`
pub fn watch(
    device: BorrowedFd<'_>,
    arguments: uapi::Watch,
    files: &[uapi::WatchFile],
    description: &[u8],
) -> Result<(), Refusal> {
    let mut arguments = uapi::Watch {
        files: files.as_ptr() as u64,
        file_count: files.len() as u32,
        description: description.as_ptr() as u64,
        description_len: description.len() as u32,
        ..arguments
    };
    call(device, &mut arguments)
}

/// `GEIST_IOC_UNWATCH`: returns what the watch did.
pub fn unwatch(device: BorrowedFd<'_>, pid: i32) -> Result<uapi::Unwatch, Refusal> {
    let mut arguments = uapi::Unwatch {
        pid,
        ..Default::default()
    };
    call(device, &mut arguments)?;
    Ok(arguments)
}

/// `GEIST_IOC_RESTART_PREPARE`
pub fn restart_prepare(
    device: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    app: u32,
    version: u64,
    files: &[uapi::RestartFile],
    stopped: bool,
) -> Result<(), Refusal> {
    let mut arguments = uapi::RestartPrepare {
        dir_fd: dir.as_raw_fd(),
        app,
        version,
        files: files.as_ptr() as u64,
        file_count: files.len() as u32,
        flags: if stopped { uapi::RESTART_STOPPED } else { 0 },
        ..Default::default()
    };
    call(device, &mut arguments)
}

/// `GEIST_IOC_RESTART_JOIN`: returns only when it failed before this process was touched. The
/// sentence then stands in `message`, which must outlive this process's memory to be read.
pub fn restart_join(
    device: BorrowedFd<'_>,
    pid: i32,
    message: &mut super::shared::SharedPage,
) -> io::Error {
    let mut arguments = uapi::RestartJoin {
        size: size_of::<uapi::RestartJoin>() as u32,
        pid,
        message_len: message.len() as u32,
        message: message.address(),
        ..Default::default()
    };
    // SAFETY: as in `call`; the page of the message is mapped writable. When the call succeeds,
    // nothing of this program runs on.
    unsafe {
        libc::syscall(
            libc::SYS_ioctl,
            device.as_raw_fd(),
            libc::c_ulong::from(uapi::IOC_RESTART_JOIN),
            &raw mut arguments,
        )
    };
    io::Error::last_os_error()
}

/// `GEIST_IOC_RESTART_FINISH`: returns the number of pages filled.
pub fn restart_finish(device: BorrowedFd<'_>) -> Result<u64, Refusal> {
    let mut arguments = uapi::RestartFinish::default();
    call(device, &mut arguments)?;
    Ok(arguments.pages)
}
