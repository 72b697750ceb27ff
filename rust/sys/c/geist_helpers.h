/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What Rust cannot reach: inline functions, macros and static calls of the
 * kernel, a few lines each. rust/sys/ gets its declarations of them from this
 * file (bindgen), and only rust/sys/ calls them. What a caller must know is
 * said at the safe wrapper.
 */
#ifndef GEIST_HELPERS_H
#define GEIST_HELPERS_H

#ifdef __KERNEL__
#include <linux/mm_types.h>
#endif
#include <linux/types.h>

struct callback_head;
struct cred;
struct file;
struct fs_struct;
struct kobj_attribute;
struct kobject;
struct mm_struct;
struct path;
struct pt_regs;
struct task_struct;

/* symbols.c: functions that the kernel does not export */
unsigned long geist_symbol_find(const char *name);
void geist_symbol_set(unsigned int index, unsigned long address);
void geist_flush_tlb_mm(struct mm_struct *mm);
void geist_split_huge_pmd(struct vm_area_struct *vma, pmd_t *pmd, unsigned long addr);
bool geist_task_work_cancel(struct task_struct *task, struct callback_head *work);
bool geist_ptrace_may_access(struct task_struct *task);
long geist_system_call(unsigned int nr, const unsigned long *args);
void geist_xstate_copy(struct task_struct *task, void *to, unsigned int bytes);

/* kthread.c */
struct task_struct *geist_thread_start(void *data, unsigned int number);
void geist_thread_wake(struct task_struct *task);
void geist_thread_stop(struct task_struct *task);
void geist_sleep_prepare(void);
void geist_sleep_cancel(void);
void geist_sleep_until(s64 until);

/* task_view.c */
const struct cred *geist_current_cred(void);
const struct cred *geist_override_creds(const struct cred *cred);
void geist_revert_creds(const struct cred *old);
struct fs_struct *geist_root_keep(void);
void geist_root_drop(struct fs_struct *fs);
struct fs_struct *geist_root_enter(struct fs_struct *fs);
void geist_root_leave(struct fs_struct *old);
bool geist_in_first_namespaces(void);

/* file.c */
bool geist_file_is_directory(struct file *file);
bool geist_file_is_regular(struct file *file);
unsigned long geist_file_size(struct file *file);
void geist_file_identity(struct file *file, unsigned long *dev, unsigned long *ino);
/* Not two files of a file system have the same, and none after a change. */
struct geist_incarnation {
	unsigned long ino;
	long ctime_sec;
	unsigned int ctime_nsec;
	unsigned int generation;
};

void geist_file_incarnation(struct file *file, struct geist_incarnation *out);
int geist_dir_sync_all(struct file *dir);
struct file *geist_file_reopen(struct file *file, int flags);
int geist_dir_has(struct file *dir, const char *name);
int geist_dir_remove(struct file *dir, const char *name);
int geist_dir_rename(struct file *dir, const char *from, const char *to);

/* pagetable.c: what an entry of a page table maps */
enum geist_entry {
	GEIST_ENTRY_NONE,	/* nothing */
	GEIST_ENTRY_TABLE,	/* a table of the next level */
	GEIST_ENTRY_CAPTURED,	/* an anonymous page, write-protected now, reference taken */
	GEIST_ENTRY_PINNED,	/* the same, but pinned for DMA and so still writable */
	GEIST_ENTRY_ANON,	/* an anonymous page, looked at only */
	GEIST_ENTRY_UNCHANGED,	/* an anonymous page, not written since it was captured */
	GEIST_ENTRY_FILE,	/* a page of a file, or the zero page */
	GEIST_ENTRY_ABSENT,	/* a page in swap or under migration */
	GEIST_ENTRY_GUARD,	/* a guard marker */
	GEIST_ENTRY_UNKNOWN,	/* anything else: poison, device memory */
};

/* A captured page, and its address, whose low bits are free. */
struct geist_captured {
	unsigned long address;
	struct page *page;
};

