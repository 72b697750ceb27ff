// SPDX-License-Identifier: GPL-2.0
/*
 * Malformed ioctls for /dev/geist: every command with every wrong size, bad
 * pointers, undefined flags, values at the edges, and seeded random structures.
 *
 *   ioctl-fuzz [--rounds N] [--seed N] --out FILE DIRECTORY PID
 *
 * The first part has known answers and compares them; the second only demands
 * that each call comes back with an error (or, for INFO, an answer), that the
 * sentence of an error is terminated ASCII, and that nothing behind a buffer
 * was written to. PID is a process that no call here may checkpoint: its
 * version files would be found in DIRECTORY afterwards.
 */
#include "common.h"

#include <linux/geist.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static uint64_t seed = 1;
static int device, directory;
static char *edge;	/* the last byte before a page without access */

static const char *const names[] = { "INFO", "CHECKPOINT", "PREPARE", "JOIN", "FINISH",
				     "WATCH", "UNWATCH" };
static const unsigned long commands[] = {
	GEIST_IOC_INFO, GEIST_IOC_CHECKPOINT, GEIST_IOC_RESTART_PREPARE,
	GEIST_IOC_RESTART_JOIN, GEIST_IOC_RESTART_FINISH,
	GEIST_IOC_WATCH, GEIST_IOC_UNWATCH,
};

static const size_t sizes[] = {
	sizeof(struct geist_info), sizeof(struct geist_checkpoint),
	sizeof(struct geist_restart_prepare),
	sizeof(struct geist_restart_join), sizeof(struct geist_restart_finish),
	sizeof(struct geist_watch), sizeof(struct geist_unwatch),
};

static void expect(const char *what, int result, int error)
{
	if (result != -1 || errno != error)
		fail("%s: %d (%s), should be %s", what, result,
		     result < 0 ? strerror(errno) : "success", strerror(error));
}

/* A structure of the command's size, zero but for its size. */
static void *fresh(size_t command)
{
	static _Alignas(8) unsigned char bytes[4096];

	memset(bytes, 0, sizeof(bytes));
	*(uint32_t *)bytes = (uint32_t)sizes[command];
	return bytes;
}

static struct geist_checkpoint good_checkpoint(int pid)
{
	return (struct geist_checkpoint){
		.size = sizeof(struct geist_checkpoint),
		.pid = pid,
		.dir_fd = directory,
		.app = 1,
		.version = 1,
	};
}

/* What is said of a process that is not watched: to who may know, nothing else. */
static int not_watched(void)
{
	return geteuid() ? EPERM : ENODATA;
}

static void wrong_checkpoint(const char *what, struct geist_checkpoint bad,
			     int error)
{
	char sentence[200];

	memset(sentence, 'x', sizeof(sentence));
	bad.message = (uintptr_t)sentence;
	bad.message_len = sizeof(sentence);
	expect(what, ioctl(device, GEIST_IOC_CHECKPOINT, &bad), error);
	if (!memchr(sentence, 0, sizeof(sentence)) || !sentence[0])
		fail("%s: no sentence", what);
}

