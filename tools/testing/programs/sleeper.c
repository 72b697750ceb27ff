// SPDX-License-Identifier: GPL-2.0
/*
 * Sleeps in one restartable system call, given as a mode, and looks whether it
 * came back as it does when nothing happens to the program meanwhile: with the
 * right value and errno, the arguments that the kernel writes to as they must
 * be, the signal mask as before, and never too early.
 *
 *   sleeper [--ms N] [--stopped 1] --out FILE MODE [PATH]
 *
 * The result names mode and return only; OUT.elapsed has the nanoseconds that
 * the call took on CLOCK_MONOTONIC, for whoever knows how long the program was
 * gone. Modes in the second half of the table end by SIGUSR1 from outside (or,
 * setlkw and flock, when the lock on PATH is released).
 */
#include "common.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/syscall.h>

static uint64_t ms = 2000;
static uint64_t stopped;
static const char *path;
static volatile uint32_t word = 42;
static volatile sig_atomic_t handled;

static void on_usr1(int signal)
{
	(void)signal;
	handled++;
	word = 43;
}

static struct timespec whole(void)
{
	return timespec_of(ms * NS_PER_MS);
}

static struct timespec later(clockid_t clock)
{
	return timespec_of(now_ns(clock) + ms * NS_PER_MS);
}

/* Every mode returns the value of its call, with errno set as the call did. */
static int do_nanosleep(void)
{
	struct timespec t = whole(), rest = { 77, 78 };
	int result = nanosleep(&t, &rest);

	/* A stop makes the kernel write what is left, before it goes on with that. */
	if (!stopped && (rest.tv_sec != 77 || rest.tv_nsec != 78))
		fail("nanosleep wrote a remainder: %lld s %ld ns",
		     (long long)rest.tv_sec, rest.tv_nsec);
	return result;
}

static int clock_sleep(clockid_t clock)
{
	struct timespec t = whole();
	int error = clock_nanosleep(clock, 0, &t, NULL);

	errno = error;
	return error ? -1 : 0;
}