/* Which entries of a page table are captured, and where captured pages go. */
struct geist_capture {
	const unsigned long *wanted;	/* a bit an entry: visit it */
	const unsigned long *written;	/* it changed, whatever it says itself */
	bool skip_others;		/* what is no anonymous page is of no interest */
	unsigned long low_bits;		/* of every address */
	struct geist_captured *out;
	unsigned int room;
	unsigned int count;
};

pmd_t *geist_pmd_find(struct mm_struct *mm, unsigned long addr, unsigned long *next);
int geist_pmd_capture(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmd,
		      bool only_changed, struct page **page);
int geist_pmd_look(struct vm_area_struct *vma, pmd_t *pmd, struct page **page);
int geist_pte_look(struct vm_area_struct *vma, pte_t *pte, struct page **page);
pte_t *geist_pte_lock(struct mm_struct *mm, pmd_t *pmd, unsigned long addr, spinlock_t **ptl);
void geist_pte_unlock(spinlock_t *ptl);
int geist_pte_capture(struct vm_area_struct *vma, unsigned long addr, pte_t *pte,
		      bool only_changed, struct page **page);
unsigned int geist_ptes_capture(struct vm_area_struct *vma, unsigned long base, pte_t *table,
				unsigned int from, unsigned int until,
				struct geist_capture *capture);
void *geist_page_address(struct page *page);
struct page *geist_page_nth(struct page *page, unsigned long n);
void geist_page_get(struct page *page);
void geist_page_put(struct page *page);

/* mm.c */
#define GEIST_MM_THP_DISABLED	1UL
#define GEIST_MM_LOCK_FUTURE	2UL
#define GEIST_MM_LOCK_ON_FAULT	4UL

struct geist_vma {
	struct vm_area_struct *vma;
	unsigned long start;
	unsigned long end;
	unsigned long flags;
	unsigned long offset;		/* bytes */
	unsigned int protection_key;
	bool anonymous;
	bool shmem;			/* on the kernel's own mount: a memfd and the like */
	bool regular;
	const char *special_name;	/* of a mapping that the kernel made */
	const char *anon_name;
	struct file *file;
};

unsigned long geist_mm_room(struct mm_struct *mm);
int geist_mmap_write_lock_killable(struct mm_struct *mm);
void geist_mmap_write_unlock(struct mm_struct *mm);
struct vm_area_struct *geist_vma_next(struct mm_struct *mm, unsigned long addr);
void geist_vmas_start_write(struct mm_struct *mm);
void geist_write_protect_begin(struct mm_struct *mm);
void geist_write_protect_end(struct mm_struct *mm);
void geist_vma_describe(struct vm_area_struct *vma, struct geist_vma *out);
unsigned int geist_vmas_describe(struct mm_struct *mm, struct geist_vma *out, unsigned int room);
unsigned long geist_mm_vdso(struct mm_struct *mm);
unsigned long geist_mm_flags(struct mm_struct *mm);
long geist_fault_in(struct mm_struct *mm, unsigned long addr);
struct file *geist_mm_exe_file(struct mm_struct *mm);

/* work.c: one piece of work for later */
void geist_work_schedule(void);
void geist_work_schedule_after(unsigned int ms);
void geist_work_cancel(void);

/* hook.c: the hook on page faults */
int geist_hook_register(void);
void geist_hook_unregister(void);

/* task.c */
struct geist_sleep_state {
	unsigned int state;
	bool on_cpu;
	unsigned long switches;
};

unsigned int geist_task_threads(struct task_struct *task, struct task_struct **out,
				unsigned int max);
struct task_struct *geist_task_find(int pid);
void geist_task_sleep_state(struct task_struct *task, struct geist_sleep_state *out);
struct pt_regs *geist_task_pt_regs(struct task_struct *task);
int geist_task_id(struct task_struct *task);
struct task_struct *geist_task_leader(struct task_struct *task);
int geist_send_signal(struct task_struct *task, int signal);
bool geist_try_module_get(void);
void geist_module_put(void);
void geist_synchronize_rcu_tasks(void);
void geist_task_place(struct task_struct *task, char *to, size_t size);
void geist_kernel_release(char *to, size_t size);

