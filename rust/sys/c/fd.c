// SPDX-License-Identifier: GPL-2.0
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/net.h>
#include <linux/pagemap.h>
#include <linux/pipe_fs_i.h>
#include <linux/shmem_fs.h>
#include <net/sock.h>

#include "geist_helpers.h"

/* FD_CLOEXEC of descriptor @fd of @task. */
bool geist_fd_cloexec(struct task_struct *task, unsigned int fd)
{
	bool cloexec = false;
	struct fdtable *fdt;

	task_lock(task);
	rcu_read_lock();
	if (task->files) {
		fdt = files_fdtable(task->files);
		cloexec = fd < fdt->max_fds && close_on_exec(fd, task->files);
	}
	rcu_read_unlock();
	task_unlock(task);
	return cloexec;
}

/* What stat() says of @file, as far as an image needs it. */
int geist_file_stat(struct file *file, struct geist_stat *out)
{
	struct kstat stat;
	int err;

	err = vfs_getattr(file_user_path(file), &stat, STATX_BASIC_STATS, AT_STATX_DONT_SYNC);
	if (err)
		return err;
	out->mode = stat.mode;
	out->dev = new_encode_dev(stat.dev);
	out->rdev = new_encode_dev(stat.rdev);
	out->major = MAJOR(stat.rdev);
	out->minor = MINOR(stat.rdev);
	out->inode = stat.ino;
	out->size = stat.size;
	out->mtime_ns = stat.mtime.tv_sec * NSEC_PER_SEC + stat.mtime.tv_nsec;
	return 0;
}

const struct path *geist_file_user_path(struct file *file)
{
	return file_user_path(file);
}

bool geist_path_is_deleted(const struct path *path)
{
	return d_unlinked(path->dentry);
}

const char *geist_file_name(struct file *file)
{
	return file->f_path.dentry->d_name.name;
}

unsigned long geist_file_magic(struct file *file)
{
	return file_inode(file)->i_sb->s_magic;
}

/* The file lies in the kernel's own, unmounted tmpfs: a memfd, shared anonymous, SysV memory. */
bool geist_file_is_internal_shmem(struct file *file)
{
	return shmem_mapping(file->f_mapping) &&
	       (file_inode(file)->i_sb->s_flags & SB_KERNMOUNT);
}

unsigned int geist_shmem_seals(struct file *file)
{
	return SHMEM_I(file_inode(file))->seals;
}

bool geist_mapping_writably_mapped(struct file *file)
{
	return mapping_writably_mapped(file->f_mapping);
}

/* Family, type and protocol of a socket; false when @file is none. */
bool geist_file_socket(struct file *file, struct geist_socket *out)
{
	struct socket *sock = sock_from_file(file);

	if (!sock)
		return false;
	out->type = sock->type;
	out->family = sock->sk ? sock->sk->sk_family : AF_UNSPEC;
	out->protocol = sock->sk ? sock->sk->sk_protocol : 0;
	return true;
}

/* What the pipe without a name behind @file is like; false when @file is none. */
bool geist_file_pipe(struct file *file, struct geist_pipe *out)
{
	struct pipe_inode_info *pipe;

	if (file_inode(file)->i_sb->s_magic != PIPEFS_MAGIC)
		return false;
	pipe = file_inode(file)->i_pipe;
	mutex_lock(&pipe->mutex);
	out->files = pipe->files;
	out->slots = pipe->max_usage;
	out->empty = pipe_is_empty(pipe);
	out->notifies = pipe_has_watch_queue(pipe);
	mutex_unlock(&pipe->mutex);
	return true;
}

unsigned long geist_file_references(struct file *file)
{
	return file_count(file);
}

bool geist_file_is_ours(struct file *file)
{
	return file->f_op->owner == THIS_MODULE;
}

/* Somebody is to get signals from @file (F_SETOWN, O_ASYNC, a lease, F_NOTIFY). */
bool geist_file_has_owner(struct file *file)
{
	struct fown_struct *owner = file_f_owner(file);

	return (file->f_flags & FASYNC) || (owner && READ_ONCE(owner->pid));
}

/* The next range of data from @offset on; -ENXIO: there is none. */
long geist_file_next_data(struct file *file, long offset, long *end)
{
	long start = vfs_llseek(file, offset, SEEK_DATA);

	if (start < 0)
		return start;
	*end = vfs_llseek(file, start, SEEK_HOLE);
	return *end < 0 ? *end : start;
}

/* Opens the memfd behind @file for writing, if the caller could do so by its /proc/self/fd. */
struct file *geist_memfd_reopen(struct file *file)
{
	int err;

	if (!geist_file_is_internal_shmem(file))
		return ERR_PTR(-EINVAL);
	err = inode_permission(file_mnt_idmap(file), file_inode(file), MAY_WRITE);
	if (err)
		return ERR_PTR(err);
	return dentry_open(&file->f_path, O_RDWR | O_LARGEFILE, current_cred());
}
