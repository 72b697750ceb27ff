// SPDX-License-Identifier: GPL-2.0
/*
 * Sleeps in every system call that a signal can interrupt, again and again, and
 * counts what must not be: EINTR, and writes that come back short. No handler
 * is ever run in it, so whatever it counts, somebody else has caused.
 *
 *   eintr --out FILE --peer 1 DIRECTORY
 *   eintr --out FILE [--rounds N] [--ms N] DIRECTORY
 *
 * Each call is made with a timeout that ends it, or is woken by the peer, the
 * same program with --peer 1, which has the same DIRECTORY and must run before.
 * FILE.calls then has a line for each: name, calls, EINTR, short writes, ends
 * before the timeout, and the median of what the calls took, microseconds.
 */
#include "eintr.h"

#define MOST_ROUNDS 100

static uint64_t rounds = 6;
static uint64_t peer;

/*
 * The peer.
 */
static void set_lock(short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

	require(!fcntl(lock_fd, F_SETLK, &lock));
}

static void prepare(enum wake what)
{
	if (what == LOCK)
		set_lock(F_WRLCK);
	if (what == FLOCK)
		require(!flock(lock_fd, LOCK_EX));
}

static void send_to(const char *name, int type)
{
	struct sockaddr_un to = address(name);
	int fd = socket(AF_UNIX, type, 0);

	require(fd >= 0);
	require(!connect(fd, (struct sockaddr *)&to, sizeof(to)));
	if (type == SOCK_DGRAM)
		require(send(fd, "x", 1, 0) == 1);
	close(fd);
}

/* Reads a full pipe in small parts, so that its writer sleeps several times. */
static void drain(void)
{
	static char buffer[BIG];

	for (size_t got = 0; got < 2 * BIG;) {
		ssize_t part = read(full_fd, buffer, BIG / 2);

		require(part > 0 || errno == EAGAIN);
		if (part > 0)
			got += (size_t)part;
		sleep_ms(10);
	}
}

static void do_wake(enum wake what)
{
	struct sembuf up = { 0, 1, 0 };
	struct message message = { 1, "" };

	switch (what) {
	case PIPE:
		require(write(pipe_fd, "x", 1) == 1);
		break;
	case DATAGRAM:
		send_to("datagram", SOCK_DGRAM);
		break;
	case CONNECT:
		send_to("stream", SOCK_STREAM);
		break;
	case FUTEX:
		__atomic_add_fetch(&shared->word, 1, __ATOMIC_RELEASE);
		futex_wake(&shared->word);
		break;
	case SEMAPHORE:
		require(!semop(shared->semaphore, &up, 1));
		break;
	case SEND:
		require(!msgsnd(shared->queue, &message, sizeof(message.text), 0));
		break;
	case RECEIVE:
		require(msgrcv(shared->queue, &message, sizeof(message.text), 0,
			       0) >= 0);
		break;
	case DRAIN:
		drain();
		break;
	case LOCK:
		set_lock(F_UNLCK);
		break;
	case FLOCK:
		require(!flock(lock_fd, LOCK_UN));
		break;
	case SIGNAL:
		require(!kill(shared->pid, SIGUSR2));
		break;
	case MQ:
		require(!mq_send(mq, "x", 1, 0));
		break;
	}
}

static void serve(void)
{
	uint32_t done = 0;

	pipe_fd = open_in("pipe", O_RDWR);
	full_fd = open_in("full", O_RDWR | O_NONBLOCK);
	lock_fd = open_in("lock", O_RDWR | O_CREAT);
	ready();
	for (;;) {
		wait_change(&shared->asked, done);
		if (!done)	/* the program has made it by now */
			mq = mq_open(strrchr(directory, '/'), O_RDWR);
		done = shared->asked;
		prepare(shared->what);
		__atomic_store_n(&shared->prepared, done, __ATOMIC_RELEASE);
		futex_wake(&shared->prepared);
		sleep_ms(ms / 2);
		do_wake(shared->what);
	}
}

static struct count {
	unsigned int interrupted, cut_short, early;
	uint64_t took_us[MOST_ROUNDS];
} counts[ARRAY_SIZE(calls)];

/* Asks the peer to wake this program a while after it is asleep. */
static void ask(enum wake what)
{
	uint32_t number = shared->asked + 1;

	shared->what = what;
	__atomic_store_n(&shared->asked, number, __ATOMIC_RELEASE);
	futex_wake(&shared->asked);
	wait_change(&shared->prepared, number - 1);
}

/* Makes the next write to the pipe, or the next message for the queue, wait. */
static void fill(enum wake wake)
{
	static char buffer[PAGE];
	struct message message = { 1, "" };

	if (wake == DRAIN) {
		require(!fcntl(full_fd, F_SETFL, O_NONBLOCK));
		while (write(full_fd, buffer, sizeof(buffer)) > 0)
			;
		require(errno == EAGAIN && !fcntl(full_fd, F_SETFL, 0));
	} else if (wake == RECEIVE) {
		while (!msgsnd(shared->queue, &message, sizeof(message.text),
			       IPC_NOWAIT))
			;
		require(errno == EAGAIN);
	}
}

