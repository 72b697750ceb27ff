// SPDX-License-Identifier: GPL-2.0
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/sched/task.h>

#include "geist_helpers.h"

static int geist_thread(void *data)
{
	geist_on_thread(data);
	return 0;
}

/* Starts a thread; with a reference, or an error pointer. */
struct task_struct *geist_thread_start(void *data, unsigned int number)
{
	struct task_struct *task = kthread_create(geist_thread, data, "geist/%u", number);

	if (!IS_ERR(task)) {
		get_task_struct(task);
		wake_up_process(task);
	}
	return task;
}

void geist_thread_wake(struct task_struct *task)
{
	wake_up_process(task);
}

void geist_thread_stop(struct task_struct *task)
{
	kthread_stop_put(task);
}

/* From here on a wake-up ends the sleep that is to come. */
void geist_sleep_prepare(void)
{
	set_current_state(TASK_IDLE);
}

void geist_sleep_cancel(void)
{
	__set_current_state(TASK_RUNNING);
}

/* Sleeps until woken, or until the monotonic clock says @until (negative: for ever). */
void geist_sleep_until(s64 until)
{
	ktime_t time = until;

	schedule_hrtimeout_range(until < 0 ? NULL : &time, 0, HRTIMER_MODE_ABS);
	__set_current_state(TASK_RUNNING);
}
