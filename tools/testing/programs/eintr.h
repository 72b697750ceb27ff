/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The calls of eintr, and what it shares with its peer.
 */
#ifndef GEIST_TEST_EINTR_H
#define GEIST_TEST_EINTR_H

#include "common.h"

#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#define BIG 65536UL

static uint64_t ms = 100;
static const char *directory;

/* What program and peer share, in a file that both map. */
struct shared {
	uint32_t asked;		/* number of the request; the peer waits for it */
	uint32_t prepared;	/* the last one that the peer has prepared */
	uint32_t what;		/* how the peer is to wake */
	uint32_t word;		/* for futex calls that are woken */
	int pid, semaphore, queue;
};

static struct shared *shared;

enum wake { PIPE = 1, DATAGRAM, CONNECT, FUTEX, SEMAPHORE, SEND, RECEIVE, DRAIN,
	    LOCK, FLOCK, SIGNAL, MQ };

struct message { long type; char text[64]; };

static int pipe_fd, full_fd, datagram_fd, stream_fd, epoll_fd, lock_fd, timer_fd;
static mqd_t mq;

static const char *path(const char *name)
{
	static char text[2][400];
	static int turn;

	turn = !turn;
	snprintf(text[turn], sizeof(text[turn]), "%s/%s", directory, name);
	return text[turn];
}

static int open_in(const char *name, int flags)
{
	int fd = open(path(name), flags | O_CLOEXEC, 0600);

	require(fd >= 0);
	return fd;
}

static void futex_wake(uint32_t *word)
{
	require(syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0) >= 0);
}

static int futex(int operation, uint32_t *word, uint32_t value,
		 const struct timespec *t)
{
	return (int)syscall(SYS_futex, word, operation, value, t, NULL,
			    FUTEX_BITSET_MATCH_ANY);
}

/* Waits until *word is no longer value. */
static void wait_change(uint32_t *word, uint32_t value)
{
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value)
		if (futex(FUTEX_WAIT, word, value, NULL) && errno != EAGAIN)
			require(errno == EINTR);
}

static struct sockaddr_un address(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	require(snprintf(a.sun_path, sizeof(a.sun_path), "%s", path(name)) <
		(int)sizeof(a.sun_path));
	return a;
}

/*
 * The calls. Each returns the value of its system call, with errno as that left it.
 */
static struct timespec whole(void) { return timespec_of(ms * NS_PER_MS); }

static struct timespec later(clockid_t clock)
{
	return timespec_of(now_ns(clock) + ms * NS_PER_MS);
}

static sigset_t usr2(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return set;
}

/* A byte that came through the pipe is taken out; what the call said stays. */
static int taken(int result)
{
	char byte;
	int error = errno;

	if (result > 0)
		require(read(pipe_fd, &byte, 1) == 1);
	errno = error;
	return result;
}

static int poll_for(int timeout)
{
	struct pollfd one = { .fd = pipe_fd, .events = POLLIN };

	return taken(poll(&one, 1, timeout));
}

static int ppoll_for(const struct timespec *t)
{
	struct pollfd one = { .fd = pipe_fd, .events = POLLIN };
	sigset_t mask = usr2();

	return taken(ppoll(&one, 1, t, &mask));
}

static int select_for(struct timeval *t)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(pipe_fd, &set);
	return taken(select(pipe_fd + 1, &set, NULL, NULL, t));
}

static int pselect_for(const struct timespec *t)
{
	sigset_t mask = usr2();
	fd_set set;

	FD_ZERO(&set);
	FD_SET(pipe_fd, &set);
	return taken(pselect(pipe_fd + 1, &set, NULL, NULL, t, &mask));
}

static int epoll_for(int timeout)
{
	struct epoll_event event;

	return taken(epoll_wait(epoll_fd, &event, 1, timeout));
}

static int epoll_pwait_for(int timeout)
{
	struct epoll_event event;
	sigset_t mask = usr2();

	return taken(epoll_pwait(epoll_fd, &event, 1, timeout, &mask));
}