/* regset.c, signal.c, sleeper.c: registers, signals, timers of another task */
struct geist_sleeper {
	int clock;
	long expires;			/* nanoseconds, absolute */
};

int geist_regset_get(struct task_struct *task, unsigned int note, void **data);
bool geist_sighand_lock(struct task_struct *task, unsigned long *flags);
void geist_sighand_unlock(struct task_struct *task, unsigned long flags);
bool geist_restores_sigmask(struct task_struct *task);
bool geist_sleeper_find(struct task_struct *task, struct geist_sleeper *out);

/* restart_block.c: interrupted system calls that continue */
enum geist_restart_kind {
	GEIST_RESTART_NANOSLEEP,	/* hrtimer_nanosleep_restart */
	GEIST_RESTART_POLL,		/* do_restart_poll */
	GEIST_RESTART_FUTEX,		/* futex_wait_restart */
	GEIST_RESTART_NOTHING,		/* do_no_restart_syscall */
	GEIST_RESTART_OTHER,
};

void geist_restart_function_set(enum geist_restart_kind kind, unsigned long address);
unsigned long geist_restart_function(enum geist_restart_kind kind);
enum geist_restart_kind geist_restart_kind(struct task_struct *task);

/* process.c: what a process is */
struct geist_process {
	unsigned int ppid;
	unsigned int pgid;
	unsigned int sid;
	unsigned int dumpable;
	bool no_new_privs;
	bool subreaper;
	bool stopped;
};

enum geist_task_flag {
	GEIST_FLAG_IO_URING,		/* a ring that has no descriptor, perhaps */
	GEIST_FLAG_AMX,			/* ARCH_REQ_XCOMP_PERM */
	GEIST_FLAG_CLAMP,		/* SCHED_FLAG_UTIL_CLAMP */
	GEIST_FLAG_PKEYS,		/* pkey_alloc */
	GEIST_FLAG_NO_TSC,		/* PR_SET_TSC */
	GEIST_FLAG_NO_CPUID,		/* ARCH_SET_CPUID */
	GEIST_FLAG_USER_DISPATCH,	/* PR_SET_SYSCALL_USER_DISPATCH */
	GEIST_FLAG_MDWE,		/* PR_SET_MDWE */
	GEIST_FLAG_MERGE_ANY,		/* PR_SET_MEMORY_MERGE */
	GEIST_FLAG_RESET_ON_FORK,	/* SCHED_RESET_ON_FORK */
};

void geist_process_read(struct task_struct *task, struct geist_process *out);
void geist_task_times(struct task_struct *task, unsigned long *user, unsigned long *system);
bool geist_task_directories(struct task_struct *task, struct path *root, struct path *pwd,
			    unsigned int *umask);
const char *geist_foreign_namespace(struct task_struct *task);
const char *geist_shared_state(struct task_struct *task);
bool geist_task_is_64bit(struct task_struct *task);
bool geist_task_flag_set(struct task_struct *task, enum geist_task_flag flag);
int geist_task_ioprio(struct task_struct *task);
unsigned int geist_task_cpus(struct task_struct *task, unsigned long *mask, unsigned int max_bytes,
			     bool *all);

/* fd.c, lock.c: descriptors and what is behind them */
struct geist_stat {
	unsigned int mode;
	unsigned int dev;		/* as st_dev */
	unsigned int rdev;		/* as st_rdev */
	unsigned int major;		/* of rdev */
	unsigned int minor;
	unsigned long inode;
	unsigned long size;
	long mtime_ns;
};

struct geist_socket {
	unsigned int family;
	unsigned int type;
	unsigned int protocol;
};

struct geist_pipe {
	unsigned int files;
	unsigned int slots;
	bool empty;
	bool notifies;
};

enum geist_lock_kind {
	GEIST_LOCK_POSIX,
	GEIST_LOCK_OFD,
	GEIST_LOCK_FLOCK,
};

