// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupted system calls that continue: the functions that a task's restart
 * block may hold. rust/sys/symbols.rs finds them.
 */
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <asm/ibt.h>

#include "geist_helpers.h"

static unsigned long functions[GEIST_RESTART_NOTHING];

/*
 * The kernel calls these through a pointer, so they must be entered at their
 * endbr64, which a kprobe lies behind.
 */
void geist_restart_function_set(enum geist_restart_kind kind, unsigned long address)
{
	if (__is_endbr(((u32 *)address)[-1]))
		address -= sizeof(u32);
	if (kind < ARRAY_SIZE(functions))
		functions[kind] = address;
}

/* What a restart block of @kind calls; 0 when there is no such function. */
unsigned long geist_restart_function(enum geist_restart_kind kind)
{
	return kind < ARRAY_SIZE(functions) ? functions[kind] : 0;
}

/* What @task, which does not run, will do when it calls restart_syscall(). */
enum geist_restart_kind geist_restart_kind(struct task_struct *task)
{
	unsigned long function = (unsigned long)READ_ONCE(task->restart_block.fn);
	enum geist_restart_kind kind;

	for (kind = 0; kind < ARRAY_SIZE(functions); kind++)
		if (function == functions[kind])
			return kind;
	/* The first task never restarts anything. */
	if (function == (unsigned long)init_task.restart_block.fn)
		return GEIST_RESTART_NOTHING;
	return GEIST_RESTART_OTHER;
}
