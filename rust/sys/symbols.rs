// SPDX-License-Identifier: GPL-2.0

//! Functions of the kernel that it does not export, found when the module is loaded.
//!
//! Why each is needed is said in `Documentation/unexported-symbols.rst`. How they are found and
//! called is in `c/symbols.c`, whose `switch` has the same order as [`SYMBOLS`].

use super::helpers;
use kernel::prelude::*;

/// Their names. The position is the number by which `c/symbols.c` knows them.
const SYMBOLS: [&CStr; 6] = [
    c"flush_tlb_mm_range",
    c"task_work_cancel",
    c"ptrace_may_access",
    c"x64_sys_call",
    c"copy_xstate_to_uabi_buf",
    c"__split_huge_pmd",
];

/// Those that are not called but named in restart blocks (`c/restart_block.c`).
const RESTART_FUNCTIONS: [(helpers::geist_restart_kind, &CStr); 3] = [
    (
        helpers::geist_restart_kind_GEIST_RESTART_NANOSLEEP,
        c"hrtimer_nanosleep_restart",
    ),
    (
        helpers::geist_restart_kind_GEIST_RESTART_POLL,
        c"do_restart_poll",
    ),
    (
        helpers::geist_restart_kind_GEIST_RESTART_FUTEX,
        c"futex_wait_restart",
    ),
];

/// Finds all of them, or says which one the running kernel lacks. May sleep.
pub(crate) fn resolve() -> Result {
    for (index, name) in SYMBOLS.iter().enumerate() {
        let address = find(name)?;
        // SAFETY: the address is that of the function with the type that `c/symbols.c` gives the
        // static call with this index: both lists have the same order.
        unsafe { helpers::geist_symbol_set(index as u32, address) };
    }
    for (kind, name) in RESTART_FUNCTIONS {
        let address = find(name)?;
        // SAFETY: the address is that of the function that restart blocks of this kind name.
        unsafe { helpers::geist_restart_function_set(kind, address) };
    }
    Ok(())
}

/// The address of a function of the kernel. `ENOENT`, with a line in the kernel's log.
fn find(name: &CStr) -> Result<usize> {
    // SAFETY: the name is a C string.
    let address = unsafe { helpers::geist_symbol_find(name.as_char_ptr()) };
    if address == 0 {
        let name = name.to_str().unwrap_or("?");
        pr_err!("this kernel has no function {name}, which geist needs\n");
        return Err(ENOENT);
    }
    Ok(address)
}
