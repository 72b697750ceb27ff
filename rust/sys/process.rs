// SPDX-License-Identifier: GPL-2.0

//! What another process is: identity, credentials, limits, scheduling, thread fields.
//!
//! The process stands still; what others may still change about it (its limits, its nice value)
//! is read once.

use super::helpers;
use kernel::{bindings, ffi, prelude::*, sync::aref::ARef, task::Task};

/// Nice value 0 as the scheduler counts, from `<linux/sched/prio.h>`.
const DEFAULT_PRIO: i32 = 120;

/// Offset of `rseq_cs` in `struct rseq`.
const RSEQ_CS: usize = 8;

/// Identity of a process, in the pid namespace of the caller.
pub(crate) struct Identity {
    /// Parent, process group and session.
    pub(crate) ppid: u32,
    /// Process group.
    pub(crate) pgid: u32,
    /// Session.
    pub(crate) sid: u32,
    /// `PR_GET_DUMPABLE`.
    pub(crate) dumpable: u32,
    /// `PR_GET_NO_NEW_PRIVS`.
    pub(crate) no_new_privs: bool,
    /// `PR_GET_CHILD_SUBREAPER`.
    pub(crate) subreaper: bool,
    /// A signal stopped it.
    pub(crate) stopped: bool,
    /// `personality(2)`.
    pub(crate) personality: u32,
    /// Start, nanoseconds of the boot clock.
    pub(crate) start_ns: u64,
    /// `oom_score_adj`.
    pub(crate) oom_score_adj: i32,
    /// User and system time of threads that have ended, nanoseconds.
    pub(crate) ended_ns: [u64; 2],
}

/// The [`Identity`] of the process of `task`.
pub(crate) fn identity(task: &Task) -> Identity {
    let mut raw = helpers::geist_process {
        ppid: 0,
        pgid: 0,
        sid: 0,
        dumpable: 0,
        no_new_privs: false,
        subreaper: false,
        stopped: false,
    };
    let task = task.as_ptr();
    // SAFETY: the task is valid; the helper fills the structure.
    unsafe { helpers::geist_process_read(task, &mut raw) };
    // SAFETY: the task is valid, and its `signal_struct` lives as long.
    let (signal, personality, start_ns) =
        unsafe { ((*task).signal, (*task).personality, (*task).start_boottime) };
    // SAFETY: as above.
    let (oom_score_adj, ended_ns) = unsafe {
        (
            (&raw const (*signal).oom_score_adj).read_volatile(),
            [(*signal).utime, (*signal).stime],
        )
    };
    Identity {
        ppid: raw.ppid,
        pgid: raw.pgid,
        sid: raw.sid,
        dumpable: raw.dumpable,
        no_new_privs: raw.no_new_privs,
        subreaper: raw.subreaper,
        stopped: raw.stopped,
        personality,
        start_ns,
        oom_score_adj: i32::from(oom_score_adj),
        ended_ns,
    }
}

/// User and system time that the thread has used, nanoseconds.
pub(crate) fn times(task: &Task) -> [u64; 2] {
    let (mut user, mut system) = (0, 0);
    // SAFETY: the task is valid.
    unsafe { helpers::geist_task_times(task.as_ptr(), &mut user, &mut system) };
    [user as u64, system as u64]
}

/// Soft and hard resource limits of the process, in the order of `RLIMIT_*`.
pub(crate) fn limits(task: &Task) -> [[u64; 2]; 16] {
    // SAFETY: the `signal_struct` lives as long as the task; each limit is a word.
    let limits = unsafe { (&raw const (*(*task.as_ptr()).signal).rlim).read_volatile() };
    limits.map(|limit| [limit.rlim_cur as u64, limit.rlim_max as u64])
}

/// Credentials of another task.
pub(crate) struct Credentials(*const bindings::cred);

impl Credentials {
    /// Those of `task`.
    pub(crate) fn of(task: &Task) -> Self {
        // SAFETY: the task is valid; the call takes a reference.
        Self(unsafe { bindings::get_task_cred(task.as_ptr()) })
    }

    fn raw(&self) -> &bindings::cred {
        // SAFETY: the value owns a reference, and credentials in use do not change.
        unsafe { &*self.0 }
    }

