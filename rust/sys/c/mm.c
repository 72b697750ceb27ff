// SPDX-License-Identifier: GPL-2.0
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmap_lock.h>
#include <linux/pkeys.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>

#include "geist_helpers.h"

int geist_mmap_write_lock_killable(struct mm_struct *mm)
{
	return mmap_write_lock_killable(mm);
}

void geist_mmap_write_unlock(struct mm_struct *mm)
{
	mmap_write_unlock(mm);
}

/* Pages that the control groups of an address space let it have beside those it has. */
unsigned long geist_mm_room(struct mm_struct *mm)
{
	unsigned long room = PAGE_COUNTER_MAX;
	struct mem_cgroup *own, *group;

	if (mem_cgroup_disabled())
		return room;
	own = get_mem_cgroup_from_mm(mm);
	for (group = own; group; group = parent_mem_cgroup(group)) {
		unsigned long max = READ_ONCE(group->memory.max);
		unsigned long used = page_counter_read(&group->memory);

		room = min(room, max > used ? max - used : 0);
	}
	mem_cgroup_put(own);
	return room;
}

/* The first mapping that ends behind @addr. mmap_lock is held. */
struct vm_area_struct *geist_vma_next(struct mm_struct *mm, unsigned long addr)
{
	return find_vma(mm, addr);
}

/* Waits until no fault runs, and keeps new ones out. mmap_lock is held for writing. */
void geist_vmas_start_write(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;

	for_each_vma(vmi, vma)
		vma_start_write(vma);
}

/* GUP-fast takes the slow path, which waits for mmap_lock, while this is raised. */
void geist_write_protect_begin(struct mm_struct *mm)
{
	raw_write_seqcount_begin(&mm->write_protect_seq);
}

void geist_write_protect_end(struct mm_struct *mm)
{
	raw_write_seqcount_end(&mm->write_protect_seq);
}

/* The name that PR_SET_VMA gave an anonymous mapping; anon_vma_name() is not exported. */
static const char *name_of(struct vm_area_struct *vma)
{
#ifdef CONFIG_ANON_VMA_NAME
	if (!vma->vm_file && vma->anon_name)
		return vma->anon_name->name;
#endif
	return NULL;
}

void geist_vma_describe(struct vm_area_struct *vma, struct geist_vma *out)
{
	struct file *file = vma->vm_file;

	out->vma = vma;
	out->start = vma->vm_start;
	out->end = vma->vm_end;
	out->flags = vma->vm_flags;
	out->offset = (unsigned long)vma->vm_pgoff << PAGE_SHIFT;
	out->protection_key = vma_pkey(vma);
	out->anonymous = vma_is_anonymous(vma);
	out->shmem = file && shmem_mapping(file->f_mapping) &&
		     (file_inode(file)->i_sb->s_flags & SB_KERNMOUNT);
	out->regular = file && S_ISREG(file_inode(file)->i_mode);
	out->special_name = !file && vma->vm_ops && vma->vm_ops->name ?
			    vma->vm_ops->name(vma) : NULL;
	out->anon_name = name_of(vma);
	out->file = file;
}

/* Describes all mappings, at most @room; returns their number. mmap_lock is held. */
unsigned int geist_vmas_describe(struct mm_struct *mm, struct geist_vma *out, unsigned int room)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;
	unsigned int count = 0;

	for_each_vma(vmi, vma) {
		if (count == room)
			break;
		geist_vma_describe(vma, &out[count++]);
	}
	return count;
}

unsigned long geist_mm_vdso(struct mm_struct *mm)
{
	return (unsigned long)mm->context.vdso;
}

unsigned long geist_mm_flags(struct mm_struct *mm)
{
	return (mm_flags_test(MMF_DISABLE_THP_COMPLETELY, mm) ? GEIST_MM_THP_DISABLED : 0) |
	       (mm->def_flags & VM_LOCKED ? GEIST_MM_LOCK_FUTURE : 0) |
	       (mm->def_flags & VM_LOCKONFAULT ? GEIST_MM_LOCK_ON_FAULT : 0);
}

/* Brings one page of @mm in, also where it may not be read. mmap_lock is held. */
long geist_fault_in(struct mm_struct *mm, unsigned long addr)
{
	return get_user_pages_remote(mm, addr, 1, FOLL_FORCE, NULL, NULL);
}

/* The file of the exe link, with a reference, or NULL. */
struct file *geist_mm_exe_file(struct mm_struct *mm)
{
	struct file *file;

	rcu_read_lock();
	file = get_file_rcu(&mm->exe_file);
	rcu_read_unlock();
	return file;
}
