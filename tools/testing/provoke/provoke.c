// SPDX-License-Identifier: GPL-2.0
/*
 * Does one thing wrong, so that it can be seen that the kernel's report of it
 * fails a run: insmod provoke.ko what=NAME. For the debug kernel only.
 */
#include <linux/delay.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

static char *what = "";
module_param(what, charp, 0);
MODULE_PARM_DESC(what, "what to do wrong");

static DEFINE_SPINLOCK(first);
static DEFINE_SPINLOCK(second);

static void use_after_free(void)
{
	u8 *bytes = kmalloc(64, GFP_KERNEL);

	kfree(bytes);
	pr_info("%d\n", READ_ONCE(bytes[5]));
}

static void out_of_bounds(void)
{
	u8 *bytes = kmalloc(64, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(bytes);
	if (bytes)
		pr_info("%d\n", READ_ONCE(bytes[64]));
	kfree(bytes);
}

static void circular_locks(void)
{
	spin_lock(&first);
	spin_lock(&second);
	spin_unlock(&second);
	spin_unlock(&first);
	spin_lock(&second);
	spin_lock(&first);
	spin_unlock(&first);
	spin_unlock(&second);
}

static void sleep_in_atomic(void)
{
	spin_lock(&first);
	msleep(20);
	spin_unlock(&first);
}

static void corrupt_list(void)
{
	LIST_HEAD(head);
	struct list_head a, b;

	list_add(&a, &head);
	list_add(&b, &head);
	a.next = &a;
	list_del(&b);
	list_del(&a);
}

static void bad_page(void)
{
	struct page *page = alloc_page(GFP_KERNEL);

	VM_BUG_ON_PAGE(page, page);
}

static void leak(void)
{
	void *forgotten = kmalloc(1000, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(forgotten);
}

static void warn(void)
{
	WARN_ON(1);
}

static void bug(void)
{
	BUG();
}

static const struct {
	const char *name;
	void (*run)(void);
} faults[] = {
	{ "use-after-free", use_after_free },
	{ "out-of-bounds", out_of_bounds },
	{ "circular-locks", circular_locks },
	{ "sleep-in-atomic", sleep_in_atomic },
	{ "corrupt-list", corrupt_list },
	{ "bad-page", bad_page },
	{ "leak", leak },
	{ "warn", warn },
	{ "bug", bug },
};

static int __init provoke_init(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		if (!strcmp(faults[i].name, what)) {
			faults[i].run();
			return 0;
		}
	}
	return -EINVAL;
}
module_init(provoke_init);

static void __exit provoke_exit(void)
{
}
module_exit(provoke_exit);

MODULE_DESCRIPTION("Does one thing wrong");
MODULE_LICENSE("GPL");
