// SPDX-License-Identifier: GPL-2.0
/*
 * Open files and the other things that a process has from the system around
 * it: descriptors (shared offsets, flags, holes in the numbers), locks,
 * working directory, umask, limits, nice, scheduling, name, personality.
 *
 *   files [--rounds N] [--tick-ms N] --out FILE DIRECTORY
 *
 * Every round all of it is compared with what was set up, and the files are
 * used: read on, written on, appended to. At the end the content of the files
 * is checked from their beginning. OUT.ready stands after the set-up.
 */
#include "common.h"

#include <sched.h>
#include <sys/file.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { INPUT_WORDS = 65536, FD_SHARED_DUP = 77, FD_INPUT_DUP = 40 };
enum { PIPE_BYTES = 16384 };

static const char *directory;
static int in, out, out_dup, append, both, dir, devices[5], locked, private_fd,
	probe, path_only, own_pipe[2], closed_pipe[2];
static const char *const device_names[] = { "/dev/null", "/dev/zero",
					    "/dev/full", "/dev/urandom",
					    "/dev/random" };
static struct rlimit limits[RLIM_NLIMITS];
static char cwd[400];
static struct stat dir_stat;

static int open_in(const char *name, int flags)
{
	int fd = openat(dir, name, flags, 0640);

	if (fd < 0)
		fail("%s: %s", name, strerror(errno));
	return fd;
}

static uint64_t word(int file, uint64_t i)
{
	return mix(((uint64_t)file << 32) + i);
}

static void set_up(void)
{
	struct flock write_lock = { .l_type = F_WRLCK, .l_start = 10,
				    .l_len = 20 };
	struct flock read_lock = { .l_type = F_RDLCK, .l_start = 100 };
	struct flock ofd_lock = { .l_type = F_WRLCK, .l_start = 50, .l_len = 5 };
	struct rlimit files_limit = { 200, 300 };
	struct rlimit core_limit = { 1 << 20, 2 << 20 };
	struct sched_param no_priority = { 0 };
	cpu_set_t cpu;
	int fd;

	dir = open(directory, O_RDONLY | O_DIRECTORY);
	require(dir >= 0 && !fstat(dir, &dir_stat));
	fd = open_in("input", O_WRONLY | O_CREAT | O_TRUNC);
	for (uint64_t i = 0; i < INPUT_WORDS; i++) {
		uint64_t value = word(1, i);

		require(write(fd, &value, sizeof(value)) == sizeof(value));
	}
	require(!close(fd));
	in = open_in("input", O_RDONLY);
	path_only = open_in("input", O_PATH);
	out = open_in("output", O_RDWR | O_CREAT | O_TRUNC);
	append = open_in("append", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND);
	both = open_in("both", O_RDWR | O_CREAT | O_TRUNC | O_NOATIME);
	/* One open file under two numbers, with a hole between them. */
	out_dup = dup2(out, FD_SHARED_DUP);
	require(out_dup == FD_SHARED_DUP);
	require(fcntl(in, F_DUPFD_CLOEXEC, FD_INPUT_DUP) == FD_INPUT_DUP);
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
		devices[i] = open(device_names[i], O_RDWR | O_NONBLOCK);
		require(devices[i] >= 0);
	}
	require(!mkdirat(dir, "cwd", 0755) || errno == EEXIST);
	require(!fchdir(dir) && !chdir("cwd"));
	require(getcwd(cwd, sizeof(cwd)));
	umask(027);
	/* As xz and others have one, to be woken by a signal handler. */
	require(!pipe2(own_pipe, O_NONBLOCK | O_CLOEXEC));
	require(fcntl(own_pipe[0], F_SETPIPE_SZ, PIPE_BYTES) == PIPE_BYTES);
	require(!pipe(closed_pipe) && !close(closed_pipe[1]));

	/* Three kinds of lock, on one file. */
	locked = open_in("locked", O_RDWR | O_CREAT);
	private_fd = open_in("locked", O_RDWR);
	probe = open_in("locked", O_RDWR);
	require(!fcntl(locked, F_SETLK, &write_lock));
	require(!fcntl(locked, F_SETLK, &read_lock));
	require(!fcntl(private_fd, F_OFD_SETLK, &ofd_lock));
	require(!flock(locked, LOCK_EX));

	require(!setrlimit(RLIMIT_NOFILE, &files_limit));
	require(!setrlimit(RLIMIT_CORE, &core_limit));
	for (int i = 0; i < RLIM_NLIMITS; i++)
		require(!getrlimit(i, &limits[i]));
	require(!setpriority(PRIO_PROCESS, 0, 7));
	require(!sched_setscheduler(0, SCHED_BATCH, &no_priority));
	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	require(!sched_setaffinity(0, sizeof(cpu), &cpu));
	require(!prctl(PR_SET_NAME, "geist files x"));
	require(!prctl(PR_SET_TIMERSLACK, 123456));
	require(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	require(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	require(personality(ADDR_NO_RANDOMIZE) >= 0);
}

/*
 * Asked as another open file would be. The descriptor stays open: closing any
 * descriptor of the file drops the locks that the process has on it.
 */
static bool taken(int start, int length)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = start,
			      .l_len = length };

	require(!fcntl(probe, F_OFD_GETLK, &lock));
	return lock.l_type != F_UNLCK;
}

