// SPDX-License-Identifier: GPL-2.0
/*
 * One mapping of every kind that a checkpoint must keep, filled with a pattern
 * that says of every word where it belongs. Then, every tick, all of it is read
 * again, and some of the memory gets a new pattern. Every fourth tick and in the
 * last /proc/self/smaps is compared with that of the beginning (addresses,
 * permissions, offsets, names, flags). What differs is reported with its kind
 * and address.
 *
 *   mappings [--rounds N] [--tick-ms N] --out FILE DIRECTORY
 *
 * DIRECTORY is on a real file system; three files are made there.
 */
#include "mappings.h"

#include <setjmp.h>

static sigjmp_buf faulted;

static void on_fault(int signal)
{
	siglongjmp(faulted, signal);
}

/* Whether a read at this address ends in a signal. */
static bool faults(const void *address)
{
	if (sigsetjmp(faulted, 1))
		return true;
	(void)*(volatile const char *)address;
	return false;
}

static uint64_t pattern(const struct region *region, uint64_t round, size_t i)
{
	return mix(region->seed + (round << 40) + i);
}

static uint64_t round_of(const struct region *region, uint64_t round)
{
	return region->flags & REWRITTEN ? round : 0;
}

static void paint(struct region *region, uint64_t round)
{
	uint64_t *words = region->address;

	for (size_t i = 0; i < region->bytes / sizeof(*words); i++)
		words[i] = pattern(region, round, i);
}

static void check_region(const struct region *region, uint64_t round)
{
	const uint64_t *words = region->address;

	if (region->flags & FAULTS) {
		for (size_t at = 0; at < region->bytes; at += PAGE)
			if (!faults((char *)region->address + at))
				fail("round %llu: %s: %p can be read",
				     (unsigned long long)round, region->name,
				     (void *)((char *)region->address + at));
		return;
	}
	for (size_t i = 0; i < region->bytes / sizeof(*words); i++) {
		uint64_t wanted = 0;

		if (!(region->flags & ZERO))
			wanted = pattern(region, round_of(region, round), i);
		if (words[i] == wanted)
			continue;
		/* A droppable page may become zero at any time, as a whole. */
		if (region->flags & DROPPABLE && words[i] == 0)
			continue;
		fail("round %llu: %s: %p has %016llx, should have %016llx",
		     (unsigned long long)round, region->name,
		     (const void *)&words[i], (unsigned long long)words[i],
		     (unsigned long long)wanted);
	}
}

/* Two addresses of the same memory show the same. */
static void check_alias(const struct region *region, uint64_t round)
{
	if (region->alias &&
	    memcmp(region->address, region->alias, region->bytes))
		fail("round %llu: %s: %p and %p show different memory",
		     (unsigned long long)round, region->name, region->address,
		     region->alias);
}

static char layout_before[1 << 18], layout_now[1 << 18], raw[1 << 20];

/*
 * What of smaps must stay: the line of each mapping and its flags. Left out:
 * device and inode of memory files (numbers of no file system on a disk), the
 * soft-dirty flag (says what was written since somebody asked).
 */
static void read_layout(char *out, size_t size)
{
	char *line, *rest = raw, *end = out + size - 1;
	size_t length = 0;
	int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	ssize_t got;

	require(fd >= 0);
	while ((got = read(fd, raw + length, sizeof(raw) - 1 - length)) > 0)
		length += (size_t)got;
	close(fd);
	raw[length] = 0;
	while ((line = strsep(&rest, "\n")) != NULL && out < end) {
		char *colon = strchr(line, ':'), *space = strchr(line, ' ');
		unsigned long from, to, offset;
		char permissions[8];
		int name = 0;

		if (!strncmp(line, "VmFlags:", 8)) {
			char *soft = strstr(line, " sd");

			if (soft)
				memmove(soft, soft + 3, strlen(soft + 3) + 1);
			out += snprintf(out, (size_t)(end - out), "%s\n", line);
		} else if (space && (!colon || space < colon) &&
			   sscanf(line, "%lx-%lx %7s %lx %*s %*s %n", &from,
				  &to, permissions, &offset, &name) >= 4 &&
			   name) {
			out += snprintf(out, (size_t)(end - out),
					"%lx-%lx %s %lx %s\n", from, to,
					permissions, offset, line + name);
		}
	}
	*out = 0;
}

static void check_layout(uint64_t round)
{
	char *a = layout_before, *b = layout_now;

	read_layout(layout_now, sizeof(layout_now));
	while (a && b && *a && *b) {
		char *x = strsep(&a, "\n"), *y = strsep(&b, "\n");

		if (strcmp(x, y))
			fail("round %llu: smaps has \"%s\", had \"%s\"",
			     (unsigned long long)round, y, x);
		if (a)
			a[-1] = '\n';
		if (b)
			b[-1] = '\n';
	}
	if ((a && *a) || (b && *b))
		fail("round %llu: smaps is longer or shorter than it was",
		     (unsigned long long)round);
}

/* Uses a good deal of stack, whose content must still be right on the way back. */
static uint64_t deep(unsigned int depth, uint64_t round, bool pause)
{
	volatile uint64_t frame[512];
	uint64_t sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(frame); i++)
		frame[i] = mix(round + depth * 1000 + i);
	if (depth)
		sum = deep(depth - 1, round, pause);
	else if (pause)
		sleep_ms(20);
	for (size_t i = 0; i < ARRAY_SIZE(frame); i++)
		if (frame[i] != mix(round + depth * 1000 + i))
			fail("stack: %p is wrong", (const void *)&frame[i]);
	return sum + frame[0];
}

int main(int argc, char **argv)
{
	uint64_t rounds = 50, tick_ms = 20, digest = 0;
	const struct number_option options[] = { { "rounds", &rounds },
						 { "tick-ms", &tick_ms } };
	int first = parse_options(argc, argv, options, ARRAY_SIZE(options));
	struct sigaction action = { .sa_handler = on_fault };
	struct region *regions;
	size_t count;

	if (first >= argc) {
		fprintf(stderr, "mappings: no directory\n");
		return 2;
	}
	require(!sigaction(SIGSEGV, &action, NULL));
	require(!sigaction(SIGBUS, &action, NULL));
	/* The stack is larger now than it needs to be later. */
	digest = deep(104, 0, true);
	count = make_regions(argv[first], &regions);
	for (size_t i = 0; i < count; i++)
		if (!(regions[i].flags & (ZERO | FAULTS | PAINTED)))
			paint(&regions[i], 0);
	read_layout(layout_before, sizeof(layout_before));
	ready();
	for (uint64_t round = 0; round < rounds; round++) {
		hold(round, rounds);
		digest = mix(digest ^ deep(100, round, round % 4 == 1));
		for (size_t i = 0; i < count; i++) {
			check_region(&regions[i], round);
			check_alias(&regions[i], round);
		}
		/* Seldom: while it reads smaps, it cannot be checkpointed. */
		if (round % 4 == 3 || round == rounds - 1)
			check_layout(round);
		for (size_t i = 0; i < count; i++)
			if (regions[i].flags & REWRITTEN)
				paint(&regions[i], round + 1);
		if (round % 5 == 0)
			put_progress(round);
		sleep_ms(tick_ms);
	}
	check_hidden();
	succeed("mappings %zu regions, %llu rounds, digest %016llx", count,
		(unsigned long long)rounds, (unsigned long long)digest);
}
