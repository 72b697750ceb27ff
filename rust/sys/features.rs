// SPDX-License-Identifier: GPL-2.0

//! What a process uses that geist does not know how to save.

use super::helpers;
use super::process::{has, Flag};
use super::regset::Entry;
use kernel::{bindings, prelude::*, task::Task};

/// Bit of x32 system calls.
const X32_SYSCALL: i64 = 1 << 30;

/// `PF_MCE_PROCESS`: `PR_MCE_KILL` was called.
const PF_MCE_PROCESS: u32 = bindings::PF_MCE_PROCESS;

/// `PR_IO_FLUSHER`.
const IO_FLUSHER: u32 = bindings::PF_MEMALLOC_NOIO | bindings::PF_LOCAL_THROTTLE;

/// What the namespace is called that the process has and the caller has not.
pub(crate) fn foreign_namespace(task: &Task) -> Option<&'static str> {
    // SAFETY: the task is valid; the helper returns null or a literal.
    unsafe { literal(helpers::geist_foreign_namespace(task.as_ptr())) }
}

/// What the process shares with other processes.
pub(crate) fn shared_state(task: &Task) -> Option<&'static str> {
    // SAFETY: the task is valid and stands still; the helper returns null or a literal.
    unsafe { literal(helpers::geist_shared_state(task.as_ptr())) }
}

/// # Safety
///
/// `text` is null or a string literal of a C helper.
unsafe fn literal(text: *const kernel::ffi::c_char) -> Option<&'static str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: literals end with a zero and live as long as the module.
    unsafe { CStr::from_char_ptr(text) }.to_str().ok()
}

/// What the process of `task` has that belongs to all its threads and cannot be saved: a clause
/// that follows the process's name.
pub(crate) fn of_process(task: &Task) -> Option<&'static str> {
    let raw = task.as_ptr();
    // SAFETY: the task is valid and stands still; its `signal_struct` lives as long.
    let signal = unsafe { (*raw).signal };
    // SAFETY: as above.
    unsafe {
        if !(*signal).posix_timers.first.is_null()
            || !(*signal).ignored_posix_timers.first.is_null()
        {
            return Some("has a POSIX timer (timer_create)");
        }
        if (*signal).flags & bindings::SIGNAL_UNKILLABLE != 0 {
            return Some("is the init process");
        }
    }
    // SAFETY: as above; a process that stands still keeps its address space.
    let space = unsafe { (*raw).mm };
    if space.is_null() {
        return Some("has no address space any more");
    }
    // SAFETY: the address space is valid, see above; the fields are words.
    unsafe {
        let space = &raw const (*space).__bindgen_anon_1;
        if !(&raw const (*space).ioctx_table).read_volatile().is_null() {
            return Some("uses asynchronous I/O (io_setup)");
        }
        #[cfg(CONFIG_MODIFY_LDT_SYSCALL)]
        if !(&raw const (*space).context.ldt).read_volatile().is_null() {
            return Some("has a local descriptor table (modify_ldt)");
        }
        if (&raw const (*space).membarrier_state.counter).read_volatile() != 0 {
            return Some("is registered for membarrier(2)");
        }
    }
    if has(task, Flag::ProtectionKeys) {
        return Some("has memory protection keys (pkey_alloc)");
    }
    if has(task, Flag::Mdwe) {
        return Some("denies memory that is writable and executable (PR_SET_MDWE)");
    }
    has(task, Flag::MergeAny).then_some("merges equal pages (PR_SET_MEMORY_MERGE)")
}

/// What the thread has that cannot be saved: a clause that follows its name.
pub(crate) fn of_thread(task: &Task) -> Option<&'static str> {
    let entry = Entry::of(task);
    // SAFETY: the task is valid.
    let is_64bit = entry.is_64bit() && unsafe { helpers::geist_task_is_64bit(task.as_ptr()) };
    if !is_64bit || (entry.number >= 0 && entry.number & X32_SYSCALL != 0) {
        return Some("runs 32-bit code");
    }
    let raw = task.as_ptr();
    // SAFETY: the task is valid and stands still; every field is a word or a pointer that is only
    // compared.
    unsafe {
        if (&raw const (*raw).ptrace).read_volatile() != 0 {
            return Some("is traced (ptrace)");
        }
        if !list_is_empty(&raw const (*raw).ptraced) {
            return Some("traces another process (ptrace)");
        }
        if !list_is_empty(&raw const (*raw).children) {
            return Some("has child processes");
        }
        if !(*raw).vfork_done.is_null() {
            return Some("was made by vfork(2) and has not called execve(2) yet");
        }
        if (*raw).seccomp.mode != 0 {
            return Some("has a seccomp filter");
        }
        if !(*raw).sysvsem.undo_list.is_null() {
            return Some("has System V semaphores to undo (SEM_UNDO)");
        }
        #[cfg(CONFIG_NUMA)]
        if !(*raw).mempolicy.is_null() {
            return Some("has a NUMA memory policy (set_mempolicy)");
        }
        #[cfg(CONFIG_UPROBES)]
        if !(*raw).utask.is_null() {
            return Some("is probed (uprobes)");
        }
        if (*raw).flags & PF_MCE_PROCESS != 0 {
            return Some("has a policy for memory errors (PR_MCE_KILL)");
        }
        if (*raw).flags & IO_FLUSHER == IO_FLUSHER {
            return Some("flushes I/O (PR_SET_IO_FLUSHER)");
        }
        let policy = (&raw const (*raw).policy).read_volatile();
        if policy == bindings::SCHED_DEADLINE {
            return Some("is scheduled by deadline (SCHED_DEADLINE)");
        }
        of_cpu(&(*raw).thread)
    }
    .or_else(|| {
        let switches = [
            (Flag::Amx, "may use AMX (ARCH_REQ_XCOMP_PERM)"),
            (
                Flag::Clamp,
                "has a utilization clamp (SCHED_FLAG_UTIL_CLAMP)",
            ),
            (
                Flag::IoUring,
                "has a registered io_uring (IORING_REGISTER_RING_FDS)",
            ),
            (
                Flag::UserDispatch,
                "dispatches system calls to itself (PR_SET_SYSCALL_USER_DISPATCH)",
            ),
            (
                Flag::NoTsc,
                "may not read the time stamp counter (PR_SET_TSC)",
            ),
            (
                Flag::NoCpuid,
                "may not use the CPUID instruction (ARCH_SET_CPUID)",
            ),
        ];
        switches
            .into_iter()
            .find(|(flag, _)| has(task, *flag))
            .map(|(_, clause)| clause)
    })
}

fn of_cpu(thread: &bindings::thread_struct) -> Option<&'static str> {
    if !thread.io_bitmap.is_null() || thread.iopl_emul != 0 {
        return Some("may use I/O ports (ioperm, iopl)");
    }
    if thread.ptrace_bps.iter().any(|point| !point.is_null()) {
        return Some("has hardware breakpoints");
    }
    (thread.features != 0).then_some("has a shadow stack")
}

/// # Safety
///
/// `head` is valid.
unsafe fn list_is_empty(head: *const bindings::list_head) -> bool {
    // SAFETY: as the caller says.
    unsafe { (&raw const (*head).next).read_volatile().cast_const() == head }
}
