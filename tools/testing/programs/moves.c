// SPDX-License-Identifier: GPL-2.0
/*
 * Changes its memory, one thing at a time, in ways that no write fault tells
 * of, and stops itself (SIGSTOP) at the beginning and after each: who waits
 * for that looks at it. FILE.step has the number of the stop, and of the last.
 *
 *   moves --out FILE
 */
#include "common.h"

#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define PAGES 16UL
#define BYTES (PAGES * PAGE)
#define BLOCK (2UL << 20)
#define MANY 160UL

static uint64_t seed = 7;
static int file_fd, memory_fd;

static void fill(unsigned char *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
		uint64_t word = rng_next(&seed);

		memcpy(at + i, &word, sizeof(word));
	}
}

/* A file beside the result. */
static int open_data(int flags)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s.data", common_out);
	fd = open(path, flags, 0600);
	require(fd >= 0);
	return fd;
}

static unsigned char *map_at(void *at, size_t bytes, int flags, int fd)
{
	unsigned char *got = mmap(at, bytes, PROT_READ | PROT_WRITE,
				  flags | (at ? MAP_FIXED_NOREPLACE : 0), fd, 0);

	require(got != MAP_FAILED);
	return got;
}

static unsigned char *map_private(size_t bytes)
{
	return map_at(NULL, bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static unsigned char *map_filled(size_t bytes)
{
	unsigned char *at = map_private(bytes);

	madvise(at, bytes, MADV_NOHUGEPAGE);
	fill(at, bytes);
	return at;
}

static void move(void *from, void *to, size_t bytes, int more)
{
	require(mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | more,
		       to) == to);
}

static unsigned char *place, *other;

/* Where pages were unmapped, pages come that were captured elsewhere. */
static void moved_over_before(void)
{
	place = map_filled(BYTES);
	other = map_filled(BYTES);
}

static void moved_over(void)
{
	require(!munmap(place, BYTES));
	move(other, place, BYTES, 0);
}

static unsigned char *untouched, *visitor;

/* The same where no page ever was, far from any that is. */
static void moved_to_untouched_before(void)
{
	unsigned char *around = map_private(4 * BLOCK);

	untouched = around + 2 * BLOCK - (uintptr_t)around % BLOCK;
	visitor = map_filled(BYTES);
}

static void moved_to_untouched(void)
{
	require(!munmap(untouched, BYTES));
	move(visitor, untouched, BYTES, 0);
}

static unsigned char *file_place, *file_other;

/* The same with written pages of a file. */
static void moved_over_file_before(void)
{
	file_place = map_at(NULL, BYTES, MAP_PRIVATE, file_fd);
	file_other = map_at(NULL, BYTES, MAP_PRIVATE, file_fd);
	fill(file_place, BYTES / 2);
	fill(file_other + BYTES / 4, BYTES / 2);
}

static void moved_over_file(void)
{
	require(!munmap(file_place, BYTES));
	move(file_other, file_place, BYTES, 0);
}

static unsigned char *left, *right;

/* Two change places. */
static void exchanged_before(void)
{
	left = map_filled(BYTES);
	right = map_filled(BYTES);
}

static void exchanged(void)
{
	unsigned char *between = map_private(BYTES);

	move(left, between, BYTES, 0);
	move(right, left, BYTES, 0);
	move(between, right, BYTES, 0);
}

static unsigned char *emptied, *filled;

/* The pages move, the mapping stays. */
static void left_behind_before(void)
{
	emptied = map_filled(BYTES);
	filled = map_filled(BYTES);
}

static void left_behind(void)
{
	require(!munmap(filled, BYTES));
	move(emptied, filled, BYTES, MREMAP_DONTUNMAP);
}

static unsigned char *anew;

/* Unmapped and mapped again: zero. */
static void anew_before(void)
{
	anew = map_filled(BYTES);
}

static void mapped_anew(void)
{
	require(!munmap(anew, BYTES));
	map_at(anew, BYTES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static unsigned char *again;

/* Unmapped and mapped again: a memfd, the same as before. */
static void again_before(void)
{
	again = map_at(NULL, BYTES, MAP_SHARED, memory_fd);
	fill(again, BYTES / 2);
}

static void mapped_again(void)
{
	require(!munmap(again, BYTES));
	map_at(again, BYTES, MAP_SHARED, memory_fd);
}

static unsigned char *punched;

/* Shared memory that is given back: zero. */
static void punched_before(void)
{
	punched = map_at(NULL, BYTES, MAP_SHARED | MAP_ANONYMOUS, -1);
	fill(punched, BYTES);
}

static void given_back(void)
{
	require(!madvise(punched + BYTES / 4, BYTES / 2, MADV_REMOVE));
}

static unsigned char *shy;

/* Reading what is shared with a captured page makes it exclusive, mprotect() writable. */
static void unshared_before(void)
{
	shy = map_filled(BYTES);
}

static void unshared(void)
{
	static unsigned char copy[BYTES];
	struct iovec to = { copy, BYTES }, from = { shy, BYTES };

	require(process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)BYTES);
	require(!mprotect(shy, BYTES, PROT_READ));
	require(!mprotect(shy, BYTES, PROT_READ | PROT_WRITE));
	fill(shy, BYTES);
}

static unsigned char *landing;

/* What a disk's driver and another process's call write through pages that they pinned. */
static void pinned_before(void)
{
	landing = map_filled(2 * BYTES);
}

static void read_by_disk(void)
{
	int fd = open_data(O_RDONLY | O_DIRECT);

	require(read(fd, landing, BYTES) == (ssize_t)BYTES);
	require(!close(fd));
}

static void written_remotely(void)
{
	static unsigned char content[BYTES];
	struct iovec from = { content, BYTES }, to = { landing + BYTES, BYTES };

	fill(content, BYTES);
	require(process_vm_writev(getpid(), &from, 1, &to, 1, 0) == (ssize_t)BYTES);
}

static unsigned char *targets, *sources;

/* More unmapped ranges than anybody would note one by one. */
static void many_before(void)
{
	targets = map_private(2 * MANY * PAGE);
	sources = map_private(2 * MANY * PAGE);
	madvise(targets, 2 * MANY * PAGE, MADV_NOHUGEPAGE);
	madvise(sources, 2 * MANY * PAGE, MADV_NOHUGEPAGE);
	/* Every other page is what will be moved; no more, since each costs time. */
	for (size_t i = 0; i < 2 * MANY; i += 2) {
		fill(targets + i * PAGE, sizeof(uint64_t));
		fill(sources + i * PAGE, sizeof(uint64_t));
	}
}

static void moved_many(void)
{
	for (size_t i = 0; i < 2 * MANY; i += 2) {
		require(!munmap(targets + i * PAGE, PAGE));
		move(sources + i * PAGE, targets + i * PAGE, PAGE, 0);
	}
}

static unsigned char *plain;

/* Written, as everybody does it; a part is given back later. */
static void plain_before(void)
{
	plain = map_filled(BYTES);
}

static void written(void)
{
	fill(plain + BYTES / 2, BYTES / 4);
}

static void discarded(void)
{
	require(!madvise(plain, BYTES / 4, MADV_DONTNEED));
}

static unsigned char *whole, *inherited;

/* At a multiple of its size, and nobody has touched it yet. */
static unsigned char *map_aligned(size_t bytes)
{
	unsigned char *around = map_private(3 * bytes);

	return around + bytes - (uintptr_t)around % bytes;
}

/* A block of a huge page. */
static unsigned char *map_block(void)
{
	unsigned char *block = map_aligned(BLOCK);

	madvise(block, BLOCK, MADV_HUGEPAGE);
	return block;
}

static void blocks_before(void)
{
	whole = map_block();
	inherited = map_block();
}

/* A single fault, and all pages of a block can be written. */
static void came_whole(void)
{
	fill(whole, BLOCK);
}

static void share_for_a_moment(void)
{
	int pid = fork();

	require(pid >= 0);
	if (!pid)
		_exit(0);
	require(waitpid(pid, NULL, 0) == pid);
}

/* The same, and then they are shared with a child for a moment: no entry tells of a write. */
static void shared_with_child(void)
{
	fill(inherited, BLOCK);
	share_for_a_moment();
}

static unsigned char *group, *lent;

static void groups_before(void)
{
	/* As many pages as a folio of 64 KiB has. */
	group = map_aligned(BYTES);
	lent = map_aligned(BYTES);
}

/* Where such folios are allocated: a single fault for all, and each has an entry of its own. */
static void came_together(void)
{
	fill(group, BYTES);
}

/* The same, and no entry tells of a write any more. */
static void came_together_and_shared(void)
{
	fill(lent, BYTES);
	share_for_a_moment();
}

static void (*const preparations[])(void) = {
	moved_over_before, moved_to_untouched_before, moved_over_file_before,
	exchanged_before,  left_behind_before,	      anew_before,
	again_before,	   punched_before,	      unshared_before,
	pinned_before,	   many_before,		      plain_before,
	blocks_before,	   groups_before,
};

static void (*const changes[])(void) = {
	moved_over,   moved_to_untouched, moved_over_file, exchanged,
	left_behind,  mapped_anew,	  mapped_again,	   given_back,
	unshared,     read_by_disk,	  written_remotely, moved_many,
	written,      discarded,	  came_whole,	    shared_with_child,
	came_together, came_together_and_shared,
};

int main(int argc, char **argv)
{
	unsigned char content[BYTES];

	parse_options(argc, argv, NULL, 0);
	file_fd = open_data(O_RDWR | O_CREAT | O_TRUNC);
	memory_fd = memfd_create("moves", 0);
	require(memory_fd >= 0 && !ftruncate(memory_fd, BYTES));
	fill(content, BYTES);
	require(write(file_fd, content, BYTES) == (ssize_t)BYTES);
	/* What maps the file must find it unchanged, also in a later second. */
	close(file_fd);
	file_fd = open_data(O_RDONLY);
	for (size_t i = 0; i < ARRAY_SIZE(preparations); i++)
		preparations[i]();
	ready();
	for (size_t i = 0; i <= ARRAY_SIZE(changes); i++) {
		if (i)
			changes[i - 1]();
		put_beside("step", "%zu %zu\n", i, ARRAY_SIZE(changes));
		raise(SIGSTOP);
	}
	return 0;
}
