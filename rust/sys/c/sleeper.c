// SPDX-License-Identifier: GPL-2.0
/*
 * The timer that a sleeping task waits for. nanosleep(), poll() and futex()
 * have theirs on the kernel stack of the sleeper; they are found in the queues
 * of the high resolution timers.
 */
#include <linux/hrtimer.h>
#include <linux/hrtimer_bases.h>
#include <linux/percpu.h>

#include "geist_helpers.h"

static bool find_in_base(struct hrtimer_clock_base *base, void *wakeup,
			 struct task_struct *task, struct geist_sleeper *out)
{
	struct timerqueue_linked_node *node;

	for (node = timerqueue_linked_first(&base->active); node;
	     node = timerqueue_linked_next(node)) {
		struct hrtimer *timer = container_of(node, struct hrtimer, node);

		if ((void *)ACCESS_PRIVATE(timer, function) != wakeup ||
		    container_of(timer, struct hrtimer_sleeper, timer)->task != task)
			continue;
		out->clock = base->clockid;
		out->expires = hrtimer_get_softexpires(timer);
		return true;
	}
	return false;
}

static bool find_on_cpu(struct hrtimer_cpu_base *cpu, void *wakeup,
			struct task_struct *task, struct geist_sleeper *out)
{
	unsigned long flags;
	bool found = false;
	int i;

	raw_spin_lock_irqsave(&cpu->lock, flags);
	for (i = 0; i < HRTIMER_MAX_CLOCK_BASES && !found; i++)
		found = find_in_base(&cpu->clock_base[i], wakeup, task, out);
	raw_spin_unlock_irqrestore(&cpu->lock, flags);
	return found;
}

/* Finds the timer that will wake @task; false when there is none. */
bool geist_sleeper_find(struct task_struct *task, struct geist_sleeper *out)
{
	struct hrtimer_cpu_base *mine;
	struct hrtimer_sleeper probe;
	void *wakeup;
	bool found = false;
	int this_cpu, cpu;

	/* An unused sleeper tells this CPU's queues and the function of all sleepers. */
	this_cpu = get_cpu();
	hrtimer_setup_sleeper_on_stack(&probe, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	mine = probe.timer.base->cpu_base;
	wakeup = (void *)ACCESS_PRIVATE(&probe.timer, function);
	destroy_hrtimer_on_stack(&probe.timer);

	for_each_possible_cpu(cpu) {
		void *theirs = (void *)mine - per_cpu_offset(this_cpu) + per_cpu_offset(cpu);

		found = find_on_cpu(theirs, wakeup, task, out);
		if (found)
			break;
	}
	put_cpu();
	return found;
}
