// SPDX-License-Identifier: GPL-2.0

//! `/dev/geist`: the ioctl interface (see `include/uapi/linux/geist.h`).

mod checkpoint;
mod watch;

use crate::app;
use crate::error::{fail, Failure, Outcome};
use crate::image;
use crate::restart;
use crate::sys::file::Directory;
use crate::uapi;
use kernel::{
    fs::File,
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
    uaccess::{UserPtr, UserSlice},
};

/// Name of the device below `/dev`, mode 0600.
pub(crate) const OPTIONS: MiscDeviceOptions = MiscDeviceOptions { name: c"geist" };

/// An open file of the device.
#[pin_data]
pub(crate) struct Device {
    /// The restart that was prepared on it.
    #[pin]
    session: Mutex<Option<Arc<restart::Session>>>,
}

#[vtable]
impl MiscDevice for Device {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _device: &MiscDeviceRegistration<Self>) -> Result<Pin<KBox<Self>>> {
        KBox::try_pin_init(
            try_pin_init!(Self {
                session <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    fn ioctl(device: Pin<&Self>, file: &File, command: u32, argument: usize) -> Result<isize> {
        let served = match command {
            uapi::IOC_INFO => serve(argument, uapi::size_v1::INFO, Device::info),
            uapi::IOC_CHECKPOINT => {
                serve(argument, uapi::size_v1::CHECKPOINT, checkpoint::checkpoint)
            }
            uapi::IOC_RESTART_PREPARE => serve(argument, uapi::size_v1::RESTART_PREPARE, |args| {
                device.prepare(args)
            }),
            uapi::IOC_RESTART_JOIN => serve(argument, uapi::size_v1::RESTART_JOIN, |args| {
                device.session()?.join(args, file)
            }),
            uapi::IOC_RESTART_FINISH => serve(argument, uapi::size_v1::RESTART_FINISH, |args| {
                device.session()?.finish(args)
            }),
            uapi::IOC_WATCH => serve(argument, uapi::size_v1::WATCH, watch::watch),
            uapi::IOC_UNWATCH => serve(argument, uapi::size_v1::UNWATCH, watch::unwatch),
            _ => Err(ENOTTY),
        };
        // Applications may have come and gone.
        app::settle();
        served
    }
}

impl Device {
    fn info(args: &mut uapi::Info) -> Outcome {
        args.abi_version = uapi::ABI_VERSION;
        args.format_version = image::FORMAT_VERSION;
        args.applications = app::count() as u32;
        Ok(())
    }

    fn prepare(&self, args: &mut uapi::RestartPrepare) -> Outcome {
        let mut session = self.session.lock();
        if session.is_some() {
            fail!(EBUSY, "a restart was prepared on this descriptor already");
        }
        *session = Some(restart::prepare(args)?);
        Ok(())
    }

    fn session(&self) -> Outcome<Arc<restart::Session>> {
        match &*self.session.lock() {
            Some(session) => Ok(session.clone()),
            None => fail!(EINVAL, "no restart was prepared on this descriptor"),
        }
    }
}

/// The directory that the caller has open as `fd`.
pub(crate) fn directory(fd: i32) -> Outcome<Directory> {
    match Directory::from_fd(fd) {
        Ok(directory) => Ok(directory),
        Err(error) => fail!(error, "descriptor {fd} is no open directory"),
    }
}

/// The directory that the caller has open as `fd`, and locked: who writes versions without that would
/// have the next client, which has the lock, take what is not committed yet for what was left behind.
pub(crate) fn locked_directory(fd: i32) -> Outcome<Directory> {
    let directory = directory(fd)?;
    if !directory.is_locked() {
        fail!(
            ENOLCK,
            "descriptor {fd}: the directory of the application must be locked, by flock(LOCK_EX)"
        );
    }
    Ok(directory)
}

/// Reads the structure at `address`, runs `call` on it, and writes it back, or the sentence of the
/// failure. Whether it can be written back is tried before the call: nothing is done for a caller
/// that could not be told.
///
/// The structure begins with its size. It may be shorter than `T` (an older program, at least
/// `smallest` bytes), or longer (a newer one) when the rest is zero.
fn serve<T: uapi::Call>(
    address: usize,
    smallest: usize,
    call: impl FnOnce(&mut T) -> Outcome,
) -> Result<isize> {
    let user = UserPtr::from_addr(address);
    let mut size = [0; 4];
    UserSlice::new(user, size.len())
        .reader()
        .read_slice(&mut size)?;
    let size = u32::from_ne_bytes(size) as usize;
    if size < smallest || size > image::PAGE_SIZE {
        return Err(EINVAL);
    }
    let known = size.min(core::mem::size_of::<T>());
    let mut args = T::new_zeroed();
    let mut reader = UserSlice::new(user, size).reader();
    reader.read_slice(args.as_mut_bytes().get_mut(..known).ok_or(EINVAL)?)?;
    let mut rest = KVec::new();
    reader.read_all(&mut rest, GFP_KERNEL)?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(E2BIG);
    }
    let answer = |args: &T| {
        let bytes = args.as_bytes().get(..known).ok_or(EINVAL)?;
        UserSlice::new(user, known).writer().write_slice(bytes)
    };
    answer(&args)?;
    match call(&mut args) {
        Ok(()) => answer(&args).map(|()| 0),
        Err(failure) => {
            tell(args.message(), &failure);
            Err(failure.errno)
        }
    }
}

/// Writes the sentence of `failure` to the caller's buffer, as much as fits, and a zero byte.
fn tell((address, length): (u64, u32), failure: &Failure) {
    let Some(room) = (length as usize).checked_sub(1).filter(|_| address != 0) else {
        return;
    };
    let sentence = failure.sentence();
    let sentence = sentence.get(..room).unwrap_or(sentence);
    let mut writer =
        UserSlice::new(UserPtr::from_addr(address as usize), sentence.len() + 1).writer();
    // The errno is all that a caller with a bad buffer gets.
    let _ = writer
        .write_slice(sentence)
        .and_then(|()| writer.write_slice(&[0]));
}
