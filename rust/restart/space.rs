// SPDX-License-Identifier: GPL-2.0

//! Fields of an address space: where code, heap, stack and arguments lie, the exe link.

use super::image::ProcessImage;
use super::scratch::Scratch;
use super::Member;
use crate::error::{fail, Context, Outcome};
use crate::sys::mm;
use crate::sys::restart_fd::BorrowedFd;
use crate::sys::{abi, restart_mm, restart_task, syscall};
use core::ops::Range;
use kernel::prelude::*;
use zerocopy::IntoBytes;
use zerocopy_derive::{Immutable, IntoBytes};

/// `struct prctl_mm_map`
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct MmMap {
    /// `start_code` to `env_end`.
    addresses: [u64; 11],
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// Bytes of an auxiliary vector up to and with the pair that ends it; `None` when none does.
pub(super) fn auxv_bytes(auxv: &[u64; 64]) -> Option<usize> {
    let last = auxv
        .chunks_exact(2)
        .position(|pair| matches!(pair, [0, _]))?;
    Some((last + 1) * 16)
}

/// Where the calling process has the code of its vDSO.
pub(super) fn own_vdso() -> Result<Option<Range<u64>>> {
    let space = mm::AddressSpace::of(kernel::current!())?;
    let locked = space.lock()?;
    let start = locked.fields().vdso;
    if start == 0 {
        return Ok(None);
    }
    let code = locked.next_mapping(start);
    Ok(code
        .filter(|one| one.start() == start)
        .map(|one| start..one.end()))
}

/// Sets the fields, the auxiliary vector and the exe link. Runs in the process that is restarted.
pub(super) fn set(member: &Member<'_>) -> Outcome {
    let space = &member.image.space;
    let Some(exe) = member.file(space.exe_object) else {
        fail!(EBADF, "the executable was not handed in");
    };
    let exe = BorrowedFd::new(exe).within(format_args!("the executable"))?;
    let scratch = Scratch::new()?;
    let auxv = auxv_bytes(&space.auxv).and_then(|bytes| space.auxv.as_bytes().get(..bytes));
    let auxv = auxv.unwrap_or(&[]);
    let map = MmMap {
        addresses: [
            space.start_code,
            space.end_code,
            space.start_data,
            space.end_data,
            space.start_brk,
            space.brk,
            space.start_stack,
            space.arg_start,
            space.arg_end,
            space.env_start,
            space.env_end,
        ],
        auxv: scratch.write(0, auxv)?,
        auxv_size: auxv.len() as u32,
        exe_fd: exe.number(),
    };
    let address = scratch.write(size_of_val(&space.auxv), map.as_bytes())?;
    syscall::set_mm_map(address, size_of::<MmMap>() as u64).within(format_args!(
        "the fields of its address space and its exe link"
    ))
}

/// Limits and habits of a process that stand in the way of its own restart, put aside as long as
/// the value lives. Without the right to raise limits, they stay.
pub(super) struct Unbounded {
    limits: [(u32, Option<[usize; 2]>); 6],
    personality: Option<u32>,
}

impl Unbounded {
    /// Puts them aside.
    pub(super) fn new() -> Self {
        use kernel::bindings::{
            RLIMIT_AS, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_MEMLOCK, RLIMIT_NOFILE, RLIMIT_STACK,
        };
        let limits = [
            RLIMIT_AS,
            RLIMIT_DATA,
            RLIMIT_FSIZE,
            RLIMIT_MEMLOCK,
            RLIMIT_NOFILE,
            RLIMIT_STACK,
        ];
        let limits = limits.map(|resource| (resource, restart_task::lift_limit(resource)));
        let personality = syscall::personality(None)
            .ok()
            .filter(|now| now & abi::READ_IMPLIES_EXEC != 0);
        if let Some(now) = personality {
            // Cannot fail.
            let _ = syscall::personality(Some(now & !abi::READ_IMPLIES_EXEC));
        }
        Self {
            limits,
            personality,
        }
    }

    /// Puts them back, but for those that the client cannot set before, since it must be able to
    /// allocate memory: those are set to what they are in the image.
    pub(super) fn end(self, image: &ProcessImage) -> Outcome {
        drop(self);
        for (resource, words) in [
            (kernel::bindings::RLIMIT_AS, "RLIMIT_AS"),
            (kernel::bindings::RLIMIT_DATA, "RLIMIT_DATA"),
        ] {
            if let Some(limit) = image.limits.limits.get(resource as usize) {
                restart_task::set_limit(resource, *limit).within(format_args!("{words}"))?;
            }
        }
        Ok(())
    }
}

impl Drop for Unbounded {
    fn drop(&mut self) {
        for (resource, limit) in self.limits {
            if let Some(limit) = limit {
                restart_task::put_limit_back(resource, limit);
            }
        }
        if self.personality.is_some() {
            // Cannot fail.
            let _ = syscall::personality(self.personality);
        }
    }
}

/// Removes every mapping of the calling process.
pub(super) fn empty() -> Outcome {
    restart_mm::unmap(0, restart_mm::task_size()).within(format_args!(
        "its own memory cannot be emptied (is a mapping sealed?)"
    ))
}