/* Brings things back to where they were before the call. */
static void undo(enum wake wake)
{
	struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
	struct message message;
	static char buffer[BIG];

	if (wake == LOCK)
		require(!fcntl(lock_fd, F_SETLK, &lock));
	if (wake == FLOCK)
		require(!flock(lock_fd, LOCK_UN));
	if (wake == RECEIVE)
		while (msgrcv(shared->queue, &message, sizeof(message.text), 0,
			      IPC_NOWAIT) >= 0)
			;
	if (wake == DRAIN) {
		require(!fcntl(full_fd, F_SETFL, O_NONBLOCK));
		while (read(full_fd, buffer, sizeof(buffer)) > 0)
			;
	}
}

/* By how much a timeout that counts ticks may be ahead of the clock. */
#define TICKS_LATE_MS	20

static void make(const struct one *one, struct count *count, uint64_t round)
{
	uint64_t start, elapsed;
	int result;

	fill(one->wake);
	if (one->wake)
		ask(one->wake);
	start = now_ns(CLOCK_MONOTONIC);
	while ((result = one->call()) < 0 && errno == EINTR)
		count->interrupted++;
	elapsed = now_ns(CLOCK_MONOTONIC) - start;
	if (one->error ? result >= 0 || errno != one->error :
	    result < 0 && !(one->wake == FUTEX && errno == EAGAIN))
		fail("%s returned %d (%s)", one->name, result, strerror(errno));
	if (one->wake == DRAIN && (size_t)result != 2 * BIG)
		count->cut_short++;
	/* Timeouts of sockets count ticks, which a busy machine may deliver late, then at once. */
	if (!one->wake && elapsed + TICKS_LATE_MS * NS_PER_MS < ms * NS_PER_MS)
		count->early++;
	count->took_us[round] = elapsed / 1000;
	undo(one->wake);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void set_up(void)
{
	struct mq_attr attributes = { .mq_maxmsg = 4, .mq_msgsize = 8 };
	struct epoll_event event = { .events = EPOLLIN };
	struct sockaddr_un name = address("datagram");
	sigset_t set = usr2();

	require(!sigprocmask(SIG_BLOCK, &set, NULL));
	pipe_fd = open_in("pipe", O_RDWR);
	full_fd = open_in("full", O_RDWR);
	lock_fd = open_in("lock", O_RDWR);
	datagram_fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	require(!bind(datagram_fd, (struct sockaddr *)&name, sizeof(name)));
	name = address("stream");
	stream_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	require(!bind(stream_fd, (struct sockaddr *)&name, sizeof(name)));
	require(!listen(stream_fd, 4));
	epoll_fd = epoll_create1(0);
	require(!epoll_ctl(epoll_fd, EPOLL_CTL_ADD, pipe_fd, &event));
	timer_fd = timerfd_create(CLOCK_MONOTONIC, 0);
	require(timer_fd >= 0);
	mq = mq_open(strrchr(directory, '/'), O_RDWR | O_CREAT, 0600, &attributes);
	require(mq != (mqd_t)-1);
	shared->pid = getpid();
	shared->semaphore = semget(IPC_PRIVATE, 1, 0600);
	shared->queue = msgget(IPC_PRIVATE, 0600);
	require(shared->semaphore >= 0 && shared->queue >= 0);
}

/* What outlives its makers. */
static void clean_up(void)
{
	require(!semctl(shared->semaphore, 0, IPC_RMID));
	require(!msgctl(shared->queue, IPC_RMID, NULL));
	require(!mq_unlink(strrchr(directory, '/')));
}

int main(int argc, char **argv)
{
	const struct number_option options[] = { { "rounds", &rounds },
						 { "ms", &ms },
						 { "peer", &peer } };
	int first = parse_options(argc, argv, options, ARRAY_SIZE(options));
	unsigned int interrupted = 0, cut_short = 0, early = 0;
	static char text[4000];
	size_t length = 0;
	int fd;

	if (first >= argc || *argv[first] != '/' || rounds > MOST_ROUNDS) {
		fprintf(stderr, "eintr: which directory? from / on\n");
		return 2;
	}
	directory = argv[first];
	if (peer) {
		require(!mkfifo(path("pipe"), 0600));
		require(!mkfifo(path("full"), 0600));
	}
	fd = open_in("page", O_RDWR | O_CREAT);
	require(!ftruncate(fd, PAGE));
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	require(shared != MAP_FAILED && !close(fd));
	if (peer)
		serve();
	set_up();
	ready();
	for (uint64_t round = 0; round < rounds; round++) {
		hold(round, rounds);
		for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
			make(&calls[i], &counts[i], round);
	}
	clean_up();
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		struct count *c = &counts[i];

		qsort(c->took_us, rounds, sizeof(c->took_us[0]), compare);
		length += (size_t)snprintf(text + length, sizeof(text) - length,
					   "%s %llu %u %u %u %llu\n", calls[i].name,
					   (unsigned long long)rounds, c->interrupted,
					   c->cut_short, c->early,
					   (unsigned long long)c->took_us[rounds / 2]);
		interrupted += c->interrupted;
		cut_short += c->cut_short;
		early += c->early;
	}
	put_beside("calls", "%s", text);
	succeed("eintr: %u interrupted, %u short, %u early", interrupted,
		cut_short, early);
}
