// SPDX-License-Identifier: GPL-2.0
/*
 * As whom and from where the calling task sees the system: its credentials, its
 * root directory.
 */
#include <linux/cred.h>
#include <linux/fs_struct.h>
#include <linux/nsproxy.h>
#include <linux/path.h>
#include <linux/pid_namespace.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "geist_helpers.h"

const struct cred *geist_current_cred(void)
{
	return get_current_cred();
}

const struct cred *geist_override_creds(const struct cred *cred)
{
	return override_creds(cred);
}

void geist_revert_creds(const struct cred *old)
{
	revert_creds(old);
}

/* The root directory of the caller, as a task may take it on; NULL: no memory. */
struct fs_struct *geist_root_keep(void)
{
	struct fs_struct *fs = kzalloc(sizeof(*fs), GFP_KERNEL);

	if (!fs)
		return NULL;
	fs->users = 1;
	fs->umask = 0077;
	seqlock_init(&fs->seq);
	get_fs_root(current->fs, &fs->root);
	fs->pwd = fs->root;
	path_get(&fs->pwd);
	return fs;
}

void geist_root_drop(struct fs_struct *fs)
{
	path_put(&fs->root);
	path_put(&fs->pwd);
	kfree(fs);
}

/* Paths of the calling task begin there, as the kernel itself does it for its threads. */
struct fs_struct *geist_root_enter(struct fs_struct *fs)
{
	struct fs_struct *old = current->fs;

	WRITE_ONCE(current->fs, fs);
	return old;
}

void geist_root_leave(struct fs_struct *old)
{
	WRITE_ONCE(current->fs, old);
}

/* Whether the caller sees the system as threads of the kernel do. */
bool geist_in_first_namespaces(void)
{
	struct nsproxy *mine = current->nsproxy, *first = init_task.nsproxy;

	return task_active_pid_ns(current) == &init_pid_ns &&
	       current_user_ns() == &init_user_ns && mine->mnt_ns == first->mnt_ns &&
	       mine->net_ns == first->net_ns && mine->ipc_ns == first->ipc_ns &&
	       mine->uts_ns == first->uts_ns && mine->cgroup_ns == first->cgroup_ns &&
	       mine->time_ns == first->time_ns;
}
