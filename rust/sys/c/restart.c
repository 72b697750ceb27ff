// SPDX-License-Identifier: GPL-2.0
/*
 * What a process does to itself while it is restarted. Everything here acts on
 * the calling task, unless it takes one.
 */
#include <linux/cred.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/regset.h>
#include <linux/rseq.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/shmem_fs.h>
#include <linux/thread_info.h>
#include <linux/uaccess.h>
#include <asm/vdso.h>
#include <asm/vdso/vsyscall.h>

#include "geist_helpers.h"

/* What makes the calling process unfit to be replaced; 0: nothing. */
unsigned int geist_skeleton_unfit(void)
{
	sigset_t open;
	unsigned int unfit = 0;

	siginitsetinv(&open, sigmask(SIGKILL) | sigmask(SIGSTOP));
	sigandnsets(&open, &open, &current->blocked);
	if (in_compat_syscall())
		unfit |= GEIST_UNFIT_32BIT;
	if (get_nr_threads(current) != 1)
		unfit |= GEIST_UNFIT_THREADS;
	if (atomic_read(&current->mm->mm_users) != 1 || current->vfork_done)
		unfit |= GEIST_UNFIT_MEMORY;
	if (atomic_read(&current->files->count) != 1)
		unfit |= GEIST_UNFIT_FILES;
	if (!sigisemptyset(&open))
		unfit |= GEIST_UNFIT_SIGNALS;
#ifdef CONFIG_X86_USER_SHADOW_STACK
	if (current->thread.features)
		unfit |= GEIST_UNFIT_SHADOW_STACK;
#endif
	return unfit;
}

/*
 * What do_signal_stop() does when SIGSTOP was taken from its queue: get_signal()
 * looks at it before it takes a signal, so that none is delivered first.
 */
void geist_stop_current(void)
{
	struct signal_struct *sig = current->signal;

	spin_lock_irq(&current->sighand->siglock);
	if (!(sig->flags & SIGNAL_GROUP_EXIT)) {
		sig->group_exit_code = SIGSTOP;
		sig->group_stop_count = 1;
		current->jobctl &= ~JOBCTL_STOP_SIGMASK;
		current->jobctl |= SIGSTOP | JOBCTL_STOP_PENDING | JOBCTL_STOP_CONSUME;
		set_thread_flag(TIF_SIGPENDING);
	}
	spin_unlock_irq(&current->sighand->siglock);
}

int geist_current_tgid(void)
{
	return task_tgid_vnr(current);
}

bool geist_task_is_exiting(struct task_struct *task)
{
	return READ_ONCE(task->flags) & PF_EXITING || READ_ONCE(task->exit_state);
}

bool geist_current_is_dying(void)
{
	return current->flags & PF_EXITING || fatal_signal_pending(current);
}

void geist_current_look_executed(void)
{
	current->flags &= ~(PF_FORKNOEXEC | PF_SUPERPRIV);
}

/* Exchanges a resource limit of the process with @soft and @hard. */
void geist_limit_swap(unsigned int resource, unsigned long *soft, unsigned long *hard)
{
	struct rlimit *limit = &current->signal->rlim[resource];

	task_lock(current->group_leader);
	swap(limit->rlim_cur, *soft);
	swap(limit->rlim_max, *hard);
	task_unlock(current->group_leader);
}

unsigned long geist_task_size(void)
{
	return TASK_SIZE;
}

unsigned long geist_vdso_data_bytes(void)
{
	return __VDSO_PAGES * PAGE_SIZE;
}

/* The mark that MADV_GUARD_INSTALL leaves on a mapping for good. */
void geist_maybe_guard(unsigned long address)
{
	struct vm_area_struct *vma;

	mmap_read_lock(current->mm);
	vma = vma_lookup(current->mm, address);
	if (vma)
		vma_set_atomic_flag(vma, VMA_MAYBE_GUARD_BIT);
	mmap_read_unlock(current->mm);
}

/* An empty heap at @start. */
void geist_set_heap_start(unsigned long start)
{
	mmap_write_lock(current->mm);
	current->mm->start_brk = start;
	current->mm->brk = start;
	mmap_write_unlock(current->mm);
}

