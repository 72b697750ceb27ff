// SPDX-License-Identifier: GPL-2.0
#include <linux/kallsyms.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/stacktrace.h>
#include <linux/utsname.h>

#include "geist_helpers.h"

/* Threads of @task's group, with a reference each; the number may exceed @max. */
unsigned int geist_task_threads(struct task_struct *task, struct task_struct **out,
				unsigned int max)
{
	struct task_struct *t;
	unsigned int n = 0;

	rcu_read_lock();
	for_each_thread(task, t) {
		if (n < max)
			out[n] = get_task_struct(t);
		n++;
	}
	rcu_read_unlock();
	return n;
}

struct task_struct *geist_task_find(int nr)
{
	struct pid *pid = find_get_pid(nr);
	struct task_struct *task = get_pid_task(pid, PIDTYPE_PID);

	put_pid(pid);
	return task;
}

/* What the scheduler says of @task: its state, whether it runs or is about to, its switches. */
void geist_task_sleep_state(struct task_struct *task, struct geist_sleep_state *out)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&task->pi_lock, flags);
	out->state = READ_ONCE(task->__state);
	out->on_cpu = READ_ONCE(task->on_cpu) || READ_ONCE(task->on_rq);
	out->switches = task->nvcsw + task->nivcsw;
	raw_spin_unlock_irqrestore(&task->pi_lock, flags);
}

struct pt_regs *geist_task_pt_regs(struct task_struct *task)
{
	return task_pt_regs(task);
}

int geist_task_id(struct task_struct *task)
{
	return task_pid_vnr(task);
}

/* With a reference. */
struct task_struct *geist_task_leader(struct task_struct *task)
{
	struct task_struct *leader;

	rcu_read_lock();
	leader = get_task_struct(task->group_leader);
	rcu_read_unlock();
	return leader;
}

int geist_send_signal(struct task_struct *task, int signal)
{
	return kill_pid(task_tgid(task), signal, 1);
}

bool geist_try_module_get(void)
{
	return try_module_get(THIS_MODULE);
}

void geist_module_put(void)
{
	module_put(THIS_MODULE);
}

void geist_synchronize_rcu_tasks(void)
{
	synchronize_rcu_tasks();
}

/* The kernel's function that a sleeping task waits in, the scheduler's left out, or "". */
void geist_task_place(struct task_struct *task, char *to, size_t size)
{
	char name[KSYM_SYMBOL_LEN] = "";
	unsigned long entry;

	if (stack_trace_save_tsk(task, &entry, 1, 0))
		sprint_symbol_no_offset(name, entry);
	strscpy_pad(to, name, size);
}

void geist_kernel_release(char *to, size_t size)
{
	strscpy_pad(to, init_utsname()->release, size);
}