static void known_answers(int pid)
{
	struct geist_info info = { .size = sizeof(info) };
	struct geist_checkpoint c;
	char what[100];

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		unsigned char *bytes = fresh(i);

		snprintf(what, sizeof(what), "%s of nothing", names[i]);
		expect(what, ioctl(device, commands[i], NULL), EFAULT);
		snprintf(what, sizeof(what), "%s of the kernel", names[i]);
		expect(what, ioctl(device, commands[i], -4096L), EFAULT);
		snprintf(what, sizeof(what), "%s across an edge", names[i]);
		*(uint32_t *)(edge - 3) = (uint32_t)sizes[i];
		expect(what, ioctl(device, commands[i], edge - 3), EFAULT);
		for (uint32_t size = 0; size < 4; size++) {
			*(uint32_t *)bytes = size;
			snprintf(what, sizeof(what), "%s of size %u", names[i],
				 size);
			expect(what, ioctl(device, commands[i], bytes), EINVAL);
		}
		/* Larger is fine while the rest is zero; then it is not. */
		bytes = fresh(i);
		*(uint32_t *)bytes = (uint32_t)sizes[i] + 64;
		bytes[sizes[i] + 63] = 1;
		snprintf(what, sizeof(what), "%s with a tail", names[i]);
		expect(what, ioctl(device, commands[i], bytes), E2BIG);
		*(uint32_t *)bytes = 0xffffffff;
		snprintf(what, sizeof(what), "%s of 4 GB", names[i]);
		if (ioctl(device, commands[i], bytes) != -1 ||
		    (errno != E2BIG && errno != EFAULT && errno != EINVAL))
			fail("%s: %s", what, strerror(errno));
	}
	expect("an unknown command",
	       ioctl(device, _IO(GEIST_IOC_MAGIC, 200),
		     fresh(0)),
	       ENOTTY);
	expect("another magic",
	       ioctl(device, _IO('x', 0), fresh(0)),
	       ENOTTY);
	require(!ioctl(device, GEIST_IOC_INFO, &info));
	require(info.abi_version == GEIST_ABI_VERSION && info.format_version);

	c = good_checkpoint(pid);
	c.flags = 1U << 31;
	wrong_checkpoint("undefined flag", c, EINVAL);
	c = good_checkpoint(pid);
	c.reserved = 1;
	wrong_checkpoint("reserved field", c, EINVAL);
	c = good_checkpoint(pid);
	c.flags = GEIST_CHECKPOINT_KILL | GEIST_CHECKPOINT_STOP;
	wrong_checkpoint("kill and stop", c, EINVAL);
	c = good_checkpoint(pid);
	c.flags = GEIST_CHECKPOINT_KILL;
	c.signal = 65;
	wrong_checkpoint("signal 65", c, EINVAL);
	c = good_checkpoint(pid);
	c.version = 0;
	wrong_checkpoint("the next version of a watch that is none", c,
			 not_watched());
	c = good_checkpoint(pid);
	c.app = 0;
	wrong_checkpoint("application 0", c, EINVAL);
	c = good_checkpoint(pid);
	c.durability = 77;
	wrong_checkpoint("durability 77", c, EINVAL);
	c = good_checkpoint(pid);
	c.description = 0x1000;
	c.description_len = 0xffffffff;
	wrong_checkpoint("description of 4 GB", c, EINVAL);
	c.description_len = 100;
	wrong_checkpoint("description at a bad address", c, EFAULT);
	c = good_checkpoint(pid);
	c.dir_fd = -1;
	wrong_checkpoint("no directory", c, EBADF);
	c = good_checkpoint(pid);
	c.dir_fd = device;
	wrong_checkpoint("a device as directory", c, ENOTDIR);
	c = good_checkpoint(-1);
	if (ioctl(device, GEIST_IOC_CHECKPOINT, &c) != -1 ||
	    (errno != ESRCH && errno != EINVAL))
		fail("pid -1: %s", strerror(errno));
	c = good_checkpoint(0x7fffffff);
	wrong_checkpoint("no such pid", c, ESRCH);
}

static struct geist_watch good_watch(int pid)
{
	return (struct geist_watch){
		.size = sizeof(struct geist_watch),
		.pid = pid,
		.dir_fd = directory,
		.app = (uint32_t)pid,
		.durability = GEIST_DEFAULT,
		.version = 1,
		.keep = GEIST_DEFAULT,
		.full_every = GEIST_DEFAULT,
	};
}

static void wrong_watch(const char *what, struct geist_watch bad, int error)
{
	char sentence[200];

	memset(sentence, 'x', sizeof(sentence));
	bad.message = (uintptr_t)sentence;
	bad.message_len = sizeof(sentence);
	expect(what, ioctl(device, GEIST_IOC_WATCH, &bad), error);
	if (!memchr(sentence, 0, sizeof(sentence)) || !sentence[0])
		fail("%s: no sentence", what);
}

static void known_answers_of_watches(int pid)
{
	struct geist_unwatch u = { .size = sizeof(u), .pid = pid };
	struct geist_watch_file file = { .version = 0 };
	struct geist_watch w = good_watch(pid);

	w.flags = GEIST_CHECKPOINT_KILL;
	wrong_watch("a watch that kills", w, EINVAL);
	w = good_watch(pid);
	w.flags = GEIST_WATCH_CHANGE;
	wrong_watch("a change of no watch", w, not_watched());
	w = good_watch(pid);
	w.version = 0;
	wrong_watch("a watch from version 0 on", w, EINVAL);
	w = good_watch(pid);
	w.interval_us = GEIST_INTERVAL_MIN_US - 1;
	wrong_watch("too short an interval", w, EINVAL);
	w.interval_us = GEIST_INTERVAL_MAX_US + 1;
	wrong_watch("too long an interval", w, EINVAL);
	w = good_watch(pid);
	w.durability = 77;
	wrong_watch("a watch of durability 77", w, EINVAL);
	w = good_watch(pid);
	w.file_count = GEIST_WATCH_FILES_MAX + 1;
	wrong_watch("too many files", w, E2BIG);
	w.file_count = 1;
	w.files = 0x1000;
	wrong_watch("files at a bad address", w, EFAULT);
	w.files = (uintptr_t)&file;
	wrong_watch("a file of version 0", w, geteuid() ? EPERM : EINVAL);
	w = good_watch(0x7fffffff);
	wrong_watch("a watch of no such pid", w, ESRCH);
	expect("the end of no watch", ioctl(device, GEIST_IOC_UNWATCH, &u),
	       not_watched());
}

