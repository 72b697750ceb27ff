// SPDX-License-Identifier: GPL-2.0

//! Credentials of this (single-threaded) process, by the raw system calls.

use super::check;
use std::io;

/// `_LINUX_CAPABILITY_VERSION_3`
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Inheritable, permitted and effective capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Inheritable.
    pub inheritable: u64,
    /// Permitted.
    pub permitted: u64,
    /// Effective.
    pub effective: u64,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `capget(2)`
pub fn caps() -> io::Result<Caps> {
    let header = CapHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let mut data = [CapData::default(); 2];
    // SAFETY: version 3 writes two `CapData`, which is what `data` has room for.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | (u64::from(high) << 32);
    Ok(Caps {
        inheritable: join(data[0].inheritable, data[1].inheritable),
        permitted: join(data[0].permitted, data[1].permitted),
        effective: join(data[0].effective, data[1].effective),
    })
}

/// `capset(2)`
pub fn set_caps(caps: Caps) -> io::Result<()> {
    let header = CapHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| CapData {
        effective: (caps.effective >> shift) as u32,
        permitted: (caps.permitted >> shift) as u32,
        inheritable: (caps.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads two `CapData`.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    Ok(())
}

/// A `prctl(2)` whose arguments are plain numbers.
fn prctl(option: i32, second: u64, third: u64) -> io::Result<i64> {
    // SAFETY: private to this file, and only called with options that take no addresses.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, second, third, 0, 0) })
}

/// Whether capability `cap` is in the bounding set; an error when the kernel has none of that number.
pub fn in_bounding_set(cap: u32) -> io::Result<bool> {
    Ok(prctl(libc::PR_CAPBSET_READ, cap.into(), 0)? == 1)
}

/// Takes capability `cap` from the bounding set.
pub fn drop_from_bounding_set(cap: u32) -> io::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, cap.into(), 0).map(drop)
}

/// Whether capability `cap` is in the ambient set.
pub fn in_ambient_set(cap: u32) -> io::Result<bool> {
    let is_set = libc::PR_CAP_AMBIENT_IS_SET as u64;
    Ok(prctl(libc::PR_CAP_AMBIENT, is_set, cap.into())? == 1)
}

/// Puts capability `cap` into the ambient set.
pub fn raise_ambient(cap: u32) -> io::Result<()> {
    let raise = libc::PR_CAP_AMBIENT_RAISE as u64;
    prctl(libc::PR_CAP_AMBIENT, raise, cap.into()).map(drop)
}

/// Empties the ambient set.
pub fn clear_ambient() -> io::Result<()> {
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as u64;
    prctl(libc::PR_CAP_AMBIENT, clear, 0).map(drop)
}

/// `PR_GET_SECUREBITS`
pub fn securebits() -> io::Result<u32> {
    Ok(prctl(libc::PR_GET_SECUREBITS, 0, 0)? as u32)
}

/// `PR_SET_SECUREBITS`
pub fn set_securebits(bits: u32) -> io::Result<()> {
    prctl(libc::PR_SET_SECUREBITS, bits.into(), 0).map(drop)
}

/// `PR_SET_KEEPCAPS`
pub fn set_keepcaps(keep: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, keep.into(), 0).map(drop)
}

/// Real, effective, saved and file system user ID.
pub fn uids() -> io::Result<[u32; 4]> {
    let mut ids = [0u32; 4];
    let [real, effective, saved, _] = &mut ids;
    // SAFETY: the call writes three IDs to three places for IDs.
    check(unsafe {
        libc::syscall(
            libc::SYS_getresuid,
            real as *mut u32,
            effective as *mut u32,
            saved as *mut u32,
        )
    })?;
    ids[3] = set_fsuid(u32::MAX);
    Ok(ids)
}

/// Real, effective, saved and file system group ID.
pub fn gids() -> io::Result<[u32; 4]> {
    let mut ids = [0u32; 4];
    let [real, effective, saved, _] = &mut ids;
    // SAFETY: the call writes three IDs to three places for IDs.
    check(unsafe {
        libc::syscall(
            libc::SYS_getresgid,
            real as *mut u32,
            effective as *mut u32,
            saved as *mut u32,
        )
    })?;
    ids[3] = set_fsgid(u32::MAX);
    Ok(ids)
}

/// `setresuid(2)`
pub fn set_uids(real: u32, effective: u32, saved: u32) -> io::Result<()> {
    // SAFETY: the call takes plain numbers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, real, effective, saved) }).map(drop)
}

/// `setresgid(2)`
pub fn set_gids(real: u32, effective: u32, saved: u32) -> io::Result<()> {
    // SAFETY: the call takes plain numbers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, real, effective, saved) }).map(drop)
}

/// `setfsuid(2)`: returns the ID before; an invalid one changes nothing.
pub fn set_fsuid(uid: u32) -> u32 {
    // SAFETY: the call takes a plain number and cannot fail.
    unsafe { libc::syscall(libc::SYS_setfsuid, uid) as u32 }
}

/// `setfsgid(2)`: returns the ID before; an invalid one changes nothing.
pub fn set_fsgid(gid: u32) -> u32 {
    // SAFETY: the call takes a plain number and cannot fail.
    unsafe { libc::syscall(libc::SYS_setfsgid, gid) as u32 }
}

/// `getgroups(2)`
pub fn groups() -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 65536];
    // SAFETY: the call writes at most as many IDs as `groups` has room for.
    let count = check(unsafe {
        libc::syscall(
            libc::SYS_getgroups,
            groups.len() as i32,
            groups.as_mut_ptr(),
        )
    })?;
    groups.truncate(count as usize);
    Ok(groups)
}

/// `setgroups(2)`
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the call reads as many IDs as `groups` has.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}
