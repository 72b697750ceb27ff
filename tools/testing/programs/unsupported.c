// SPDX-License-Identifier: GPL-2.0
/*
 * Has one thing that a checkpoint does not keep (yet), given as a mode, and
 * works on: counts rounds, uses the thing each time, and ends with a result.
 * Whoever asks for a checkpoint is to be told what it is.
 *
 *   unsupported [--rounds N] --out FILE MODE [DIRECTORY]
 *   unsupported --out FILE --list 1
 *
 * --list prints a line for each mode: its name, what a refusal must say (a
 * part of the sentence), and "file" where it is a descriptor that can be left
 * out. Exits with 3 when this kernel does not have the thing.
 */
#include "common.h"

#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

static const char *directory = ".";
static int made = -1;		/* the descriptor of the mode */
static int child_pid;

static int lacking(void)
{
	switch (errno) {
	case ENOSYS:
	case EPERM:
	case ENOMEM:
	case EOPNOTSUPP:
	case EAFNOSUPPORT:
	case ENODEV:
	case ENOENT:
		fprintf(stderr, "not on this kernel: %s\n", strerror(errno));
		exit(3);
	}
	fail("set-up: %s", strerror(errno));
}

static void have(int fd)
{
	if (fd < 0)
		lacking();
	made = fd;
}

static void *thread_body(void *argument)
{
	(void)argument;
	for (;;)
		pause();
	return NULL;
}

static void do_thread(void)
{
	pthread_t thread;

	require(!pthread_create(&thread, NULL, thread_body, NULL));
}

static void do_child(void)
{
	child_pid = fork();
	require(child_pid >= 0);
	if (!child_pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
}

/* Is ready while it waits for the child, which ends when the program is released. */
static void do_vfork(void)
{
	int pid = vfork();

	require(pid >= 0);
	if (!pid) {
		ready();
		while (access(common_hold, F_OK))
			sleep_ms(5);
		_exit(0);
	}
	require(waitpid(pid, NULL, 0) == pid);
}

static void do_zombie(void)
{
	siginfo_t info;

	child_pid = fork();
	require(child_pid >= 0);
	if (!child_pid)
		_exit(0);
	require(!waitid(P_PID, (id_t)child_pid, &info, WEXITED | WNOWAIT));
}

static void do_tcp(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };

	have(socket(AF_INET, SOCK_STREAM, 0));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(made, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(made, 1))
		lacking();
}

static void do_udp(void) { have(socket(AF_INET, SOCK_DGRAM, 0)); }
static void do_tcp6(void) { have(socket(AF_INET6, SOCK_STREAM, 0)); }
static void do_netlink(void) { have(socket(AF_NETLINK, SOCK_RAW, 0)); }

static void do_unix(void)
{
	int pair[2];

	require(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	have(pair[0]);
	close(pair[1]);
}

static void do_pipe(void)
{
	int pair[2];

	require(!pipe(pair));
	require(write(pair[1], "data", 4) == 4);
	have(pair[0]);
	close(pair[1]);
}

static void do_fifo(void)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/fifo", directory);
	require(!mkfifo(path, 0600) || errno == EEXIST);
	have(open(path, O_RDWR | O_NONBLOCK));
}

static void do_eventfd(void) { have(eventfd(3, 0)); }
static void do_epoll(void) { have(epoll_create1(0)); }
static void do_timerfd(void) { have(timerfd_create(CLOCK_MONOTONIC, 0)); }
static void do_inotify(void) { have(inotify_init1(0)); }
static void do_pidfd(void) { have((int)syscall(SYS_pidfd_open, getpid(), 0)); }

static void do_signalfd(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	have(signalfd(-1, &set, 0));
}

static void do_fanotify(void)
{
	have(fanotify_init(FAN_CLASS_NOTIF, O_RDONLY));
}

static void do_userfaultfd(void)
{
	have((int)syscall(SYS_userfaultfd, O_CLOEXEC));
}

static void do_userfaultfd_range(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	do_userfaultfd();
	require(at != MAP_FAILED);
	range.range = (struct uffdio_range){ (uintptr_t)at, 4096 };
	require(!ioctl(made, UFFDIO_API, &api) && !ioctl(made, UFFDIO_REGISTER, &range));
}

static void do_io_uring(void)
{
	struct io_uring_params params;

	memset(&params, 0, sizeof(params));
	have((int)syscall(SYS_io_uring_setup, 4, &params));
}

static void do_perf(void)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attributes),
		.config = PERF_COUNT_SW_TASK_CLOCK,
	};

	have((int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0));
}

static void do_proc(void) { have(open("/proc/self/status", O_RDONLY)); }
static void do_kmsg(void) { have(open("/dev/kmsg", O_RDONLY | O_NONBLOCK)); }

static void open_deleted(void)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/deleted", directory);
	have(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
	require(write(made, "x", 1) == 1 && !unlink(path));
}

static void do_deleted_mapping(void)
{
	void *p;

	open_deleted();
	require(!ftruncate(made, 4096));
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, made, 0);
	require(p != MAP_FAILED);
	close(made);
	made = -1;
}

static void do_posix_timer(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_NONE };
	timer_t timer;

	require(!timer_create(CLOCK_MONOTONIC, &event, &timer));
}