static void check(uint64_t round)
{
	struct stat now;
	char here[400], name[17] = "";
	struct rlimit limit;
	cpu_set_t cpus;
	int subreaper = 0;

	require(getcwd(here, sizeof(here)) && !strcmp(here, cwd));
	require(umask(027) == 027);
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		require(!getrlimit(i, &limit));
		if (limit.rlim_cur != limits[i].rlim_cur ||
		    limit.rlim_max != limits[i].rlim_max)
			fail("round %llu: limit %d changed",
			     (unsigned long long)round, i);
	}
	errno = 0;
	require(getpriority(PRIO_PROCESS, 0) == 7 && !errno);
	require(sched_getscheduler(0) == SCHED_BATCH);
	require(!sched_getaffinity(0, sizeof(cpus), &cpus));
	require(CPU_COUNT(&cpus) == 1 && CPU_ISSET(0, &cpus));
	require(!prctl(PR_GET_NAME, name) && !strcmp(name, "geist files x"));
	require(prctl(PR_GET_TIMERSLACK) == 123456);
	require(!prctl(PR_GET_CHILD_SUBREAPER, &subreaper) && subreaper == 1);
	require(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	require(personality(0xffffffff) == ADDR_NO_RANDOMIZE);

	require(fcntl(in, F_GETFD) == 0);
	require(fcntl(FD_INPUT_DUP, F_GETFD) == FD_CLOEXEC);
	require((fcntl(append, F_GETFL) & (O_ACCMODE | O_APPEND)) ==
		(O_WRONLY | O_APPEND));
	require((fcntl(both, F_GETFL) & (O_ACCMODE | O_NOATIME)) ==
		(O_RDWR | O_NOATIME));
	require((fcntl(in, F_GETFL) & O_ACCMODE) == O_RDONLY);
	require(fcntl(path_only, F_GETFL) & O_PATH);
	require(read(path_only, name, 1) < 0 && errno == EBADF);
	require(!fstat(dir, &now) && now.st_ino == dir_stat.st_ino &&
		now.st_dev == dir_stat.st_dev);
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
		struct stat wanted;

		require(!stat(device_names[i], &wanted));
		require(!fstat(devices[i], &now) && S_ISCHR(now.st_mode) &&
			now.st_rdev == wanted.st_rdev);
		require(fcntl(devices[i], F_GETFL) & O_NONBLOCK);
	}
	require(fcntl(own_pipe[0], F_GETFL) == (O_RDONLY | O_NONBLOCK));
	require(fcntl(own_pipe[1], F_GETFD) == FD_CLOEXEC);
	require(fcntl(own_pipe[1], F_GETPIPE_SZ) == PIPE_BYTES);
	require(read(closed_pipe[0], name, 1) == 0);
	for (int fd = 41; fd < FD_SHARED_DUP; fd++)
		require(fcntl(fd, F_GETFD) < 0 && errno == EBADF);
	errno = 0;
	require(taken(50, 5));	/* by the OFD lock */
	require(taken(10, 20));	/* by the process's */
	require(taken(100000, 1));	/* to the end of the file */
	require(!taken(0, 10));
	require(!taken(55, 45));
	require(flock(probe, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK);
}

