// SPDX-License-Identifier: GPL-2.0
/*
 * Everything about signals that a checkpoint must keep.
 *
 * Two phases, each announced: OUT.ready when signals are blocked and waiting
 * in both queues, OUT.ticking when the interval timers run.
 *
 * waiting: 8 queued real-time signals with values for the process, 8 for the
 *	thread, two ordinary ones, a child-like siginfo. The program spins until
 *	the file GO appears, then unblocks: every signal must arrive once, in
 *	order, with its value and code, on the alternate stack.
 * ticking: the three interval timers run with different periods while handlers
 *	nest on the alternate stack and count. A lost timer is one that does not
 *	tick any more; doubled ticks are more than the clock allows.
 * Handlers, their flags and masks, and the blocked set are compared to the end.
 */
#include "common.h"

#include <sys/syscall.h>
#include <sys/time.h>

enum { QUEUED = 8, STACK = 64 * 1024 };

static char alternate[STACK] __attribute__((aligned(16)));
static volatile sig_atomic_t next_process, next_thread, usr1, usr2, depth;
static volatile sig_atomic_t deepest;
static volatile uint64_t ticks[3];
static const char *wrong;

static bool on_alternate(void)
{
	char here;

	return &here >= alternate && &here < alternate + STACK;
}

static void on_queued(int signal, siginfo_t *info, void *context)
{
	bool thread = signal == SIGRTMIN + 2;
	volatile sig_atomic_t *next = thread ? &next_thread : &next_process;
	int base = thread ? 2000 : 1000;

	(void)context;
	if (!on_alternate())
		wrong = "a handler did not run on the alternate stack";
	if (info->si_code != SI_QUEUE)
		wrong = "si_code of a queued signal";
	if (info->si_value.sival_int != base + *next)
		wrong = "a queued signal was lost, doubled or out of order";
	if (info->si_pid != getpid() || info->si_uid != getuid())
		wrong = "sender of a queued signal";
	(*next)++;
}

static void on_usr(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (signal == SIGUSR1) {
		usr1++;
		if (info->si_code != SI_USER)
			wrong = "si_code of SIGUSR1";
	} else {
		usr2++;
		if (info->si_code != SI_TKILL)
			wrong = "si_code of SIGUSR2";
	}
}

/* Nests: the handler of the slow timer raises a signal inside itself. */
static void on_nested(int signal)
{
	(void)signal;
	depth++;
	if (depth > deepest)
		deepest = depth;
	if (!on_alternate())
		wrong = "a nested handler left the alternate stack";
	depth--;
}

static void on_tick(int signal)
{
	depth++;
	if (depth > deepest)
		deepest = depth;
	if (!on_alternate())
		wrong = "a timer's handler did not run on the alternate stack";
	if (signal == SIGALRM) {
		ticks[0]++;
		raise(SIGRTMIN + 5);
	} else {
		ticks[signal == SIGVTALRM ? 1 : 2]++;
	}
	depth--;
}

static void handle(int signal, void *handler, int flags)
{
	struct sigaction action = { .sa_flags = flags | SA_ONSTACK };

	if (flags & SA_SIGINFO)
		action.sa_sigaction = handler;
	else
		action.sa_handler = handler;
	sigaddset(&action.sa_mask, SIGHUP);
	require(!sigaction(signal, &action, NULL));
}

static void send_queued(bool thread, int value)
{
	siginfo_t info = { .si_signo = SIGRTMIN + (thread ? 2 : 1),
			   .si_code = SI_QUEUE };

	info.si_value.sival_int = value;
	info.si_pid = getpid();
	info.si_uid = getuid();
	if (thread)
		require(!syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(),
				 info.si_signo, &info));
	else
		require(!syscall(SYS_rt_sigqueueinfo, getpid(), info.si_signo,
				 &info));
}

static struct sigaction actions_before[65], actions_now[65];

/* Neither the C library's own nor one that nobody can handle. */
static bool usable(int signal)
{
	return signal != 32 && signal != 33 && signal != SIGKILL &&
	       signal != SIGSTOP;
}

