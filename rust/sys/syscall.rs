// SPDX-License-Identifier: GPL-2.0

//! System calls that the module makes in the context of the calling process.
//!
//! They check their arguments as they do for the process itself; pointers are addresses of user
//! space. All may sleep, and none may be made under a lock.

use super::{abi, helpers};
use kernel::{bindings, prelude::*};

fn call(number: u32, arguments: &[u64]) -> Result<u64> {
    let mut registers = [0usize; 6];
    for (register, argument) in registers.iter_mut().zip(arguments) {
        *register = *argument as usize;
    }
    // SAFETY: the numbers in this file are those of calls that act on the calling process only,
    // and that take their arguments as untrusted.
    let result = unsafe { helpers::geist_system_call(number, registers.as_ptr()) };
    match result {
        error @ -4095..=-1 => Err(Error::from_errno(error as i32)),
        result => Ok(result as u64),
    }
}

/// `brk(2)`: the end of the heap afterwards.
pub(crate) fn brk(end: u64) -> Result<u64> {
    call(bindings::__NR_brk, &[end])
}

/// `mprotect(2)`
pub(crate) fn mprotect(address: u64, length: u64, protection: u32) -> Result {
    call(
        bindings::__NR_mprotect,
        &[address, length, protection.into()],
    )
    .map(drop)
}

/// `madvise(2)`
pub(crate) fn madvise(address: u64, length: u64, advice: u32) -> Result {
    call(bindings::__NR_madvise, &[address, length, advice.into()]).map(drop)
}

/// `mlock2(2)`
pub(crate) fn mlock(address: u64, length: u64, on_fault: bool) -> Result {
    call(bindings::__NR_mlock2, &[address, length, on_fault.into()]).map(drop)
}

/// `mlockall(2)` with `MCL_FUTURE`, and `MCL_ONFAULT` if wanted
pub(crate) fn mlock_future(on_fault: bool) -> Result {
    let flags = abi::MCL_FUTURE | if on_fault { abi::MCL_ONFAULT } else { 0 };
    call(bindings::__NR_mlockall, &[flags.into()]).map(drop)
}

/// `mseal(2)`
pub(crate) fn mseal(address: u64, length: u64) -> Result {
    call(bindings::__NR_mseal, &[address, length, 0]).map(drop)
}

/// `prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME)`: `name` is the address of a C string.
pub(crate) fn name_mapping(address: u64, length: u64, name: u64) -> Result {
    let [option, what] = [abi::PR_SET_VMA, abi::PR_SET_VMA_ANON_NAME];
    let arguments = [option.into(), what.into(), address, length, name];
    call(bindings::__NR_prctl, &arguments).map(drop)
}

/// `prctl(PR_SET_MM, PR_SET_MM_MAP)`: `map` is the address of a `struct prctl_mm_map`.
pub(crate) fn set_mm_map(map: u64, bytes: u64) -> Result {
    let [option, what] = [abi::PR_SET_MM, abi::PR_SET_MM_MAP];
    call(
        bindings::__NR_prctl,
        &[option.into(), what.into(), map, bytes, 0],
    )
    .map(drop)
}

/// `prctl(PR_SET_THP_DISABLE, 1, flags)`
pub(crate) fn disable_huge_pages(flags: u64) -> Result {
    call(
        bindings::__NR_prctl,
        &[abi::PR_SET_THP_DISABLE.into(), 1, flags],
    )
    .map(drop)
}

/// `arch_prctl(ARCH_MAP_VDSO_64)`: the data of the vDSO at `address`, its code behind.
pub(crate) fn map_vdso(address: u64) -> Result {
    call(
        bindings::__NR_arch_prctl,
        &[abi::ARCH_MAP_VDSO_64.into(), address],
    )
    .map(drop)
}

/// `rseq(2)`: registers the area.
pub(crate) fn rseq_register(address: u64, length: u32, signature: u32) -> Result {
    call(
        bindings::__NR_rseq,
        &[address, length.into(), 0, signature.into()],
    )
    .map(drop)
}

/// `rseq(2)`: gives the area up.
pub(crate) fn rseq_unregister(address: u64, length: u32, signature: u32) -> Result {
    let arguments = [
        address,
        length.into(),
        abi::RSEQ_FLAG_UNREGISTER.into(),
        signature.into(),
    ];
    call(bindings::__NR_rseq, &arguments).map(drop)
}

/// `setitimer(2)`: `value` is the address of a `struct itimerval`.
pub(crate) fn setitimer(which: u32, value: u64) -> Result {
    call(bindings::__NR_setitimer, &[which.into(), value, 0]).map(drop)
}

/// `personality(2)`: the one in force; sets it where one is given.
pub(crate) fn personality(new: Option<u32>) -> Result<u32> {
    call(
        bindings::__NR_personality,
        &[new.unwrap_or(u32::MAX).into()],
    )
    .map(|old| old as u32)
}
