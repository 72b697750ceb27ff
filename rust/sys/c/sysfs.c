// SPDX-License-Identifier: GPL-2.0
#include <linux/kobject.h>
#include <linux/ratelimit.h>
#include <linux/sysfs.h>

#include "geist_helpers.h"

/* @key is only an address: that of memory which stays as long as the module. */
void geist_attribute_init(struct kobj_attribute *attribute, const char *name, unsigned int mode,
			  geist_show *show, geist_store *store, void *key)
{
	attribute->attr.name = name;
	attribute->attr.mode = mode;
#ifdef CONFIG_DEBUG_LOCK_ALLOC
	attribute->attr.key = key;
#endif
	attribute->show = show;
	attribute->store = store;
}

/* Whether a line about what a user did may go into the log. */
bool geist_may_log(void)
{
	static DEFINE_RATELIMIT_STATE(limit, DEFAULT_RATELIMIT_INTERVAL, DEFAULT_RATELIMIT_BURST);

	return __ratelimit(&limit);
}
