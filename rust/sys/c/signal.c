// SPDX-License-Identifier: GPL-2.0
#include <linux/sched/signal.h>

#include "geist_helpers.h"

/* lock_task_sighand(), which is not exported. */
bool geist_sighand_lock(struct task_struct *task, unsigned long *flags)
{
	struct sighand_struct *sighand;

	rcu_read_lock();
	for (;;) {
		sighand = rcu_dereference(task->sighand);
		if (!sighand)
			break;
		spin_lock_irqsave(&sighand->siglock, *flags);
		if (sighand == rcu_access_pointer(task->sighand))
			break;
		spin_unlock_irqrestore(&sighand->siglock, *flags);
	}
	rcu_read_unlock();
	return sighand;
}

void geist_sighand_unlock(struct task_struct *task, unsigned long flags)
{
	spin_unlock_irqrestore(&task->sighand->siglock, flags);
}

bool geist_restores_sigmask(struct task_struct *task)
{
	return test_tsk_restore_sigmask(task);
}
