// SPDX-License-Identifier: GPL-2.0
#include <linux/elf.h>
#include <linux/regset.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <asm/cpufeature.h>

#include "geist_helpers.h"

/*
 * The xstate as its register set gives it, but for a thread of the kernel, which
 * that set may not be asked by: it looks first whether the caller has registers
 * of its own to save.
 */
static int xstate_get(struct task_struct *task, unsigned int bytes, void **data)
{
	if (!cpu_feature_enabled(X86_FEATURE_XSAVE))
		return -ENODEV;
	*data = kvzalloc(bytes, GFP_KERNEL);
	if (!*data)
		return -ENOMEM;
	geist_xstate_copy(task, *data, bytes);
	return bytes;
}

/*
 * The register set of @task that ELF notes of @note type hold, in a new buffer
 * (kvfree). Returns its bytes or an errno. @task must not run.
 */
int geist_regset_get(struct task_struct *task, unsigned int note, void **data)
{
	const struct user_regset_view *view = task_user_regset_view(task);
	unsigned int i;

	*data = NULL;
	for (i = 0; i < view->n; i++) {
		const struct user_regset *set = &view->regsets[i];

		if (set->core_note_type != note)
			continue;
		if (set->active && set->active(task, set) <= 0)
			return -ENODEV;
		if (current->flags & PF_KTHREAD && note == NT_X86_XSTATE)
			return xstate_get(task, set->n * set->size, data);
		return regset_get_alloc(task, set, set->n * set->size, data);
	}
	return -ENODEV;
}
