// SPDX-License-Identifier: GPL-2.0
/*
 * Has pages put into its memory through a userfaultfd, where no page ever was
 * and nobody looks: no write fault tells of them. Stops itself (SIGSTOP) before
 * and after, when no mapping belongs to a userfaultfd any more, then compares.
 *
 *   userfault --out FILE
 */
#include "common.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define BYTES (16 * PAGE)
#define BLOCK (2UL << 20)

static unsigned char content[BYTES];

/* A place far from every page. */
static unsigned char *nowhere(void)
{
	unsigned char *around = mmap(NULL, 4 * BLOCK, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	require(around != MAP_FAILED);
	return around + 2 * BLOCK - (uintptr_t)around % BLOCK;
}

/* The range belongs to a userfaultfd until that is closed. */
static int userfaultfd_over(unsigned char *at)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .range = { (uintptr_t)at, BYTES },
					 .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	require(fd >= 0 && !ioctl(fd, UFFDIO_API, &api) &&
		!ioctl(fd, UFFDIO_REGISTER, &range));
	return fd;
}

static void copy_to(unsigned char *at)
{
	struct uffdio_copy copy = { .dst = (uintptr_t)at, .src = (uintptr_t)content,
				    .len = BYTES };
	int fd = userfaultfd_over(at);

	require(!ioctl(fd, UFFDIO_COPY, &copy) && copy.copy == (int64_t)BYTES);
	close(fd);
}

static void move_to(unsigned char *at, unsigned char *from)
{
	struct uffdio_move move = { .dst = (uintptr_t)at, .src = (uintptr_t)from, .len = BYTES };
	int fd = userfaultfd_over(at);

	require(!madvise(from, BYTES, MADV_NOHUGEPAGE));
	memcpy(from, content, BYTES);
	require(!ioctl(fd, UFFDIO_MOVE, &move) && move.move == (int64_t)BYTES);
	close(fd);
}

/* A private mapping of a memory file with the content. */
static unsigned char *of_file(void)
{
	unsigned char *at;
	int fd = memfd_create("userfault", 0);

	require(fd >= 0 && write(fd, content, BYTES) == (ssize_t)BYTES);
	at = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	require(at != MAP_FAILED && !close(fd));
	return at;
}

/* Zeros over the first half of what the mapping would show of its file. */
static void hide(unsigned char *at)
{
	struct uffdio_zeropage zero = { .range = { (uintptr_t)at, BYTES / 2 } };
	int fd = userfaultfd_over(at);

	require(!ioctl(fd, UFFDIO_ZEROPAGE, &zero) && zero.zeropage == (int64_t)BYTES / 2);
	close(fd);
}

int main(int argc, char **argv)
{
	unsigned char *copied = nowhere(), *moved = nowhere(), *source = nowhere(), *file;
	static const unsigned char zeros[BYTES / 2];
	uint64_t seed = 7;

	parse_options(argc, argv, NULL, 0);
	for (size_t i = 0; i < BYTES; i++)
		content[i] = (unsigned char)rng_next(&seed);
	file = of_file();
	ready();
	raise(SIGSTOP);
	copy_to(copied);
	move_to(moved, source);
	hide(file);
	put_beside("moved", "1\n");
	raise(SIGSTOP);
	if (memcmp(copied, content, BYTES))
		fail("what was copied in is not there");
	if (memcmp(moved, content, BYTES))
		fail("what was moved in is not there");
	if (memcmp(file, zeros, BYTES / 2))
		fail("zeros over a file are not there");
	if (memcmp(file + BYTES / 2, content + BYTES / 2, BYTES / 2))
		fail("what the file has is not there");
	succeed("userfault");
}