static void read_actions(struct sigaction *actions)
{
	memset(actions, 0, 65 * sizeof(*actions));
	for (int i = 1; i < 65; i++)
		if (usable(i))
			require(!sigaction(i, NULL, &actions[i]));
}

static bool same_action(const struct sigaction *a, const struct sigaction *b)
{
	return a->sa_handler == b->sa_handler && a->sa_flags == b->sa_flags &&
	       !memcmp(&a->sa_mask, &b->sa_mask, 8);
}

static void check_unchanged(const sigset_t *blocked)
{
	sigset_t mask;
	stack_t stack;

	read_actions(actions_now);
	for (int i = 1; i < 65; i++)
		if (!same_action(&actions_before[i], &actions_now[i]))
			fail("the handler of signal %d changed", i);
	require(!sigprocmask(SIG_BLOCK, NULL, &mask));
	for (int i = 1; i < 65; i++)
		if (usable(i) && sigismember(blocked, i) != sigismember(&mask, i))
			fail("whether signal %d is blocked changed", i);
	require(!sigaltstack(NULL, &stack));
	if (stack.ss_sp != alternate || stack.ss_size != STACK ||
	    stack.ss_flags)
		fail("the alternate stack is at %p, %zu bytes, flags %d",
		     stack.ss_sp, stack.ss_size, stack.ss_flags);
	if (wrong)
		fail("%s", wrong);
}

static void start_timer(int which, uint64_t ms)
{
	struct itimerval timer = {
		.it_interval = { .tv_usec = (suseconds_t)ms * 1000 },
		.it_value = { .tv_usec = (suseconds_t)ms * 1000 },
	};

	require(!setitimer(which, &timer, NULL));
}

/*
 * Whether a timer runs, or its signal waits: a timer may stand still from its
 * expiry until the signal is taken. Signals are blocked.
 */
static bool runs(int which, struct itimerval *timer)
{
	static const int signals[] = { SIGALRM, SIGVTALRM, SIGPROF };
	sigset_t waiting;

	require(!getitimer(which, timer));
	require(!sigpending(&waiting));
	return timer->it_value.tv_sec || timer->it_value.tv_usec ||
	       sigismember(&waiting, signals[which]);
}

static void check_timer(int which, uint64_t ms)
{
	struct itimerval timer;

	/* In its last microsecond it shows zero, and has not sent its signal yet. */
	if (!runs(which, &timer)) {
		sleep_ms(20);
		if (!runs(which, &timer))
			fail("timer %d does not run", which);
	}
	if (timer.it_interval.tv_sec ||
	    timer.it_interval.tv_usec < (suseconds_t)ms * 1000 ||
	    timer.it_interval.tv_usec > (suseconds_t)ms * 1000 + 10000)
		fail("interval of timer %d is %ld us", which,
		     (long)timer.it_interval.tv_usec);
}

/*
 * --expired 1: only this. The real timer has expired, its signal is blocked and
 * waits, so that the timer stands still, when the program is ready. When the
 * file GO is there the signal is let in, and the timer must tick on.
 */
static void wait_expired(const char *go)
{
	struct itimerval timer;
	sigset_t alarm_only;

	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	require(!sigprocmask(SIG_BLOCK, &alarm_only, NULL));
	start_timer(ITIMER_REAL, 30);
	do {
		require(!getitimer(ITIMER_REAL, &timer));
	} while (timer.it_value.tv_usec || !runs(ITIMER_REAL, &timer));
	ready();
	while (access(go, F_OK))
		sleep_ms(2);
	require(!sigprocmask(SIG_UNBLOCK, &alarm_only, NULL));
	while (ticks[0] < 5)
		sleep_ms(2);
	succeed("the expired timer ticked on");
}