static int epoll_pwait2_for(const struct timespec *t)
{
	struct epoll_event event;
	sigset_t mask = usr2();

	return taken((int)syscall(SYS_epoll_pwait2, epoll_fd, &event, 1, t,
				  &mask, 8));
}

static int sem_for(const struct timespec *t)
{
	struct sembuf down = { 0, -1, 0 };

	return semtimedop(shared->semaphore, &down, 1, t);
}

static int signal_for(const struct timespec *t)
{
	sigset_t set = usr2();

	return sigtimedwait(&set, NULL, t);
}

static int receive(int fd, const struct timeval *timeout)
{
	char byte;

	require(!setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeout,
			    sizeof(*timeout)));
	return (int)recv(fd, &byte, 1, 0);
}

static int accept_for(const struct timeval *timeout)
{
	int fd;

	require(!setsockopt(stream_fd, SOL_SOCKET, SO_RCVTIMEO, timeout,
			    sizeof(*timeout)));
	fd = accept(stream_fd, NULL, NULL);
	if (fd >= 0)
		close(fd);
	return fd;
}

static int mq_for(const struct timespec *t)
{
	char byte[8];

	return (int)mq_timedreceive(mq, byte, sizeof(byte), NULL, t);
}

static const struct timeval forever;

static struct timeval timeval_of(void)
{
	return (struct timeval){ .tv_usec = (suseconds_t)(ms * 1000) };
}

static int w_poll(void) { return poll_for(-1); }
static int w_ppoll(void) { return ppoll_for(NULL); }
static int w_select(void) { return select_for(NULL); }
static int w_pselect(void) { return pselect_for(NULL); }
static int w_epoll(void) { return epoll_for(-1); }
static int w_epoll_pwait(void) { return epoll_pwait_for(-1); }
static int w_epoll_pwait2(void) { return epoll_pwait2_for(NULL); }
static int w_semop(void) { return sem_for(NULL); }
static int w_sigwaitinfo(void) { return signal_for(NULL); }
static int w_recv(void) { return receive(datagram_fd, &forever); }
static int w_accept(void) { return accept_for(&forever); }
static int w_flock(void) { return flock(lock_fd, LOCK_EX); }

static int w_mq(void)
{
	char byte[8];

	return (int)mq_receive(mq, byte, sizeof(byte), NULL);
}

static int w_read(void)
{
	char byte;

	return (int)read(pipe_fd, &byte, 1);
}

static int w_futex(void)
{
	uint32_t value = __atomic_load_n(&shared->word, __ATOMIC_ACQUIRE);

	return futex(FUTEX_WAIT, &shared->word, value, NULL);
}

static int w_msgrcv(void)
{
	struct message message;

	return (int)msgrcv(shared->queue, &message, sizeof(message.text), 0, 0);
}

static int w_msgsnd(void)
{
	struct message message = { 1, "" };

	return msgsnd(shared->queue, &message, sizeof(message.text), 0);
}

static int w_setlkw(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(lock_fd, F_SETLKW, &lock);
}

static int w_write(void)
{
	static char buffer[2 * BIG];

	return (int)write(full_fd, buffer, sizeof(buffer));
}

static int t_poll(void) { return poll_for((int)ms); }
static int t_epoll(void) { return epoll_for((int)ms); }
static int t_epoll_pwait(void) { return epoll_pwait_for((int)ms); }
static int t_nanosleep(void) { struct timespec t = whole(); return nanosleep(&t, NULL); }
static int t_ppoll(void) { struct timespec t = whole(); return ppoll_for(&t); }
static int t_pselect(void) { struct timespec t = whole(); return pselect_for(&t); }
static int t_epoll_pwait2(void) { struct timespec t = whole(); return epoll_pwait2_for(&t); }
static int t_semtimedop(void) { struct timespec t = whole(); return sem_for(&t); }
static int t_sigtimedwait(void) { struct timespec t = whole(); return signal_for(&t); }
static int t_select(void) { struct timeval t = timeval_of(); return select_for(&t); }
static int t_recv(void) { struct timeval t = timeval_of(); return receive(datagram_fd, &t); }
static int t_accept(void) { struct timeval t = timeval_of(); return accept_for(&t); }
static int t_mq(void) { struct timespec t = later(CLOCK_REALTIME); return mq_for(&t); }