    /// Real, effective, saved and file system user ID in the user namespace of the caller.
    pub(crate) fn users(&self) -> [u32; 4] {
        let raw = self.raw();
        [raw.uid, raw.euid, raw.suid, raw.fsuid]
            // SAFETY: the namespace of the caller lives as long as it runs.
            .map(|uid| unsafe { bindings::from_kuid_munged(own_user_namespace(), uid) })
    }

    /// Real, effective, saved and file system group ID in the user namespace of the caller.
    pub(crate) fn groups(&self) -> [u32; 4] {
        let raw = self.raw();
        [raw.gid, raw.egid, raw.sgid, raw.fsgid]
            // SAFETY: the namespace of the caller lives as long as it runs.
            .map(|gid| unsafe { bindings::from_kgid_munged(own_user_namespace(), gid) })
    }

    /// Inheritable, permitted, effective, bounding and ambient capabilities.
    pub(crate) fn capabilities(&self) -> [u64; 5] {
        let raw = self.raw();
        [
            raw.cap_inheritable,
            raw.cap_permitted,
            raw.cap_effective,
            raw.cap_bset,
            raw.cap_ambient,
        ]
        .map(|set| set.val)
    }

    /// `PR_GET_SECUREBITS`.
    pub(crate) fn securebits(&self) -> u32 {
        self.raw().securebits
    }

    /// The supplementary groups in the user namespace of the caller.
    pub(crate) fn supplementary_groups(&self) -> Result<KVVec<u32>> {
        let list = self.raw().group_info;
        // SAFETY: the credentials keep the list, which does not change.
        let gids = unsafe {
            let count = usize::try_from((*list).ngroups).unwrap_or(0);
            core::slice::from_raw_parts((&raw const (*list).gid).cast::<bindings::kgid_t>(), count)
        };
        let mut groups = KVVec::with_capacity(gids.len(), GFP_KERNEL)?;
        for gid in gids {
            // SAFETY: the namespace of the caller lives as long as it runs.
            let gid = unsafe { bindings::from_kgid_munged(own_user_namespace(), *gid) };
            groups.push(gid, GFP_KERNEL)?;
        }
        Ok(groups)
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        // SAFETY: the value owns a reference, and `Credential` is a transparent `cred`.
        drop(unsafe {
            ARef::<kernel::cred::Credential>::from_raw(core::ptr::NonNull::new_unchecked(
                self.0.cast_mut().cast(),
            ))
        });
    }
}

fn own_user_namespace() -> *mut bindings::user_namespace {
    // SAFETY: the calling task and its credentials are valid while it runs.
    unsafe { (*(*Task::current_raw()).cred).user_ns }
}

/// How a thread is scheduled.
pub(crate) struct Scheduling {
    /// `SCHED_*`.
    pub(crate) policy: u32,
    /// -20 to 19.
    pub(crate) nice: i32,
    /// 1 to 99 for real-time policies, else 0.
    pub(crate) priority: u32,
    /// `ioprio_get(2)`.
    pub(crate) ioprio: u32,
    /// `SCHED_RESET_ON_FORK`.
    pub(crate) reset_on_fork: bool,
}

/// How `task` is scheduled.
pub(crate) fn scheduling(task: &Task) -> Scheduling {
    let raw = task.as_ptr();
    // SAFETY: the task is valid; the fields are words.
    unsafe {
        Scheduling {
            policy: (&raw const (*raw).policy).read_volatile(),
            nice: (&raw const (*raw).static_prio).read_volatile() - DEFAULT_PRIO,
            priority: (&raw const (*raw).rt_priority).read_volatile(),
            ioprio: helpers::geist_task_ioprio(raw) as u32,
            reset_on_fork: has(task, Flag::ResetOnFork),
        }
    }
}

/// The CPUs that `sched_setaffinity(2)` allowed `task`, a bit each; `None`: all of them.
pub(crate) fn affinity(task: &Task) -> Result<Option<KVVec<u64>>> {
    let mut mask = KVVec::from_elem(0u64, 1024 / 8, GFP_KERNEL)?;
    let mut all = false;
    // SAFETY: the task is valid, and the buffer has as many bytes as said.
    let bytes = unsafe {
        helpers::geist_task_cpus(task.as_ptr(), mask.as_mut_ptr().cast(), 1024, &mut all)
    };
    mask.truncate(bytes as usize / 8);
    Ok((!all).then_some(mask))
}