static uint64_t edge_value(void)
{
	/* Where a call may write to. */
	static uint64_t scratch[1024];
	static const uint64_t values[] = {
		0, 1, 2, 3, 4, 63, 64, 65, 4095, 4096, 0x7fffffff, 0x80000000,
		0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, ~0ULL,
		0x00007ffffffff000, 0x0000800000000000, 0xffff888000000000,
		0xffffffff81000000,
	};
	uint64_t pick = rng_next(&seed);

	switch (pick % 8) {
	case 0:
		return rng_next(&seed);
	case 1:
		return (uintptr_t)edge;
	case 2:
		return (uintptr_t)scratch;
	case 3:
		return (uint64_t)directory;
	default:
		return values[(pick >> 8) % ARRAY_SIZE(values)];
	}
}

/* One call with random content; it must fail, unless it is INFO. */
static void random_call(uint64_t round, int pid)
{
	static char sentence[512];
	size_t command = rng_next(&seed) % ARRAY_SIZE(commands);
	unsigned char *bytes = fresh(command);
	size_t size = sizes[command], words = size / 4;
	uint64_t changes = 1 + rng_next(&seed) % 6;
	int result;

	if (command == 1) {
		struct geist_checkpoint c = good_checkpoint(pid);

		/* Not even by chance a valid one: the version is never right. */
		c.version = 0;
		memcpy(bytes, &c, sizeof(c));
	}
	for (uint64_t i = 0; i < changes; i++) {
		size_t place = rng_next(&seed) % words;
		uint64_t value = edge_value();

		if (place == 0 && rng_next(&seed) % 4)
			continue;
		if (rng_next(&seed) % 2 && place + 1 < words && place % 2 == 0)
			memcpy(bytes + 4 * place, &value, 8);
		else
			memcpy(bytes + 4 * place, &value, 4);
	}
	memset(sentence, 'x', sizeof(sentence));
	if (command == 1)
		((struct geist_checkpoint *)bytes)->version = 0;
	if (commands[command] == GEIST_IOC_WATCH)
		((struct geist_watch *)bytes)->version = 0;
	result = ioctl(device, commands[command], bytes);
	if (result == 0 && command != 0)
		fail("round %llu: %s succeeded", (unsigned long long)round,
		     names[command]);
	if (result < 0 && errno == EINTR)
		fail("round %llu: %s was interrupted by nothing",
		     (unsigned long long)round, names[command]);
	if (bytes[size] || bytes[size + 1])
		fail("round %llu: %s wrote behind its structure",
		     (unsigned long long)round, names[command]);
}

/* The sentence ends where the buffer does, however small that is. */
static void sentences(void)
{
	char buffer[64];

	for (uint32_t length = 0; length < 20; length++) {
		struct geist_checkpoint c = good_checkpoint(0x7fffffff);

		memset(buffer, 'x', sizeof(buffer));
		c.message = (uintptr_t)buffer;
		c.message_len = length;
		expect("a small buffer",
		       ioctl(device, GEIST_IOC_CHECKPOINT, &c), ESRCH);
		if (length && !memchr(buffer, 0, length))
			fail("sentence in %u bytes is not terminated", length);
		for (size_t i = length; i < sizeof(buffer); i++)
			if (buffer[i] != 'x')
				fail("sentence of %u bytes wrote byte %zu",
				     length, i);
	}
}

int main(int argc, char **argv)
{
	uint64_t rounds = 20000;
	const struct number_option options[] = { { "rounds", &rounds },
						 { "seed", &seed } };
	int first = parse_options(argc, argv, options, ARRAY_SIZE(options));
	char *pages;
	int pid;

	if (first + 1 >= argc) {
		fprintf(stderr, "ioctl-fuzz: no DIRECTORY or no PID\n");
		return 2;
	}
	pid = atoi(argv[first + 1]);
	device = open("/dev/geist", O_RDWR | O_CLOEXEC);
	directory = open(argv[first], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	require(device >= 0 && directory >= 0 && !flock(directory, LOCK_EX));
	pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	require(pages != MAP_FAILED && !mprotect(pages + PAGE, PAGE, PROT_NONE));
	edge = pages + PAGE - 1;
	ready();
	known_answers(pid);
	known_answers_of_watches(pid);
	sentences();
	for (uint64_t round = 0; round < rounds; round++)
		random_call(round, pid);
	succeed("ioctl-fuzz, %llu rounds", (unsigned long long)rounds);
}