static int t_futex(void)
{
	struct timespec t = whole();

	return futex(FUTEX_WAIT, &shared->word, shared->word, &t);
}

static int t_futex_until(void)
{
	struct timespec t = later(CLOCK_MONOTONIC);

	return futex(FUTEX_WAIT_BITSET, &shared->word, shared->word, &t);
}

static int clock_sleep(clockid_t clock, int flags, struct timespec t)
{
	errno = clock_nanosleep(clock, flags, &t, NULL);
	return errno ? -1 : 0;
}

static int t_clock(void) { return clock_sleep(CLOCK_MONOTONIC, 0, whole()); }

static int t_clock_until(void)
{
	return clock_sleep(CLOCK_REALTIME, TIMER_ABSTIME, later(CLOCK_REALTIME));
}

static int t_timerfd(void)
{
	struct itimerspec timer = { .it_value = whole() };
	uint64_t expired;

	require(!timerfd_settime(timer_fd, 0, &timer, NULL));
	return (int)read(timer_fd, &expired, sizeof(expired));
}

/* Calls that the peer ends have a wake; the others end with an errno, or with success. */
static const struct one {
	const char *name;
	int (*call)(void);
	enum wake wake;
	int error;
} calls[] = {
	{ "poll", w_poll, PIPE, 0 },
	{ "ppoll", w_ppoll, PIPE, 0 },
	{ "select", w_select, PIPE, 0 },
	{ "pselect", w_pselect, PIPE, 0 },
	{ "epoll_wait", w_epoll, PIPE, 0 },
	{ "epoll_pwait", w_epoll_pwait, PIPE, 0 },
	{ "epoll_pwait2", w_epoll_pwait2, PIPE, 0 },
	{ "read-pipe", w_read, PIPE, 0 },
	{ "write-pipe", w_write, DRAIN, 0 },
	{ "recv", w_recv, DATAGRAM, 0 },
	{ "accept", w_accept, CONNECT, 0 },
	{ "futex", w_futex, FUTEX, 0 },
	{ "semop", w_semop, SEMAPHORE, 0 },
	{ "msgrcv", w_msgrcv, SEND, 0 },
	{ "msgsnd", w_msgsnd, RECEIVE, 0 },
	{ "sigwaitinfo", w_sigwaitinfo, SIGNAL, 0 },
	{ "mq_receive", w_mq, MQ, 0 },
	{ "setlkw", w_setlkw, LOCK, 0 },
	{ "flock", w_flock, FLOCK, 0 },
	{ "nanosleep", t_nanosleep, 0, 0 },
	{ "clock_nanosleep", t_clock, 0, 0 },
	{ "clock_nanosleep-until", t_clock_until, 0, 0 },
	{ "timerfd", t_timerfd, 0, 0 },
	{ "poll-timeout", t_poll, 0, 0 },
	{ "ppoll-timeout", t_ppoll, 0, 0 },
	{ "select-timeout", t_select, 0, 0 },
	{ "pselect-timeout", t_pselect, 0, 0 },
	{ "epoll_wait-timeout", t_epoll, 0, 0 },
	{ "epoll_pwait-timeout", t_epoll_pwait, 0, 0 },
	{ "epoll_pwait2-timeout", t_epoll_pwait2, 0, 0 },
	{ "futex-timeout", t_futex, 0, ETIMEDOUT },
	{ "futex-until", t_futex_until, 0, ETIMEDOUT },
	{ "semtimedop", t_semtimedop, 0, EAGAIN },
	{ "sigtimedwait", t_sigtimedwait, 0, EAGAIN },
	{ "recv-timeout", t_recv, 0, EAGAIN },
	{ "accept-timeout", t_accept, 0, EAGAIN },
	{ "mq_receive-timeout", t_mq, 0, ETIMEDOUT },
};

#endif /* GEIST_TEST_EINTR_H */
