/* SPDX-License-Identifier: GPL-2.0 */
/* The mappings of the program "mappings": how each kind is made. */
#ifndef GEIST_TEST_MAPPINGS_H
#define GEIST_TEST_MAPPINGS_H

#include "common.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_GET_SEALS 1034
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW 4
#endif

#define REGION_BYTES (16 * PAGE)

/* How a region is looked at. */
enum {
	ZERO = 1,	/* never written: reads as zero */
	FAULTS = 2,	/* every page of it cannot be read */
	REWRITTEN = 4,	/* gets a new pattern every round */
	PAINTED = 8,	/* already has its pattern */
	DROPPABLE = 16,	/* the kernel may take pages away */
};

struct region {
	const char *name;
	void *address;
	size_t bytes;
	int flags;
	uint64_t seed;
	void *alias;
};

static struct region regions_made[64];
static size_t regions_count;

/* A mapping without access, painted before; looked at in the end. */
static struct region hidden;
static int partly_memfd, sealed_memfd;

static struct region *add(const char *name, void *address, size_t bytes,
			  int flags)
{
	struct region *region = &regions_made[regions_count];

	if (address == MAP_FAILED)
		fail("%s: %s", name, strerror(errno));
	if (++regions_count > ARRAY_SIZE(regions_made))
		fail("too many regions");
	*region = (struct region){ .name = name,
				   .address = address,
				   .bytes = bytes,
				   .flags = flags,
				   .seed = mix(regions_count) };
	return region;
}

static void *map(size_t bytes, int protection, int flags)
{
	return mmap(NULL, bytes, protection, flags | MAP_ANONYMOUS, -1, 0);
}

/* Anonymous private memory with everything that can be said about it. */
static struct region *add_anonymous(const char *name, int map_flags, int flags)
{
	void *address = map(REGION_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | map_flags);

	return add(name, address, REGION_BYTES, flags);
}

static void add_advised(const char *name, int advice)
{
	struct region *region = add_anonymous(name, 0, REWRITTEN);

	if (madvise(region->address, region->bytes, advice))
		fail("%s: %s", name, strerror(errno));
}

static void paint_now(struct region *region)
{
	uint64_t *words = region->address;

	for (size_t i = 0; i < region->bytes / sizeof(*words); i++)
		words[i] = mix(region->seed + i);
	region->flags |= PAINTED;
}