static int clock_sleep_until(clockid_t clock)
{
	struct timespec t = later(clock);
	int error = clock_nanosleep(clock, TIMER_ABSTIME, &t, NULL);

	errno = error;
	if (now_ns(clock) < (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec)
		fail("clock_nanosleep came back before its time");
	return error ? -1 : 0;
}

static int do_monotonic(void) { return clock_sleep(CLOCK_MONOTONIC); }
static int do_realtime(void) { return clock_sleep(CLOCK_REALTIME); }
static int do_boottime(void) { return clock_sleep(CLOCK_BOOTTIME); }
static int do_until(void) { return clock_sleep_until(CLOCK_MONOTONIC); }
static int do_until_realtime(void) { return clock_sleep_until(CLOCK_REALTIME); }

static int do_poll(void)
{
	struct pollfd none = { .fd = -1, .events = POLLIN, .revents = 0 };

	return poll(&none, 1, (int)ms);
}

static int do_ppoll(void)
{
	struct timespec t = whole();
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	return ppoll(NULL, 0, &t, &mask);
}

static int do_select(void)
{
	struct timeval t = { .tv_sec = (time_t)(ms / 1000),
			     .tv_usec = (suseconds_t)(ms % 1000 * 1000) };
	int result = select(0, NULL, NULL, NULL, &t);

	if (t.tv_sec || t.tv_usec)
		fail("select left %lld s %ld us", (long long)t.tv_sec,
		     (long)t.tv_usec);
	return result;
}

static int do_pselect(void)
{
	struct timespec t = whole();
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	return pselect(0, NULL, NULL, NULL, &t, &mask);
}

static int futex(int operation, uint32_t value, const struct timespec *t)
{
	return (int)syscall(SYS_futex, &word, operation, value, t, NULL,
			    FUTEX_BITSET_MATCH_ANY);
}

static int do_futex_timeout(void)
{
	struct timespec t = whole();

	return futex(FUTEX_WAIT_PRIVATE, 42, &t);
}

static int do_futex_shared_timeout(void)
{
	struct timespec t = whole();

	return futex(FUTEX_WAIT, 42, &t);
}

static int do_futex_until(void)
{
	struct timespec t = later(CLOCK_MONOTONIC);

	return futex(FUTEX_WAIT_BITSET_PRIVATE, 42, &t);
}

static int do_sigtimedwait(void)
{
	struct timespec t = whole();
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	require(!sigprocmask(SIG_BLOCK, &set, NULL));
	return sigtimedwait(&set, NULL, &t);
}

/* From here on: until SIGUSR1. */
static int do_pause(void) { return pause(); }

static int do_sigsuspend(void)
{
	sigset_t blocked, waiting;
	int result, error;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigaddset(&blocked, SIGHUP);
	require(!sigprocmask(SIG_BLOCK, &blocked, NULL));
	sigemptyset(&waiting);
	ready();
	result = sigsuspend(&waiting);
	error = errno;
	require(!sigprocmask(SIG_BLOCK, NULL, &waiting));
	if (!sigismember(&waiting, SIGUSR1) || !sigismember(&waiting, SIGHUP))
		fail("sigsuspend did not put the mask back");
	errno = error;
	return result;
}

static int do_sigwaitinfo(void)
{
	siginfo_t info;
	sigset_t set;
	int result;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	require(!sigprocmask(SIG_BLOCK, &set, NULL));
	ready();
	result = sigwaitinfo(&set, &info);
	if (result == SIGUSR1 && info.si_signo != SIGUSR1)
		fail("sigwaitinfo: signal %d", info.si_signo);
	return result;
}

static int do_poll_forever(void) { return poll(NULL, 0, -1); }

static int do_ppoll_mask(void)
{
	sigset_t blocked, waiting;
	int result, error;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	require(!sigprocmask(SIG_BLOCK, &blocked, NULL));
	sigemptyset(&waiting);
	ready();
	result = ppoll(NULL, 0, NULL, &waiting);
	error = errno;
	require(!sigprocmask(SIG_BLOCK, NULL, &waiting));
	if (!sigismember(&waiting, SIGUSR1))
		fail("ppoll did not put the mask back");
	errno = error;
	return result;
}

/* The handler changes the word: the call begins anew (SA_RESTART), sees that. */
static int do_futex_forever(void)
{
	return futex(FUTEX_WAIT_PRIVATE, 42, NULL);
}

static int do_setlkw(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(path, O_RDWR);

	require(fd >= 0);
	return fcntl(fd, F_SETLKW, &lock);
}

static int do_flock(void)
{
	int fd = open(path, O_RDWR);

	require(fd >= 0);
	return flock(fd, LOCK_EX);
}

/* Standard input is a terminal; the line comes from its other side. */
static int do_tty(void)
{
	char line[16] = "";
	int result = (int)read(0, line, sizeof(line) - 1);

	if (result > 0 && strcmp(line, "hello\n"))
		fail("the terminal gave \"%s\"", line);
	return result;
}

enum { TIMED = 1, READY_INSIDE = 2 };

static const struct mode {
	const char *name;
	int (*sleep)(void);
	int result;
	int error;
	int flags;
} modes[] = {
	{ "nanosleep", do_nanosleep, 0, 0, TIMED },
	{ "clock_nanosleep", do_monotonic, 0, 0, TIMED },
	{ "clock_nanosleep-realtime", do_realtime, 0, 0, TIMED },
	{ "clock_nanosleep-boottime", do_boottime, 0, 0, TIMED },
	{ "clock_nanosleep-until", do_until, 0, 0, TIMED },
	{ "clock_nanosleep-until-realtime", do_until_realtime, 0, 0, TIMED },
	{ "poll", do_poll, 0, 0, TIMED },
	{ "ppoll", do_ppoll, 0, 0, TIMED },
	{ "select", do_select, 0, 0, TIMED },
	{ "pselect", do_pselect, 0, 0, TIMED },
	{ "futex", do_futex_timeout, -1, ETIMEDOUT, TIMED },
	{ "futex-shared", do_futex_shared_timeout, -1, ETIMEDOUT, TIMED },
	{ "futex-until", do_futex_until, -1, ETIMEDOUT, TIMED },
	{ "sigtimedwait", do_sigtimedwait, -1, EAGAIN, TIMED },
	{ "pause", do_pause, -1, EINTR, 0 },
	{ "sigsuspend", do_sigsuspend, -1, EINTR, READY_INSIDE },
	{ "sigwaitinfo", do_sigwaitinfo, SIGUSR1, 0, READY_INSIDE },
	{ "poll-forever", do_poll_forever, -1, EINTR, 0 },
	{ "ppoll-mask", do_ppoll_mask, -1, EINTR, READY_INSIDE },
	{ "futex-forever", do_futex_forever, -1, EAGAIN, 0 },
	{ "setlkw", do_setlkw, 0, 0, 0 },
	{ "flock", do_flock, 0, 0, 0 },
	{ "tty", do_tty, 6, 0, 0 },
};

static const struct mode *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (!strcmp(modes[i].name, name))
			return &modes[i];
	fprintf(stderr, "sleeper: modes are");
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		fprintf(stderr, " %s", modes[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

int main(int argc, char **argv)
{
	const struct number_option options[] = { { "ms", &ms },
						 { "stopped", &stopped } };
	int first = parse_options(argc, argv, options, ARRAY_SIZE(options));
	const struct mode *mode = find(first < argc ? argv[first] : "");
	struct sigaction action = { .sa_handler = on_usr1,
				    .sa_flags = SA_RESTART };
	uint64_t start, elapsed;
	int result, error;

	if (first + 1 < argc)
		path = argv[first + 1];
	require(!sigaction(SIGUSR1, &action, NULL));
	if (!(mode->flags & READY_INSIDE))
		ready();
	errno = 0;
	start = now_ns(CLOCK_MONOTONIC);
	result = mode->sleep();
	error = errno;
	elapsed = now_ns(CLOCK_MONOTONIC) - start;
	if (result != mode->result || (result < 0 && error != mode->error))
		fail("%s returned %d (%s), should be %d (%s)", mode->name,
		     result, result < 0 ? strerror(error) : "-", mode->result,
		     mode->result < 0 ? strerror(mode->error) : "-");
	put_beside("elapsed", "%llu\n", (unsigned long long)elapsed);
	if (mode->flags & TIMED && elapsed < ms * NS_PER_MS)
		fail("%s returned after %llu ns of %llu ms", mode->name,
		     (unsigned long long)elapsed, (unsigned long long)ms);
	succeed("sleeper %s returned %d, errno %d, signals %d", mode->name,
		result, result < 0 ? error : 0, (int)handled);
}
