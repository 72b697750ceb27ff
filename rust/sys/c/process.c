// SPDX-License-Identifier: GPL-2.0
#include <linux/cred.h>
#include <linux/fdtable.h>
#include <linux/fs_struct.h>
#include <linux/io_uring_types.h>
#include <linux/ioprio.h>
#include <linux/mm.h>
#include <linux/nsproxy.h>
#include <linux/pid_namespace.h>
#include <linux/ptrace.h>
#include <linux/sched/coredump.h>
#include <linux/sched/cputime.h>
#include <linux/sched/exec_state.h>
#include <linux/sched/jobctl.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/sched/task_stack.h>
#include <linux/user_namespace.h>
#include <asm/fpu/types.h>
#include <asm/fpu/xstate.h>

#include "geist_helpers.h"

/* Identity of the process of @task; pids as the caller's namespace has them. */
void geist_process_read(struct task_struct *task, struct geist_process *out)
{
	struct pid_namespace *ns = task_active_pid_ns(current);

	rcu_read_lock();
	out->ppid = task_tgid_nr_ns(rcu_dereference(task->real_parent), ns);
	out->dumpable = READ_ONCE(rcu_dereference(task->exec_state)->dumpable);
	rcu_read_unlock();
	out->pgid = task_pgrp_nr_ns(task, ns);
	out->sid = task_session_nr_ns(task, ns);
	out->no_new_privs = task_no_new_privs(task);
	out->subreaper = task->signal->is_child_subreaper;
	out->stopped = task->signal->flags & SIGNAL_STOP_STOPPED;
}

/* Times that the thread @task has used, nanoseconds. */
void geist_task_times(struct task_struct *task, unsigned long *user, unsigned long *system)
{
	u64 utime, stime;

	task_cputime_adjusted(task, &utime, &stime);
	*user = utime;
	*system = stime;
}

/* Root and working directory of @task with a reference each, and its umask; false: it has none. */
bool geist_task_directories(struct task_struct *task, struct path *root, struct path *pwd,
			    unsigned int *umask)
{
	struct fs_struct *fs;

	task_lock(task);
	fs = task->fs;
	if (fs) {
		get_fs_root(fs, root);
		get_fs_pwd(fs, pwd);
		*umask = fs->umask;
	}
	task_unlock(task);
	return fs;
}

/* Which namespace of @task is not that of the caller; NULL: none. */
const char *geist_foreign_namespace(struct task_struct *task)
{
	const char *name = NULL;
	struct nsproxy *theirs;

	if (task_active_pid_ns(task) != task_active_pid_ns(current))
		return "pid";
	rcu_read_lock();
	if (__task_cred(task)->user_ns != current_user_ns())
		name = "user";
	rcu_read_unlock();

	task_lock(task);
	theirs = task->nsproxy;
	if (!theirs || name)
		goto out;
	if (theirs->mnt_ns != current->nsproxy->mnt_ns)
		name = "mount";
	else if (theirs->net_ns != current->nsproxy->net_ns)
		name = "network";
	else if (theirs->ipc_ns != current->nsproxy->ipc_ns)
		name = "IPC";
	else if (theirs->uts_ns != current->nsproxy->uts_ns)
		name = "UTS";
	else if (theirs->cgroup_ns != current->nsproxy->cgroup_ns)
		name = "cgroup";
	else if (theirs->time_ns != current->nsproxy->time_ns)
		name = "time";
	else if (theirs->pid_ns_for_children != task_active_pid_ns(task))
		name = "pid (for its children)";
	else if (theirs->time_ns_for_children != theirs->time_ns)
		name = "time (for its children)";
out:
	task_unlock(task);
	return name;
}

/*
 * What the process of @task shares with another process: its memory, its
 * descriptors, its directories; NULL: nothing.
 */
