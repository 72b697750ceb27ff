// SPDX-License-Identifier: GPL-2.0
/*
 * Does to its memory, driven by a seed, everything that can change a page:
 * writes, writes of the kernel on its behalf, mappings that come, go, move and
 * change their protection, pages given back, paged out, collapsed or merged,
 * children that it shares pages with for a while. What it holds at a moment is
 * not known here: who stops it looks. The same seed does the same steps.
 *
 *   oracle --out FILE [--seed N] [--rest N] [--steps N] [--hold GO]
 *
 * With --rest it sleeps for a millisecond after every N steps. It ends after
 * the given number of steps, its result a digest of what it has mapped then;
 * without --steps when it is killed.
 */
#include "common.h"

#include <sys/mman.h>
#include <sys/wait.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define AREAS 24
#define SMALL_PAGES 48
#define HUGE_BYTES (2UL << 20)

struct area {
	unsigned char *at;
	size_t bytes;
	bool writable;
	bool shared;
};

static struct area areas[AREAS];
static uint64_t seed = 1;
static int file_fd, memory_fd;

static uint64_t below(uint64_t limit)
{
	return rng_next(&seed) % limit;
}

static void map_one(struct area *area)
{
	uint64_t kind = below(10);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	int fd = -1;

	area->bytes = (1 + below(SMALL_PAGES)) * PAGE;
	area->shared = false;
	if (kind == 0) {
		area->bytes = 2 * HUGE_BYTES;
	} else if (kind <= 2) {
		flags = MAP_PRIVATE;
		fd = file_fd;
	} else if (kind == 3) {
		flags = MAP_SHARED | MAP_ANONYMOUS;
		area->shared = true;
	} else if (kind == 4) {
		flags = MAP_SHARED;
		fd = memory_fd;
		area->shared = true;
	}
	area->at = mmap(NULL, area->bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (area->at == MAP_FAILED) {
		area->at = NULL;
		return;
	}
	area->writable = true;
	if (kind == 0)
		madvise(area->at, area->bytes, MADV_HUGEPAGE);
}

static void write_some(const struct area *area, uint64_t count)
{
	while (area->writable && count--)
		area->at[below(area->bytes)] = (unsigned char)below(256);
}

static void read_into(const struct area *area)
{
	size_t bytes = 1 + below(3 * PAGE);
	size_t offset;

	if (!area->writable)
		return;
	if (bytes > area->bytes)
		bytes = area->bytes;
	offset = below(area->bytes - bytes + 1);
	if (pread(file_fd, area->at + offset, bytes, (off_t)below(64)) < 0)
		_exit(96);
}

static void some_pages(const struct area *area, unsigned char **from, size_t *bytes)
{
	size_t pages = area->bytes / PAGE;
	size_t first = below(pages);

	*from = area->at + first * PAGE;
	*bytes = (1 + below(pages - first)) * PAGE;
}

static void advise(const struct area *area, int advice)
{
	unsigned char *from;
	size_t bytes;

	some_pages(area, &from, &bytes);
	madvise(from, bytes, advice);
}

static void move_one(struct area *area)
{
	size_t bytes = (1 + below(SMALL_PAGES)) * PAGE;
	void *to;

	/* Behind the end of their file, pages of it cannot be touched. */
	if (area->shared && bytes > area->bytes)
		return;
	to = mremap(area->at, area->bytes, bytes, MREMAP_MAYMOVE);
	if (to == MAP_FAILED)
		return;
	area->at = to;
	area->bytes = bytes;
}

static void have_child(const struct area *area)
{
	pid_t child = fork();

	if (child == 0) {
		write_some(area, 4);
		_exit(0);
	}
	/* Who of the two comes last must not matter. */
	if (!area->shared)
		write_some(area, 8);
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	if (area->shared)
		write_some(area, 8);
}

static void step(void)
{
	struct area *area = &areas[below(AREAS)];

	if (!area->at) {
		map_one(area);
		return;
	}
	switch (below(24)) {
	case 0:
		munmap(area->at, area->bytes);
		area->at = NULL;
		break;
	case 1:
		move_one(area);
		break;
	case 2:
	case 3:
		area->writable = !area->writable;
		mprotect(area->at, area->bytes,
			 area->writable ? PROT_READ | PROT_WRITE : PROT_READ);
		break;
	case 4:
		advise(area, MADV_DONTNEED);
		break;
	case 5:
		advise(area, MADV_PAGEOUT);
		break;
	case 6:
		madvise(area->at, area->bytes, MADV_COLLAPSE);
		break;
	case 7:
	case 8:
		read_into(area);
		break;
	case 9:
		if (below(8) == 0)
			have_child(area);
		break;
	case 10:
		/* Where the kernel looks for equal pages, small ones are. */
		advise(area, below(2) ? MADV_MERGEABLE : MADV_UNMERGEABLE);
		break;
	default:
		write_some(area, 1 + below(24));
	}
}

static uint64_t digest(void)
{
	uint64_t sum = seed;

	for (size_t i = 0; i < AREAS; i++) {
		sum = mix(sum ^ (areas[i].at ? areas[i].bytes : 0));
		for (size_t j = 0; areas[i].at && j < areas[i].bytes; j += sizeof(uint64_t)) {
			uint64_t word;

			memcpy(&word, areas[i].at + j, sizeof(word));
			sum = mix(sum ^ word);
		}
	}
	return sum;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "out", required_argument, NULL, 'o' },
		{ "seed", required_argument, NULL, 's' },
		{ "rest", required_argument, NULL, 'r' },
		{ "steps", required_argument, NULL, 'n' },
		{ "hold", required_argument, NULL, 'h' },
		{ 0 }
	};
	char path[512];
	unsigned char page[PAGE];
	unsigned long rest = 0, last = 0;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'o')
			common_out = optarg;
		else if (option == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (option == 'r')
			rest = strtoul(optarg, NULL, 0);
		else if (option == 'n')
			last = strtoul(optarg, NULL, 0);
		else if (option == 'h')
			common_hold = optarg;
		else
			return 2;
	}
	snprintf(path, sizeof(path), "%s.data", common_out);
	file_fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	memory_fd = memfd_create("oracle", 0);
	if (file_fd < 0 || memory_fd < 0 || ftruncate(memory_fd, SMALL_PAGES * PAGE))
		return 95;
	for (size_t i = 0; i < SMALL_PAGES + 4; i++) {
		for (size_t j = 0; j < PAGE; j += sizeof(uint64_t)) {
			uint64_t word = rng_next(&seed);

			memcpy(page + j, &word, sizeof(word));
		}
		if (write(file_fd, page, PAGE) != (ssize_t)PAGE)
			return 95;
	}
	/* What maps the file must find it unchanged, also in a later second. */
	close(file_fd);
	file_fd = open(path, O_RDONLY);
	if (file_fd < 0)
		return 95;
	for (size_t i = 0; i < AREAS; i++)
		map_one(&areas[i]);
	ready();
	for (unsigned long steps = 1; !last || steps <= last; steps++) {
		if (last)
			hold(steps, last);
		step();
		if (rest && steps % rest == 0)
			sleep_ms(1);
	}
	succeed("%016llx", (unsigned long long)digest());
}