static void add_anonymous_kinds(void)
{
	struct region *r;
	char *p;

	add_anonymous("anonymous", 0, REWRITTEN);
	add_anonymous("anonymous, written once", 0, 0);
	add_anonymous("anonymous, untouched", 0, ZERO);
	add_anonymous("noreserve", MAP_NORESERVE, REWRITTEN);
	add_anonymous("stack", MAP_STACK, REWRITTEN);

	r = add_anonymous("read-only", 0, 0);
	paint_now(r);
	require(!mprotect(r->address, r->bytes, PROT_READ));

	/* No access now, but the content is still there behind it. */
	p = map(REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	require(p != MAP_FAILED);
	hidden = (struct region){ .address = p, .bytes = REGION_BYTES,
				  .seed = 4711 };
	paint_now(&hidden);
	require(!mprotect(p, REGION_BYTES, PROT_NONE));
	add("no access", p, REGION_BYTES, FAULTS);

	/* Three mappings that were one: read-write, read-only, read-write. */
	r = add_anonymous("split, middle read-only", 0, 0);
	paint_now(r);
	require(!mprotect((char *)r->address + 4 * PAGE, 4 * PAGE, PROT_READ));

	/* A hole in the middle. */
	p = map(REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	require(p != MAP_FAILED && !munmap(p + 6 * PAGE, 4 * PAGE));
	add("before a hole", p, 6 * PAGE, REWRITTEN);
	add("a hole", p + 6 * PAGE, 4 * PAGE, FAULTS);
	add("behind a hole", p + 10 * PAGE, 6 * PAGE, REWRITTEN);

	/* Given back: reads as zero again. */
	r = add_anonymous("given back", 0, ZERO);
	memset(r->address, 0xaa, r->bytes);
	require(!madvise(r->address, r->bytes, MADV_DONTNEED));

	add_advised("dontfork", MADV_DONTFORK);
	add_advised("dontdump", MADV_DONTDUMP);
	add_advised("wipeonfork", MADV_WIPEONFORK);
	add_advised("sequential", MADV_SEQUENTIAL);
	add_advised("random", MADV_RANDOM);
	add_advised("nohugepage", MADV_NOHUGEPAGE);
	add_advised("mergeable", MADV_MERGEABLE);

	r = add_anonymous("locked", 0, REWRITTEN);
	require(!mlock(r->address, r->bytes));
	r = add_anonymous("locked on fault", 0, REWRITTEN);
	require(!mlock2(r->address, r->bytes, MLOCK_ONFAULT));

	r = add_anonymous("named", 0, REWRITTEN);
	if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, r->address, r->bytes,
		  "geist test") && errno != EINVAL)
		fail("PR_SET_VMA_ANON_NAME: %s", strerror(errno));

	p = map(REGION_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_GROWSDOWN);
	add("grows down", p, REGION_BYTES, REWRITTEN);

	p = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE,
		 MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);
	if (p != MAP_FAILED)
		add("droppable", p, REGION_BYTES, DROPPABLE);

	/* Guard pages between two parts that are used. */
	p = map(REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	require(p != MAP_FAILED);
	if (!madvise(p + 4 * PAGE, 2 * PAGE, MADV_GUARD_INSTALL)) {
		add("guard pages", p + 4 * PAGE, 2 * PAGE, FAULTS);
		add("before guard pages", p, 4 * PAGE, REWRITTEN);
		add("behind guard pages", p + 6 * PAGE, 10 * PAGE, REWRITTEN);
	}

	/* Split off a mapping with guard pages: the kernel remembers. */
	p = map(REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	require(p != MAP_FAILED);
	if (!madvise(p, PAGE, MADV_GUARD_INSTALL)) {
		require(!madvise(p, PAGE, MADV_GUARD_REMOVE));
		require(!madvise(p, 8 * PAGE, MADV_DONTDUMP));
		add("split off guard pages", p, REGION_BYTES, REWRITTEN);
	}

	/* A huge page, where the system gives one. */
	p = map(6 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	require(p != MAP_FAILED && !madvise(p, 6 << 20, MADV_HUGEPAGE));
	r = add("huge page", (void *)(((uintptr_t)p + (2 << 20) - 1) &
				      ~((2UL << 20) - 1)), 2 << 20, 0);
	paint_now(r);

	/* In swap, where there is one. */
	r = add_anonymous("paged out", 0, 0);
	paint_now(r);
	madvise(r->address, r->bytes, MADV_PAGEOUT);
}

static int make_file(const char *directory, const char *name, int seed)
{
	static uint64_t words[REGION_BYTES / 8];
	char path[400];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		fail("%s: %s", path, strerror(errno));
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = mix(mix((uint64_t)seed) + i);
	require(write(fd, words, sizeof(words)) == sizeof(words));
	return fd;
}

static void add_file_kinds(const char *directory)
{
	struct region *r;
	char path[400];
	char *p;
	int fd;

	/* The file has the pattern of the region that is made next. */
	fd = make_file(directory, "private", (int)regions_count + 1);
	p = mmap(NULL, REGION_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
	add("file, private, read-only", p, REGION_BYTES, PAINTED);
	p = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	add("file, private, written", p, REGION_BYTES, REWRITTEN);
	/* One page of it is the process's own, the others the file's. */
	p = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	require(p != MAP_FAILED);
	r = add("file, private, first page written", p, PAGE, REWRITTEN);
	r->seed = 99;
	/* As the dynamic linker leaves relocated constants. */
	p = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
		 PAGE);
	r = add("file, private, written, now read-only", p, 4 * PAGE, 0);
	paint_now(r);
	require(!mprotect(p, 4 * PAGE, PROT_READ));
	close(fd);

	fd = make_file(directory, "shared", (int)regions_count + 1);
	p = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	add("file, shared", p, REGION_BYTES, 0);
	/* Not rewritten each round: the file goes on when the process is gone. */
	p = mmap(NULL, REGION_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	regions_made[regions_count - 1].alias = p;
	close(fd);

	snprintf(path, sizeof(path), "%s/readonly", directory);
	close(make_file(directory, "readonly", (int)regions_count + 1));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	require(fd >= 0);
	p = mmap(NULL, REGION_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	add("file, shared, opened read-only", p, REGION_BYTES, PAINTED);
	close(fd);
}

static void add_memory_files(void)
{
	struct region *r;
	char *p;
	int fd;

	p = map(REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED);
	add("shared anonymous", p, REGION_BYTES, REWRITTEN);
	p = map(REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED);
	add("shared anonymous, untouched", p, REGION_BYTES, ZERO);

	/* One memfd, mapped twice, and still open. */
	fd = memfd_create("two mappings", 0);
	require(fd >= 0 && !ftruncate(fd, REGION_BYTES));
	p = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	r = add("memfd, shared", p, REGION_BYTES, REWRITTEN);
	r->alias = mmap(NULL, REGION_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	require(r->alias != MAP_FAILED);

	/* A memfd of which only the middle is mapped. */
	fd = memfd_create("partly mapped", MFD_CLOEXEC);
	require(fd >= 0 && !ftruncate(fd, 3 * REGION_BYTES));
	p = mmap(NULL, 3 * REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		 0);
	require(p != MAP_FAILED);
	partly_memfd = fd;
	for (size_t i = 0; i < 3 * REGION_BYTES / 8; i++)
		((uint64_t *)p)[i] = mix(555 + i);
	require(!munmap(p, 3 * REGION_BYTES));
	p = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		 (off_t)REGION_BYTES);
	r = add("memfd, partly mapped", p, REGION_BYTES, REWRITTEN);

	/* Sealed and mapped privately, the descriptor closed. */
	fd = memfd_create("sealed", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	require(fd >= 0 && !ftruncate(fd, REGION_BYTES));
	require(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	p = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	add("memfd, sealed, private", p, REGION_BYTES, REWRITTEN);
	sealed_memfd = fd;
}

static void check_memfds(void)
{
	static uint64_t words[REGION_BYTES / 8];

	for (size_t part = 0; part < 3; part += 2) {
		size_t first = part * REGION_BYTES / 8;

		require(pread(partly_memfd, words, sizeof(words),
			      (off_t)(part * REGION_BYTES)) == sizeof(words));
		for (size_t i = 0; i < ARRAY_SIZE(words); i++)
			if (words[i] != mix(555 + first + i))
				fail("memfd, not mapped part: word %zu is wrong",
				     first + i);
	}
	if (fcntl(sealed_memfd, F_GET_SEALS) != (F_SEAL_SHRINK | F_SEAL_GROW))
		fail("memfd: seals are %d", fcntl(sealed_memfd, F_GET_SEALS));
}

/* The heap through brk(2), larger than what malloc(3) takes from it. */
static void add_heap(void)
{
	size_t bytes = 4 << 20;
	char *p = sbrk((intptr_t)bytes);

	require(p != (char *)-1);
	p = (char *)(((uintptr_t)p + PAGE - 1) & ~(PAGE - 1));
	add("heap", p, bytes - PAGE, 0);
}

static size_t make_regions(const char *directory, struct region **regions)
{
	add_anonymous_kinds();
	add_file_kinds(directory);
	add_memory_files();
	add_heap();
	*regions = regions_made;
	return regions_count;
}

/* What can only be looked at from elsewhere: behind PROT_NONE, in no mapping. */
static void check_hidden(void)
{
	const uint64_t *words = hidden.address;

	require(!mprotect(hidden.address, hidden.bytes, PROT_READ));
	for (size_t i = 0; i < hidden.bytes / sizeof(*words); i++)
		if (words[i] != mix(hidden.seed + i))
			fail("behind no access: %p is wrong",
			     (const void *)&words[i]);
	check_memfds();
}

#endif /* GEIST_TEST_MAPPINGS_H */