/* Uses every file: the offsets must be where they were left. */
static void use(uint64_t round)
{
	uint64_t value, wanted = word(1, 2 * round % INPUT_WORDS);
	char text[32];
	int length;

	require(read(in, &value, sizeof(value)) == sizeof(value));
	require(value == wanted);
	/* The duplicate reads what comes next: the offset is one. */
	wanted = word(1, (2 * round + 1) % INPUT_WORDS);
	require(read(FD_INPUT_DUP, &value, sizeof(value)) == sizeof(value));
	require(value == wanted);

	value = word(2, 2 * round);
	require(write(out, &value, sizeof(value)) == sizeof(value));
	value = word(2, 2 * round + 1);
	require(write(out_dup, &value, sizeof(value)) == sizeof(value));

	length = snprintf(text, sizeof(text), "line %llu\n",
			  (unsigned long long)round);
	require(write(append, text, (size_t)length) == length);

	value = word(3, round);
	require(pwrite(both, &value, 8, (off_t)round * 8) == 8);
	require(pread(both, &value, 8, (off_t)(round / 2) * 8) == 8);
	require(value == word(3, round / 2));

	require(read(own_pipe[0], &value, 8) < 0 && errno == EAGAIN);

	require(write(devices[0], text, 4) == 4);
	require(read(devices[1], &value, 8) == 8 && value == 0);
	require(write(devices[2], text, 4) < 0 && errno == ENOSPC);
	require(read(devices[3], &value, 8) == 8);
	/* /dev/random may have nothing: only that it answers. */
	require(read(devices[4], &value, 8) == 8 || errno == EAGAIN);
	errno = 0;
}

/* At the end, when no checkpoint comes: one with data in it would be refused. */
static void check_pipe(void)
{
	char text[8] = "through";

	require(write(own_pipe[1], text, sizeof(text)) == sizeof(text));
	memset(text, 0, sizeof(text));
	require(read(own_pipe[0], text, sizeof(text)) == sizeof(text));
	require(!strcmp(text, "through"));
}

static void check_content(uint64_t rounds)
{
	char path[500], line[64], wanted[64];
	uint64_t value, count = 0;
	FILE *lines;

	for (uint64_t i = 0; i < 2 * rounds; i++) {
		require(pread(out, &value, 8, (off_t)i * 8) == 8);
		if (value != word(2, i))
			fail("output: word %llu is wrong",
			     (unsigned long long)i);
	}
	require(pread(out, &value, 8, (off_t)rounds * 16) == 0);
	snprintf(path, sizeof(path), "%s/append", directory);
	lines = fopen(path, "r");
	require(lines);
	while (fgets(line, sizeof(line), lines)) {
		snprintf(wanted, sizeof(wanted), "line %llu\n",
			 (unsigned long long)count++);
		if (strcmp(line, wanted))
			fail("append: \"%s\" instead of \"%s\"", line, wanted);
	}
	if (count != rounds)
		fail("append: %llu lines", (unsigned long long)count);
}

int main(int argc, char **argv)
{
	uint64_t rounds = 100, tick_ms = 10;
	const struct number_option options[] = { { "rounds", &rounds },
						 { "tick-ms", &tick_ms } };
	int first = parse_options(argc, argv, options, ARRAY_SIZE(options));

	if (first >= argc || *argv[first] != '/') {
		fprintf(stderr, "files: no absolute DIRECTORY\n");
		return 2;
	}
	directory = argv[first];
	set_up();
	check(0);
	ready();
	for (uint64_t round = 0; round < rounds; round++) {
		hold(round, rounds);
		use(round);
		check(round);
		if (round % 5 == 0)
			put_progress(round);
		sleep_ms(tick_ms);
	}
	check_content(rounds);
	check_pipe();
	succeed("files, %llu rounds", (unsigned long long)rounds);
}