struct geist_lock {
	enum geist_lock_kind kind;
	bool exclusive;
	unsigned long start;
	unsigned long end;		/* last byte */
};

bool geist_fd_cloexec(struct task_struct *task, unsigned int fd);
int geist_file_stat(struct file *file, struct geist_stat *out);
const struct path *geist_file_user_path(struct file *file);
bool geist_path_is_deleted(const struct path *path);
const char *geist_file_name(struct file *file);
unsigned long geist_file_magic(struct file *file);
bool geist_file_is_internal_shmem(struct file *file);
struct file *geist_memfd_reopen(struct file *file);
unsigned int geist_shmem_seals(struct file *file);
bool geist_mapping_writably_mapped(struct file *file);
bool geist_file_socket(struct file *file, struct geist_socket *out);
bool geist_file_pipe(struct file *file, struct geist_pipe *out);
unsigned long geist_file_references(struct file *file);
bool geist_file_is_ours(struct file *file);
bool geist_file_has_owner(struct file *file);
long geist_file_next_data(struct file *file, long offset, long *end);
unsigned int geist_file_locks(struct file *file, const void *files, struct geist_lock *out,
			      unsigned int max);
bool geist_file_is_locked(struct file *file);
bool geist_file_has_lease(struct file *file);

/* restart.c: what a process does to itself while it is restarted */
#define GEIST_UNFIT_32BIT		1U
#define GEIST_UNFIT_THREADS		2U
#define GEIST_UNFIT_MEMORY		4U
#define GEIST_UNFIT_FILES		8U
#define GEIST_UNFIT_SIGNALS		16U
#define GEIST_UNFIT_SHADOW_STACK	32U

struct completion;

struct geist_rseq {
	unsigned long address;
	unsigned int length;
	unsigned int signature;
};

unsigned int geist_skeleton_unfit(void);
void geist_stop_current(void);
int geist_current_tgid(void);
bool geist_task_is_exiting(struct task_struct *task);
bool geist_current_is_dying(void);
void geist_current_look_executed(void);
void geist_limit_swap(unsigned int resource, unsigned long *soft, unsigned long *hard);
unsigned long geist_task_size(void);
unsigned long geist_vdso_data_bytes(void);
void geist_maybe_guard(unsigned long address);
void geist_set_heap_start(unsigned long start);
void geist_set_mmap_base(unsigned long base);
struct file *geist_shared_memory(unsigned long bytes, bool reserve);
void geist_rseq_get(struct geist_rseq *out);
void geist_rseq_interrupted(void);
void geist_close_file(unsigned long address);
int geist_wait_killable(struct completion *done);
void geist_set_blocked(unsigned long mask);
unsigned int geist_regset_bytes(unsigned int note);
int geist_regset_set(struct task_struct *task, unsigned int note, const void *data,
		     unsigned int bytes);
int geist_restart_nanosleep(int clock, unsigned int type, unsigned long remainder,
			    long long expires);
int geist_restart_poll(unsigned long fds, unsigned int count, bool has_timeout, long long expires);
int geist_restart_futex(unsigned long address, unsigned int value, unsigned int flags,
			unsigned int bitset, long long expires);

/* sysfs.c */
typedef ssize_t geist_show(struct kobject *folder, struct kobj_attribute *file, char *page);
typedef ssize_t geist_store(struct kobject *folder, struct kobj_attribute *file, const char *text,
			    size_t bytes);

void geist_attribute_init(struct kobj_attribute *attribute, const char *name, unsigned int mode,
			  geist_show *show, geist_store *store, void *key);
bool geist_may_log(void);

#ifndef __BINDGEN__
/* rust/sys/watch.rs: what the hook calls */
bool geist_is_watched(struct mm_struct *mm);
void geist_on_fault(struct mm_struct *mm, unsigned long addr, bool write, bool absent);
void geist_on_replaced(struct mm_struct *mm, unsigned long start, unsigned long end);
/* rust/sys/kthread.rs */
void geist_on_thread(void *start);
/* rust/sys/workqueue.rs */
void geist_on_work(void);
#endif

#endif