void geist_set_mmap_base(unsigned long base)
{
	mmap_write_lock(current->mm);
	current->mm->mmap_base = base;
	mmap_write_unlock(current->mm);
}

/* A file of shared anonymous memory, as mmap() makes it. */
struct file *geist_shared_memory(unsigned long bytes, bool reserve)
{
	return shmem_kernel_file_setup("dev/zero", bytes,
				       reserve ? EMPTY_VMA_FLAGS : mk_vma_flags(VMA_NORESERVE_BIT));
}

void geist_rseq_get(struct geist_rseq *out)
{
	out->address = (unsigned long)current->rseq.usrptr;
	out->length = current->rseq.len;
	out->signature = current->rseq.sig;
}

/* The critical section, if there is one, was interrupted and must be aborted. */
void geist_rseq_interrupted(void)
{
	current->rseq.event.user_irq = true;
}

static int match_file(const void *wanted, struct file *file, unsigned int fd)
{
	return file == wanted ? fd + 1 : 0;
}

/* Closes every descriptor of the process that shows the file at this address. */
void geist_close_file(unsigned long address)
{
	int fd;

	while ((fd = iterate_fd(current->files, 0, match_file, (void *)address))) {
		struct file *file = file_close_fd(fd - 1);

		if (!file)
			continue;
		/* The last reference goes here and now, not when the task leaves the kernel. */
		get_file(file);
		filp_close(file, current->files);
		__fput_sync(file);
	}
}

int geist_wait_killable(struct completion *done)
{
	return wait_for_completion_state(done, TASK_KILLABLE | TASK_FREEZABLE);
}

void geist_set_blocked(unsigned long mask)
{
	sigset_t set;

	siginitset(&set, mask & ~(sigmask(SIGKILL) | sigmask(SIGSTOP)));
	sigprocmask(SIG_SETMASK, &set, NULL);
}

static const struct user_regset *find_regset(struct task_struct *task, unsigned int note)
{
	const struct user_regset_view *view = task_user_regset_view(task);
	unsigned int i;

	for (i = 0; i < view->n; i++)
		if (view->regsets[i].core_note_type == note)
			return &view->regsets[i];
	return NULL;
}

/* Bytes of a register set of the calling task; 0 when the machine has none such. */
unsigned int geist_regset_bytes(unsigned int note)
{
	const struct user_regset *set = find_regset(current, note);

	return set ? set->n * set->size : 0;
}

/* Sets the registers of @task, which sleeps, as ptrace does. */
int geist_regset_set(struct task_struct *task, unsigned int note, const void *data,
		     unsigned int bytes)
{
	const struct user_regset *set = find_regset(task, note);

	if (!set || !set->set || bytes != set->n * set->size)
		return -EINVAL;
	return set->set(task, set, 0, bytes, data, NULL);
}

/* Fails where the kernel's function for this kind was not found. */
static int set_restart(enum geist_restart_kind kind)
{
	unsigned long function = geist_restart_function(kind);

	if (!function)
		return -ENOSYS;
	set_restart_fn(&current->restart_block, (void *)function);
	return 0;
}

int geist_restart_nanosleep(int clock, unsigned int type, unsigned long remainder,
			    long long expires)
{
	struct restart_block *block = &current->restart_block;

	block->nanosleep.clockid = clock;
	block->nanosleep.type = type;
	block->nanosleep.rmtp = (void __user *)remainder;
	block->nanosleep.expires = expires;
	return set_restart(GEIST_RESTART_NANOSLEEP);
}

int geist_restart_poll(unsigned long fds, unsigned int count, bool has_timeout, long long expires)
{
	struct restart_block *block = &current->restart_block;

	block->poll.ufds = (void __user *)fds;
	block->poll.nfds = count;
	block->poll.has_timeout = has_timeout;
	block->poll.end_time = ns_to_timespec64(expires);
	return set_restart(GEIST_RESTART_POLL);
}

int geist_restart_futex(unsigned long address, unsigned int value, unsigned int flags,
			unsigned int bitset, long long expires)
{
	struct restart_block *block = &current->restart_block;

	block->futex.uaddr = (void __user *)address;
	block->futex.val = value;
	block->futex.flags = flags;
	block->futex.bitset = bitset;
	block->futex.time = expires;
	return set_restart(GEIST_RESTART_FUTEX);
}