int main(int argc, char **argv)
{
	uint64_t wanted = 40, only_expired = 0, work = 0, start_cpu, start;
	const struct number_option options[] = { { "ticks", &wanted },
						 { "expired", &only_expired } };
	int first = parse_options(argc, argv, options, ARRAY_SIZE(options));
	const stack_t stack = { .ss_sp = alternate, .ss_size = STACK };
	const char *go = first < argc ? argv[first] : "";
	sigset_t blocked, none, full;

	require(!sigaltstack(&stack, NULL));
	handle(SIGRTMIN + 1, on_queued, SA_SIGINFO | SA_RESTART);
	handle(SIGRTMIN + 2, on_queued, SA_SIGINFO);
	handle(SIGUSR1, on_usr, SA_SIGINFO | SA_NODEFER);
	handle(SIGUSR2, on_usr, SA_SIGINFO | SA_RESTART);
	handle(SIGRTMIN + 5, on_nested, 0);
	handle(SIGALRM, on_tick, SA_RESTART);
	handle(SIGVTALRM, on_tick, SA_RESTART);
	handle(SIGPROF, on_tick, SA_RESTART);
	require(signal(SIGTTOU, SIG_IGN) != SIG_ERR);
	read_actions(actions_before);
	if (only_expired)
		wait_expired(go);

	sigemptyset(&none);
	sigfillset(&full);
	sigemptyset(&blocked);
	for (int i = 1; i <= 2; i++)
		sigaddset(&blocked, SIGRTMIN + i);
	sigaddset(&blocked, SIGUSR1);
	sigaddset(&blocked, SIGUSR2);
	sigaddset(&blocked, SIGTERM);
	require(!sigprocmask(SIG_SETMASK, &blocked, NULL));
	for (int i = 0; i < QUEUED; i++) {
		send_queued(false, 1000 + i);
		send_queued(true, 2000 + i);
	}
	require(!kill(getpid(), SIGUSR1));
	require(!syscall(SYS_tgkill, getpid(), gettid(), SIGUSR2));
	ready();
	while (access(go, F_OK)) {
		check_unchanged(&blocked);
		if (next_process || next_thread || usr1 || usr2)
			fail("a blocked signal was delivered");
		sleep_ms(2);
	}
	require(!sigprocmask(SIG_SETMASK, &none, NULL));
	if (next_process != QUEUED || next_thread != QUEUED || usr1 != 1 ||
	    usr2 != 1)
		fail("of %d arrived: %d process, %d thread, %d USR1, %d USR2",
		     QUEUED, (int)next_process, (int)next_thread,
		     (int)usr1, (int)usr2);
	check_unchanged(&none);

	start = now_ns(CLOCK_MONOTONIC);
	start_cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	start_timer(ITIMER_REAL, 30);
	start_timer(ITIMER_VIRTUAL, 40);
	start_timer(ITIMER_PROF, 50);
	put_beside("ticking", "%d\n", (int)getpid());
	while (ticks[0] < wanted || ticks[1] < wanted / 4 ||
	       ticks[2] < wanted / 4 ||
	       (common_hold && access(common_hold, F_OK))) {
		for (int i = 0; i < 100000; i++)
			work = mix(work);
		if (!work)	/* never: keeps the work */
			fail("mix() found its zero");
		require(!sigprocmask(SIG_BLOCK, &full, NULL));
		check_unchanged(&full);
		check_timer(ITIMER_REAL, 30);
		check_timer(ITIMER_VIRTUAL, 40);
		check_timer(ITIMER_PROF, 50);
		require(!sigprocmask(SIG_SETMASK, &none, NULL));
	}
	require(!sigprocmask(SIG_BLOCK, &full, NULL));
	/* One tick more than fits can wait from before the clock was read. */
	if (ticks[0] > (now_ns(CLOCK_MONOTONIC) - start) / (30 * NS_PER_MS) + 1)
		fail("%llu ticks of the real timer: too many",
		     (unsigned long long)ticks[0]);
	put_beside("cpu", "%llu\n",
		   (unsigned long long)(now_ns(CLOCK_PROCESS_CPUTIME_ID) -
					start_cpu));
	if (deepest < 2)
		fail("handlers did not nest");
	succeed("signals: %d queued for the process, %d for the thread, all timers ticked",
		(int)next_process, (int)next_thread);
}
