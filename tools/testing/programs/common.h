/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all test programs share.
 *
 * A program is told with --out FILE where its result goes. When everything is
 * set up and the interesting part begins it makes FILE.ready; at the end it
 * writes FILE: "ok" and a deterministic rest, the same as in an undisturbed
 * run, or "failed" and what was wrong. The program holds no descriptor for
 * these files in between.
 *
 * With --hold GO a program does not end before the file GO exists: it waits for
 * it when it has done four fifths of its rounds. So whoever wants to disturb it
 * is never too late, and there is still something to do afterwards.
 */
#ifndef GEIST_TEST_COMMON_H
#define GEIST_TEST_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define NS_PER_S 1000000000ULL
#define NS_PER_MS 1000000ULL

static const char *common_out = "result";
static const char *common_hold;

/* A well-mixing bijection (splitmix64's finaliser). */
static inline uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* A seeded random number; *state is the whole generator. */
static inline uint64_t rng_next(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15ULL;
	return mix(*state);
}

/*
 * Makes text the content of a file, with system calls only. The file is neither
 * renamed nor empty in between: a program that is checkpointed here finds it
 * again when it is restarted.
 */
static inline void put_file(const char *path, const char *text)
{
	size_t length = strlen(text), left = length;
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		_exit(97);
	while (left) {
		ssize_t done = write(fd, text, left);

		if (done <= 0)
			_exit(97);
		text += done;
		left -= (size_t)done;
	}
	if (ftruncate(fd, (off_t)length) || close(fd))
		_exit(97);
}

__attribute__((format(printf, 2, 3), unused))
static void put_beside(const char *suffix, const char *format, ...)
{
	char path[400], text[4096];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(path, sizeof(path), "%s.%s", common_out, suffix);
	put_file(path, text);
}

/*
 * How far the program is. As many bytes each time: a version that was captured
 * in here has the file open, and a restart wants it no shorter than it was.
 */
static inline void put_progress(uint64_t round)
{
	put_beside("progress", "%-20llu\n", (unsigned long long)round);
}

/* The program is set up: whoever waits may begin to disturb it. */
static inline void ready(void)
{
	put_beside("ready", "%d\n", (int)getpid());
}

__attribute__((format(printf, 1, 2), noreturn, unused))
static void fail(const char *format, ...)
{
	char text[2048] = "failed: ";
	va_list args;

	va_start(args, format);
	vsnprintf(text + 8, sizeof(text) - 16, format, args);
	va_end(args);
	strcat(text, "\n");
	put_file(common_out, text);
	if (write(2, text, strlen(text)) < 0)
		_exit(98);
	_exit(1);
}

__attribute__((format(printf, 1, 2), noreturn, unused))
static void succeed(const char *format, ...)
{
	char text[2048] = "ok ";
	va_list args;

	va_start(args, format);
	vsnprintf(text + 3, sizeof(text) - 8, format, args);
	va_end(args);
	strcat(text, "\n");
	put_file(common_out, text);
	_exit(0);
}

/* Fails with the text of the condition and errno when it does not hold. */
#define require(condition)                                                     \
	do {                                                                   \
		if (!(condition))                                              \
			fail("%s:%d: %s (%s)", __FILE__, __LINE__, #condition, \
			     strerror(errno));                                 \
	} while (0)

static inline uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t))
		fail("clock_gettime: %s", strerror(errno));
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static inline struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S),
				  .tv_nsec = (long)(ns % NS_PER_S) };
}

/* Sleeps; begins again after a signal handler with what was left. */
static inline void sleep_ms(uint64_t ms)
{
	struct timespec t = timespec_of(ms * NS_PER_MS);

	while (nanosleep(&t, &t))
		if (errno != EINTR)
			fail("nanosleep: %s", strerror(errno));
}

/* Whether this round is the one to wait in, and it is still to wait. */
static inline bool held(uint64_t round, uint64_t rounds)
{
	return common_hold && round == rounds - (rounds + 4) / 5 &&
	       access(common_hold, F_OK);
}

/* At the beginning of every round: waits in the one that is four fifths on. */
static inline void hold(uint64_t round, uint64_t rounds)
{
	while (held(round, rounds))
		sleep_ms(3);
}

/* An option of the form --name NUMBER. */
struct number_option {
	const char *name;
	uint64_t *value;
};

/*
 * Understands --out FILE, --hold GO, the given numbers, and returns the index of the
 * first argument that is no option.
 */
static inline int parse_options(int argc, char **argv,
				const struct number_option *options,
				size_t count)
{
	int i = 1;

	while (i < argc && !strncmp(argv[i], "--", 2)) {
		bool known = false;
		char *end = NULL;

		if (i + 1 >= argc) {
			fprintf(stderr, "%s: %s needs a value\n", argv[0],
				argv[i]);
			exit(2);
		}
		if (!strcmp(argv[i], "--out")) {
			common_out = argv[i + 1];
			known = true;
		}
		if (!strcmp(argv[i], "--hold")) {
			common_hold = argv[i + 1];
			known = true;
		}
		for (size_t o = 0; o < count && !known; o++) {
			if (strcmp(argv[i] + 2, options[o].name))
				continue;
			*options[o].value = strtoull(argv[i + 1], &end, 0);
			known = end && *end == 0 && end != argv[i + 1];
		}
		if (!known) {
			fprintf(stderr, "%s: bad option %s %s\n", argv[0],
				argv[i], argv[i + 1]);
			exit(2);
		}
		i += 2;
	}
	return i;
}

#endif /* GEIST_TEST_COMMON_H */
