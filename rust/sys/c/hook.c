// SPDX-License-Identifier: GPL-2.0
#include <linux/ftrace.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pgtable.h>
#include <linux/rcupdate.h>

#include "geist_helpers.h"

/*
 * What the fault that is about to be handled finds: whether the entry is
 * absent, after a huge page that is write-protected was split for a write, so
 * that only 4 KiB of it change. The VMA is locked, so upper tables stay; RCU
 * keeps the lowest one.
 */
static bool geist_fault_finds_absent(struct vm_area_struct *vma, unsigned long addr, bool write)
{
	unsigned long next;
	bool absent = true;
	pmd_t *pmd = geist_pmd_find(vma->vm_mm, addr, &next);
	pmd_t entry;

	if (!pmd)
		return true;
	entry = pmdp_get_lockless(pmd);
	if (pmd_present(entry) && pmd_leaf(entry)) {
		if (write && !pmd_write(entry) && vma_is_anonymous(vma))
			geist_split_huge_pmd(vma, pmd, addr);
		return false;
	}
	rcu_read_lock();
	entry = pmdp_get_lockless(pmd);
	if (pmd_present(entry) && !pmd_leaf(entry) && !pmd_bad(entry))
		absent = !pte_present(ptep_get_lockless(pte_offset_kernel(&entry, addr)));
	rcu_read_unlock();
	return absent;
}

/*
 * vma_modify_flags_uffd(): a range begins to belong to a userfaultfd, or does
 * no longer. What UFFDIO_COPY and UFFDIO_MOVE put there meanwhile nobody else
 * tells of. mmap_lock is held for writing.
 */
static void notrace geist_userfault_changes(struct ftrace_regs *fregs)
{
	struct vm_area_struct *vma = (void *)ftrace_regs_get_argument(fregs, 2);
	struct mm_struct *mm = vma->vm_mm;

	if (mm_has_notifiers(mm))
		geist_on_replaced(mm, ftrace_regs_get_argument(fregs, 3),
				  ftrace_regs_get_argument(fregs, 4));
}

static void notrace geist_fault_begins(struct ftrace_regs *fregs)
{
	struct vm_area_struct *vma = (void *)ftrace_regs_get_argument(fregs, 0);
	unsigned long addr = ftrace_regs_get_argument(fregs, 1);
	/* Unsharing makes a page exclusive; without a write, but mprotect() alone may follow. */
	bool write = ftrace_regs_get_argument(fregs, 2) & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE);
	struct mm_struct *mm = vma->vm_mm;

	/* Every tracked address space has a notifier; hardly any other has. */
	if (likely(!mm_has_notifiers(mm)) || !geist_is_watched(mm))
		return;
	geist_on_fault(mm, addr, write, geist_fault_finds_absent(vma, addr, write));
}

/* A function is hooked at its beginning, at most behind what marks that for indirect calls. */
static void notrace geist_hook_entered(unsigned long ip, unsigned long parent_ip,
				       struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	if (likely(ip - (unsigned long)handle_mm_fault < 16))
		geist_fault_begins(fregs);
	else
		geist_userfault_changes(fregs);
}

static struct ftrace_ops geist_ops = {
	.func = geist_hook_entered,
	.flags = FTRACE_OPS_FL_SAVE_ARGS,
};

static const char * const geist_hooked[] = {
	"handle_mm_fault",
#ifdef CONFIG_USERFAULTFD
	"vma_modify_flags_uffd",
#endif
};

int geist_hook_register(void)
{
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < ARRAY_SIZE(geist_hooked); i++)
		err = ftrace_set_filter(&geist_ops, (char *)geist_hooked[i],
					strlen(geist_hooked[i]), !i);
	return err ?: register_ftrace_function(&geist_ops);
}

void geist_hook_unregister(void)
{
	unregister_ftrace_function(&geist_ops);
	ftrace_free_filter(&geist_ops);
}
