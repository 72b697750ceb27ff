// SPDX-License-Identifier: GPL-2.0
/*
 * Functions of the kernel that it does not export. rust/sys/symbols.rs has the
 * list; each is found once, when the module is loaded, by placing a disabled
 * kprobe on it, and called through a static call, so that the module's text
 * holds direct calls only. Where the function begins with endbr64, the kprobe
 * lies behind it, which a direct call may target just as well.
 */
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/ptrace.h>
#include <linux/regset.h>
#include <linux/static_call.h>
#include <linux/task_work.h>

#include "geist_helpers.h"

void flush_tlb_mm_range(struct mm_struct *mm, unsigned long start, unsigned long end,
			unsigned int stride_shift, bool freed_tables);
long x64_sys_call(const struct pt_regs *regs, unsigned int nr);
/* arch/x86/kernel/fpu/xstate.h, with an enum whose third value is XSTATE_COPY_XSAVE */
void copy_xstate_to_uabi_buf(struct membuf to, struct task_struct *task, unsigned int mode);
#define XSTATE_COPY_XSAVE	2U

void __split_huge_pmd(struct vm_area_struct *vma, pmd_t *pmd, unsigned long address, bool freeze);

DEFINE_STATIC_CALL_NULL(geist_flush_tlb, flush_tlb_mm_range);
DEFINE_STATIC_CALL_NULL(geist_work_cancel, task_work_cancel);
DEFINE_STATIC_CALL_NULL(geist_may_access, ptrace_may_access);
DEFINE_STATIC_CALL_NULL(geist_sys_call, x64_sys_call);
DEFINE_STATIC_CALL_NULL(geist_xstate, copy_xstate_to_uabi_buf);
DEFINE_STATIC_CALL_NULL(geist_split, __split_huge_pmd);

unsigned long geist_symbol_find(const char *name)
{
	struct kprobe probe = { .symbol_name = name, .flags = KPROBE_FLAG_DISABLED };
	unsigned long address;

	if (register_kprobe(&probe))
		return 0;
	address = (unsigned long)probe.addr;
	unregister_kprobe(&probe);
	return address;
}

void geist_symbol_set(unsigned int index, unsigned long address)
{
	switch (index) {
	case 0:
		static_call_update(geist_flush_tlb, (void *)address);
		break;
	case 1:
		static_call_update(geist_work_cancel, (void *)address);
		break;
	case 2:
		static_call_update(geist_may_access, (void *)address);
		break;
	case 3:
		static_call_update(geist_sys_call, (void *)address);
		break;
	case 4:
		static_call_update(geist_xstate, (void *)address);
		break;
	case 5:
		static_call_update(geist_split, (void *)address);
		break;
	}
}

/* No page table was freed: a CPU that is idle, and so catches up by itself, is left alone. */
void geist_flush_tlb_mm(struct mm_struct *mm)
{
	static_call(geist_flush_tlb)(mm, 0UL, ULONG_MAX, PAGE_SHIFT, false);
}

/* Splits the mapping of a huge page, not the page itself. */
void geist_split_huge_pmd(struct vm_area_struct *vma, pmd_t *pmd, unsigned long addr)
{
	static_call(geist_split)(vma, pmd, addr, false);
}

bool geist_task_work_cancel(struct task_struct *task, struct callback_head *work)
{
	return static_call(geist_work_cancel)(task, work);
}

bool geist_ptrace_may_access(struct task_struct *task)
{
	return static_call(geist_may_access)(task, PTRACE_MODE_ATTACH_REALCREDS);
}

/* Runs system call @nr in the context of the calling task. */
long geist_system_call(unsigned int nr, const unsigned long *args)
{
	struct pt_regs regs = {
		.di = args[0], .si = args[1], .dx = args[2],
		.r10 = args[3], .r8 = args[4], .r9 = args[5],
		.orig_ax = nr, .cs = __USER_CS,
	};

	return static_call(geist_sys_call)(&regs, nr);
}

/* The whole xstate of @task, which does not run, as XSAVE lays it out. */
void geist_xstate_copy(struct task_struct *task, void *to, unsigned int bytes)
{
	struct membuf buffer = { .p = to, .left = bytes };

	static_call(geist_xstate)(buffer, task, XSTATE_COPY_XSAVE);
}
