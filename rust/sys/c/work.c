// SPDX-License-Identifier: GPL-2.0
#include <linux/jiffies.h>
#include <linux/workqueue.h>

#include "geist_helpers.h"

static void geist_work_run(struct work_struct *work)
{
	geist_on_work();
}

static DECLARE_DELAYED_WORK(geist_work, geist_work_run);

void geist_work_schedule(void)
{
	mod_delayed_work(system_percpu_wq, &geist_work, 0);
}

void geist_work_schedule_after(unsigned int ms)
{
	queue_delayed_work(system_percpu_wq, &geist_work, msecs_to_jiffies(ms));
}

void geist_work_cancel(void)
{
	cancel_delayed_work_sync(&geist_work);
}
