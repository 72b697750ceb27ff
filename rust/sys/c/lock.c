// SPDX-License-Identifier: GPL-2.0
#include <linux/filelock.h>
#include <linux/fs.h>

#include "geist_helpers.h"

static bool lock_belongs_to(const struct file_lock *lock, const struct file *file,
			    const void *files)
{
	if (lock->c.flc_file != file)
		return false;
	return !(lock->c.flc_flags & FL_POSIX) || lock->c.flc_owner == (fl_owner_t)file ||
	       lock->c.flc_owner == (fl_owner_t)files;
}

static void describe(const struct file_lock *lock, struct geist_lock *out)
{
	if (lock->c.flc_flags & FL_FLOCK)
		out->kind = GEIST_LOCK_FLOCK;
	else if (lock->c.flc_flags & FL_OFDLCK)
		out->kind = GEIST_LOCK_OFD;
	else
		out->kind = GEIST_LOCK_POSIX;
	out->exclusive = lock->c.flc_type == F_WRLCK;
	out->start = lock->fl_start;
	out->end = lock->fl_end;
}

/*
 * The locks that were taken through @file and belong to it or to the process
 * with the descriptors @files. Stores at most @max, returns how many there are.
 */
unsigned int geist_file_locks(struct file *file, const void *files, struct geist_lock *out,
			      unsigned int max)
{
	struct file_lock_context *context = locks_inode_context(file_inode(file));
	struct list_head *lists[2];
	struct file_lock *lock;
	unsigned int n = 0, i;

	if (!context)
		return 0;
	lists[0] = &context->flc_posix;
	lists[1] = &context->flc_flock;
	spin_lock(&context->flc_lock);
	for (i = 0; i < ARRAY_SIZE(lists); i++) {
		list_for_each_entry(lock, lists[i], c.flc_list) {
			if (!lock_belongs_to(lock, file, files))
				continue;
			if (n < max)
				describe(lock, &out[n]);
			n++;
		}
	}
	spin_unlock(&context->flc_lock);
	return n;
}

/* An exclusive flock(2) is held by @file. */
bool geist_file_is_locked(struct file *file)
{
	struct file_lock_context *context = locks_inode_context(file_inode(file));
	struct file_lock *lock;
	bool found = false;

	if (!context)
		return false;
	spin_lock(&context->flc_lock);
	list_for_each_entry(lock, &context->flc_flock, c.flc_list)
		found |= lock->c.flc_file == file && lock->c.flc_type == F_WRLCK;
	spin_unlock(&context->flc_lock);
	return found;
}

/* A lease (F_SETLEASE) or delegation was taken through @file. */
bool geist_file_has_lease(struct file *file)
{
	struct file_lock_context *context = locks_inode_context(file_inode(file));
	struct file_lease *lease;
	bool found = false;

	if (!context)
		return false;
	spin_lock(&context->flc_lock);
	list_for_each_entry(lease, &context->flc_lease, c.flc_list)
		found |= lease->c.flc_file == file;
	spin_unlock(&context->flc_lock);
	return found;
}
