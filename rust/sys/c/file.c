// SPDX-License-Identifier: GPL-2.0
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/namei.h>

#include "geist_helpers.h"

bool geist_file_is_directory(struct file *file)
{
	return S_ISDIR(file_inode(file)->i_mode);
}

bool geist_file_is_regular(struct file *file)
{
	return S_ISREG(file_inode(file)->i_mode);
}

unsigned long geist_file_size(struct file *file)
{
	return i_size_read(file_inode(file));
}

struct file *geist_file_reopen(struct file *file, int flags)
{
	return dentry_open(&file->f_path, flags, current_cred());
}

void geist_file_identity(struct file *file, unsigned long *dev, unsigned long *ino)
{
	*dev = file_inode(file)->i_sb->s_dev;
	*ino = file_inode(file)->i_ino;
}

void geist_file_incarnation(struct file *file, struct geist_incarnation *out)
{
	struct inode *inode = file_inode(file);
	struct timespec64 ctime = inode_get_ctime(inode);

	*out = (struct geist_incarnation) {
		.ino = inode->i_ino,
		.ctime_sec = ctime.tv_sec,
		.ctime_nsec = ctime.tv_nsec,
		.generation = inode->i_generation,
	};
}

/* What syncfs(2) does. */
int geist_dir_sync_all(struct file *dir)
{
	struct super_block *sb = dir->f_path.dentry->d_sb;
	int err, lost;

	down_read(&sb->s_umount);
	err = sync_filesystem(sb);
	up_read(&sb->s_umount);
	lost = errseq_check_and_advance(&sb->s_wb_err, &dir->f_sb_err);
	return err ? err : lost;
}

/* 1 if it has an entry of this name, 0 if not. */
int geist_dir_has(struct file *dir, const char *name)
{
	struct dentry *child;
	int has;

	child = lookup_one_unlocked(file_mnt_idmap(dir), &QSTR(name), file_dentry(dir));
	if (IS_ERR(child))
		return PTR_ERR(child);
	has = d_is_positive(child);
	dput(child);
	return has;
}

int geist_dir_remove(struct file *dir, const char *name)
{
	struct mnt_idmap *idmap = file_mnt_idmap(dir);
	struct dentry *child;
	int err;

	err = mnt_want_write_file(dir);
	if (err)
		return err;
	child = start_removing(idmap, file_dentry(dir), &QSTR(name));
	err = PTR_ERR_OR_ZERO(child);
	if (!err) {
		err = vfs_unlink(idmap, file_inode(dir), child, NULL);
		end_removing(child);
	}
	mnt_drop_write_file(dir);
	return err;
}

int geist_dir_rename(struct file *dir, const char *from, const char *to)
{
	struct renamedata rd = {
		.mnt_idmap = file_mnt_idmap(dir),
		.old_parent = file_dentry(dir),
		.new_parent = file_dentry(dir),
	};
	int err;

	err = mnt_want_write_file(dir);
	if (err)
		return err;
	err = start_renaming(&rd, 0, &QSTR(from), &QSTR(to));
	if (!err) {
		err = vfs_rename(&rd);
		end_renaming(&rd);
	}
	mnt_drop_write_file(dir);
	return err;
}