const char *geist_shared_state(struct task_struct *task)
{
	const char *name = NULL;
	int threads = get_nr_threads(task);
	struct task_struct *p, *t;

	/* The counters tell without a search that nothing is shared, as nearly always. */
	if (!mm_flags_test(MMF_MULTIPROCESS, task->mm) &&
	    atomic_read(&task->files->count) <= threads && READ_ONCE(task->fs->users) <= threads)
		return NULL;

	rcu_read_lock();
	for_each_process_thread(p, t) {
		if (same_thread_group(t, task) || !READ_ONCE(t->mm))
			continue;
		if (t->mm == task->mm)
			name = "its memory";
		else if (t->files == task->files)
			name = "its file descriptors";
		else if (t->fs == task->fs)
			name = "its working directory (CLONE_FS)";
		if (name)
			break;
	}
	rcu_read_unlock();
	return name;
}

/* The task runs 64-bit code in a 64-bit address space. */
bool geist_task_is_64bit(struct task_struct *task)
{
	return user_64bit_mode(task_pt_regs(task)) && !test_tsk_thread_flag(task, TIF_ADDR32);
}

/* A ring stays in use without a descriptor once it is registered. */
static bool has_registered_ring(struct task_struct *task)
{
	struct io_uring_task *uring = READ_ONCE(task->io_uring);

	return uring && memchr_inv(uring->registered_rings, 0, sizeof(uring->registered_rings));
}

/* The permission to use AMX; what x86_task_fpu() is, which is not exported with X86_DEBUG_FPU. */
static bool may_use_amx(struct task_struct *task)
{
	struct fpu *fpu = (void *)task->group_leader + sizeof(*task);

	return READ_ONCE(fpu->perm.__state_perm) & XFEATURE_MASK_USER_DYNAMIC;
}

static bool has_protection_keys(struct mm_struct *mm)
{
#ifdef CONFIG_X86_INTEL_MEMORY_PROTECTION_KEYS
	/* The first key belongs to all memory. */
	return READ_ONCE(mm->context.pkey_allocation_map) & ~1;
#else
	return false;
#endif
}

static bool has_utilization_clamp(struct task_struct *task)
{
	bool clamped = false;
#ifdef CONFIG_UCLAMP_TASK
	unsigned int id;

	for (id = 0; id < UCLAMP_CNT; id++)
		clamped |= task->uclamp_req[id].user_defined;
#endif
	return clamped;
}

bool geist_task_flag_set(struct task_struct *task, enum geist_task_flag flag)
{
	switch (flag) {
	case GEIST_FLAG_IO_URING:
		return has_registered_ring(task);
	case GEIST_FLAG_AMX:
		return may_use_amx(task);
	case GEIST_FLAG_CLAMP:
		return has_utilization_clamp(task);
	case GEIST_FLAG_PKEYS:
		return has_protection_keys(task->mm);
	case GEIST_FLAG_NO_TSC:
		return test_tsk_thread_flag(task, TIF_NOTSC);
	case GEIST_FLAG_NO_CPUID:
		return test_tsk_thread_flag(task, TIF_NOCPUID);
	case GEIST_FLAG_USER_DISPATCH:
		return test_task_syscall_work(task, SYSCALL_USER_DISPATCH);
	case GEIST_FLAG_MDWE:
		return mm_flags_test(MMF_HAS_MDWE, task->mm);
	case GEIST_FLAG_MERGE_ANY:
		return mm_flags_test(MMF_VM_MERGE_ANY, task->mm);
	case GEIST_FLAG_RESET_ON_FORK:
		return task->sched_reset_on_fork;
	}
	return false;
}

int geist_task_ioprio(struct task_struct *task)
{
	int ioprio = IOPRIO_DEFAULT;

	task_lock(task);
	if (task->io_context)
		ioprio = task->io_context->ioprio;
	task_unlock(task);
	return ioprio;
}

/* CPUs that @task may run on; @all: nobody has asked for less than all of them. */
unsigned int geist_task_cpus(struct task_struct *task, unsigned long *mask, unsigned int max_bytes,
			     bool *all)
{
	unsigned int bytes = min_t(unsigned int, cpumask_size(), max_bytes);
	unsigned long flags;

	raw_spin_lock_irqsave(&task->pi_lock, flags);
	memcpy(mask, cpumask_bits(&task->cpus_mask), bytes);
	*all = !task->user_cpus_ptr || cpumask_subset(cpu_possible_mask, &task->cpus_mask);
	raw_spin_unlock_irqrestore(&task->pi_lock, flags);
	return bytes;
}