/// Fields of a thread that are neither registers nor signals.
pub(crate) struct ThreadFields {
    /// Name, filled up with zeros.
    pub(crate) comm: [u8; 16],
    /// Alternate signal stack: address, bytes, flags.
    pub(crate) altstack: (u64, u64, u32),
    /// `PR_GET_PDEATHSIG`.
    pub(crate) pdeath_signal: u32,
    /// `set_robust_list(2)`.
    pub(crate) robust_list: u64,
    /// `set_tid_address(2)`.
    pub(crate) clear_child_tid: u64,
    /// `rseq(2)`: address, bytes, signature.
    pub(crate) rseq: (u64, u32, u32),
    /// `PR_GET_TIMERSLACK`, nanoseconds.
    pub(crate) timer_slack_ns: u64,
}

/// The [`ThreadFields`] of `task`.
pub(crate) fn thread_fields(task: &Task) -> ThreadFields {
    let raw = task.as_ptr();
    // SAFETY: the task is valid and does not run; nobody else changes these but its name, which is
    // bytes.
    unsafe {
        let name = (&raw const (*raw).comm).cast::<[u8; 16]>().read_volatile();
        ThreadFields {
            comm: terminated(name),
            altstack: (
                (*raw).sas_ss_sp as u64,
                (*raw).sas_ss_size as u64,
                (*raw).sas_ss_flags,
            ),
            pdeath_signal: (*raw).pdeath_signal as u32,
            robust_list: (*raw).futex.robust_list as u64,
            clear_child_tid: (*raw).clear_child_tid as u64,
            rseq: ((*raw).rseq.usrptr as u64, (*raw).rseq.len, (*raw).rseq.sig),
            timer_slack_ns: (*raw).timer_slack_ns,
        }
    }
}

/// `name` with zeros behind its first zero.
fn terminated(mut name: [u8; 16]) -> [u8; 16] {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(15);
    for byte in name.iter_mut().skip(end) {
        *byte = 0;
    }
    name
}

/// The `rseq_cs` field of the area at `rseq` in the memory of `task`. `EFAULT`. May sleep.
pub(crate) fn rseq_critical_section(task: &Task, rseq: u64) -> Result<u64> {
    let mut value = [0u8; 8];
    let address = usize::try_from(rseq)
        .ok()
        .and_then(|rseq| rseq.checked_add(RSEQ_CS))
        .ok_or(EFAULT)?;
    // SAFETY: the task is valid, and the buffer has as many bytes as said.
    let read = unsafe {
        bindings::access_process_vm(
            task.as_ptr(),
            address,
            value.as_mut_ptr().cast::<ffi::c_void>(),
            value.len() as i32,
            0,
        )
    };
    if read != value.len() as i32 {
        return Err(EFAULT);
    }
    Ok(u64::from_ne_bytes(value))
}

/// Switches that a task may have turned.
#[derive(Clone, Copy)]
pub(super) enum Flag {
    IoUring = helpers::geist_task_flag_GEIST_FLAG_IO_URING as isize,
    Amx = helpers::geist_task_flag_GEIST_FLAG_AMX as isize,
    Clamp = helpers::geist_task_flag_GEIST_FLAG_CLAMP as isize,
    ProtectionKeys = helpers::geist_task_flag_GEIST_FLAG_PKEYS as isize,
    NoTsc = helpers::geist_task_flag_GEIST_FLAG_NO_TSC as isize,
    NoCpuid = helpers::geist_task_flag_GEIST_FLAG_NO_CPUID as isize,
    UserDispatch = helpers::geist_task_flag_GEIST_FLAG_USER_DISPATCH as isize,
    Mdwe = helpers::geist_task_flag_GEIST_FLAG_MDWE as isize,
    MergeAny = helpers::geist_task_flag_GEIST_FLAG_MERGE_ANY as isize,
    ResetOnFork = helpers::geist_task_flag_GEIST_FLAG_RESET_ON_FORK as isize,
}

/// Whether `task`, which has an address space, has turned the switch.
pub(super) fn has(task: &Task, flag: Flag) -> bool {
    // SAFETY: the task is valid; it stands still, so that its address space stays.
    unsafe { helpers::geist_task_flag_set(task.as_ptr(), flag as helpers::geist_task_flag) }
}