static void do_shm(void)
{
	int id = shmget(IPC_PRIVATE, 8192, 0600);
	void *p;

	if (id < 0)
		lacking();
	p = shmat(id, NULL, 0);
	require(p != (void *)-1 && !shmctl(id, IPC_RMID, NULL));
	memset(p, 1, 8192);
}

static void do_hugetlb(void)
{
	char *p = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	if (p == MAP_FAILED)
		lacking();
	*p = 1;
}

static void do_lease(void)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/leased", directory);
	have(open(path, O_RDONLY | O_CREAT, 0600));
	if (fcntl(made, F_SETLEASE, F_RDLCK))
		lacking();
}

static void do_async(void)
{
	have(open("/dev/null", O_RDWR));
	require(!fcntl(made, F_SETOWN, getpid()));
	require(!fcntl(made, F_SETSIG, SIGURG));
}

static void do_seccomp(void)
{
	require(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	/* One instruction: allow everything. */
	struct { unsigned short code; unsigned char jt, jf; unsigned int k; }
		allow = { 0x06, 0, 0, 0x7fff0000 };
	struct { unsigned short count; void *filter; } program = { 1, &allow };

	if (prctl(PR_SET_SECCOMP, 2, &program))
		lacking();
}

enum { FILE_KIND = 1, UNLISTED = 2 };

static const struct mode {
	const char *name;
	void (*make)(void);
	const char *says;
	int flags;
} modes[] = {
	{ "thread", do_thread, "thread", 0 },
	{ "child", do_child, "child", 0 },
	{ "zombie", do_zombie, "child", 0 },
	{ "vfork", do_vfork, "child", UNLISTED },
	{ "tcp", do_tcp, "TCP socket", FILE_KIND },
	{ "udp", do_udp, "UDP socket", FILE_KIND },
	{ "tcp6", do_tcp6, "TCP socket", FILE_KIND },
	{ "netlink", do_netlink, "netlink socket", FILE_KIND },
	{ "unix", do_unix, "Unix socket", FILE_KIND },
	{ "pipe", do_pipe, "pipe with data", FILE_KIND },
	{ "fifo", do_fifo, "pipe|fifo", FILE_KIND },
	{ "eventfd", do_eventfd, "eventfd", FILE_KIND },
	{ "epoll", do_epoll, "epoll", FILE_KIND },
	{ "timerfd", do_timerfd, "timerfd", FILE_KIND },
	{ "signalfd", do_signalfd, "signalfd", FILE_KIND },
	{ "inotify", do_inotify, "inotify", FILE_KIND },
	{ "fanotify", do_fanotify, "fanotify", FILE_KIND },
	{ "pidfd", do_pidfd, "pidfd", FILE_KIND },
	{ "userfaultfd", do_userfaultfd, "userfaultfd", FILE_KIND },
	{ "userfaultfd-range", do_userfaultfd_range, "userfaultfd", 0 },
	{ "io_uring", do_io_uring, "io_uring", FILE_KIND },
	{ "perf", do_perf, "perf", FILE_KIND },
	{ "proc", do_proc, "proc", FILE_KIND },
	{ "kmsg", do_kmsg, "/dev/kmsg|device", FILE_KIND },
	{ "deleted", open_deleted, "deleted", FILE_KIND },
	{ "deleted-mapping", do_deleted_mapping, "deleted", 0 },
	{ "posix-timer", do_posix_timer, "timer", 0 },
	{ "shm", do_shm, "System V|SysV", 0 },
	{ "hugetlb", do_hugetlb, "huge", 0 },
	{ "lease", do_lease, "lease", FILE_KIND },
	{ "async", do_async, "signal|owner|asynchronous", FILE_KIND },
	{ "seccomp", do_seccomp, "seccomp", 0 },
};

static int list(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (!(modes[i].flags & UNLISTED))
			printf("%s\t%s\t%s\n", modes[i].name, modes[i].says,
			       modes[i].flags & FILE_KIND ? "file" : "");
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t rounds = 100, tick_ms = 5, only_list = 0, digest = 0;
	const struct number_option options[] = { { "rounds", &rounds },
						 { "tick-ms", &tick_ms },
						 { "list", &only_list } };
	int first = parse_options(argc, argv, options, ARRAY_SIZE(options));
	const struct mode *mode = NULL;
	uint64_t gone = 0;

	if (only_list)
		return list();
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (first < argc && !strcmp(modes[i].name, argv[first]))
			mode = &modes[i];
	if (!mode) {
		fprintf(stderr, "unsupported: no such mode\n");
		return 2;
	}
	if (first + 1 < argc)
		directory = argv[first + 1];
	mode->make();
	put_beside("fd", "%d\n", made);
	ready();
	for (uint64_t round = 0; round < rounds; round++) {
		hold(round, rounds);
		digest = mix(digest + round);
		/* After a restart that left it out, the descriptor is closed. */
		if (made >= 0 && fcntl(made, F_GETFD) < 0)
			gone = 1;
		if (round % 5 == 0)
			put_progress(round);
		sleep_ms(tick_ms);
	}
	if (child_pid)
		kill(child_pid, SIGKILL);
	succeed("unsupported %s, descriptor %s, digest %016llx", mode->name,
		gone ? "gone" : "there", (unsigned long long)digest);
}
