// SPDX-License-Identifier: GPL-2.0
/*
 * Cases that went wrong for others, one a mode:
 *
 *   cases --out FILE MODE DIRECTORY
 *
 * rseq     the CPU number that the kernel keeps in the rseq area is right
 * section  a restartable sequence that was open at the checkpoint is aborted
 * brk      the heap goes on where it ended
 * closed   pages behind PROT_NONE keep their content
 * beyond   mappings that are longer than their files
 * reserved 16 TB of address space, of which little is populated
 *
 * DIRECTORY is on a real file system. A program that is set up waits for the file
 * DIRECTORY/go, looks whether everything is as it should be, and ends.
 */
#include "common.h"

#include <sched.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static const char *directory;

static const char *path_of(const char *name)
{
	static char path[500];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

/* Until whoever tests has made the file. */
static void wait_for_file(const char *name)
{
	while (access(path_of(name), F_OK))
		sleep_ms(3);
}

static void fill(uint64_t *page, uint64_t seed)
{
	for (size_t i = 0; i < PAGE / sizeof(*page); i++)
		page[i] = mix(seed + i);
}

static void compare(const uint64_t *page, uint64_t seed, const char *what)
{
	for (size_t i = 0; i < PAGE / sizeof(*page); i++)
		if (page[i] != mix(seed + i))
			fail("%s: word %zu of the page at %p is %016llx", what, i,
			     (const void *)page, (unsigned long long)page[i]);
}

static void *map(size_t bytes, int protection, int flags, int fd)
{
	void *at = mmap(NULL, bytes, protection, flags, fd, 0);

	require(at != MAP_FAILED);
	return at;
}

/* Writes the pages of a file from the first to the one before the last. */
static void append_pages(int fd, uint64_t first, uint64_t last, uint64_t seed)
{
	static uint64_t page[PAGE / sizeof(uint64_t)];

	for (uint64_t i = first; i < last; i++) {
		fill(page, seed + i * PAGE);
		require(write(fd, page, PAGE) == (ssize_t)PAGE);
	}
}

/* A new file of so many pages, open for reading and writing. */
static int file_of(const char *name, uint64_t pages, uint64_t seed)
{
	int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	require(fd >= 0);
	append_pages(fd, 0, pages, seed);
	return fd;
}

static volatile struct rseq *rseq_area(void)
{
	require(__rseq_size > 0);
	return (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/* Goes from CPU to CPU, and looks whether the area says so. */
static void do_rseq(void)
{
	volatile struct rseq *area = rseq_area();
	unsigned long cpus = (unsigned long)sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t end, rounds = 0;

	ready();
	wait_for_file("go");
	end = now_ns(CLOCK_MONOTONIC) + NS_PER_S;
	while (now_ns(CLOCK_MONOTONIC) < end || rounds < 2 * cpus) {
		unsigned int cpu = 1 << 20, wanted = (unsigned int)(rounds++ % cpus);
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(wanted, &set);
		require(!sched_setaffinity(0, sizeof(set), &set));
		require(!syscall(SYS_getcpu, &cpu, NULL, NULL));
		if (cpu != wanted || area->cpu_id != wanted || area->cpu_id_start != wanted)
			fail("round %llu: on CPU %u rseq says %u, getcpu %u",
			     (unsigned long long)rounds, wanted, area->cpu_id, cpu);
	}
	succeed("cases rseq");
}

/*
 * Stands in a restartable sequence, from label 1 to label 2, until *go is not zero. It is aborted
 * whenever the thread is interrupted, and begun again as long as *go is zero. Returns whether it
 * came to its end. The range of the sequence is at section_start and section_end.
 */
extern const char section_start[], section_end[];
static bool sequence(volatile struct rseq *area, const volatile char *go)
{
	uint64_t ended;

	asm volatile(".pushsection __rseq_cs, \"aw\"\n"
		     ".balign 32\n"
		     "3: .long 0, 0\n"
		     ".quad section_start, section_end - section_start, 4f\n"
		     ".popsection\n"
		     "5: leaq 3b(%%rip), %%rax\n"
		     "movq %%rax, %[cs]\n"
		     ".globl section_start, section_end\n"
		     "section_start:\n"
		     "1: cmpb $0, (%[go])\n"
		     "je 1b\n"
		     "section_end:\n"
		     "movl $1, %k[ended]\n"
		     "jmp 6f\n"
		     ".byte 0x0f, 0xb9, 0x3d\n" /* the signature, as an instruction */
		     ".long %c[signature]\n"
		     "4: movl $0, %k[ended]\n"
		     "cmpb $0, (%[go])\n"
		     "je 5b\n"
		     "6:\n"
		     : [ended] "=&r"(ended), [cs] "=m"(area->rseq_cs)
		     : [go] "r"(go), [signature] "i"(RSEQ_SIG)
		     : "rax", "memory", "cc");
	area->rseq_cs = 0;
	return ended;
}

static void do_section(void)
{
	volatile struct rseq *area = rseq_area();
	int fd = file_of("flag", 0, 0);
	const volatile char *go;

	require(!ftruncate(fd, PAGE));
	go = map(PAGE, PROT_READ, MAP_SHARED, fd);
	put_beside("section", "%lu %lu\n", (unsigned long)section_start,
		   (unsigned long)section_end);
	ready();
	/* Who tests sets the flag while the program is away. */
	succeed("cases section %s", sequence(area, go) ? "ended" : "aborted");
}

static void do_brk(void)
{
	char *before = sbrk(5 * PAGE + 100), *end;
	void *blocks[64];

	require(before != (void *)-1);
	memset(before, 0x5a, 5 * PAGE + 100);
	end = sbrk(0);
	put_beside("brk", "%p\n", (void *)end);
	ready();
	wait_for_file("go");
	if (sbrk(0) != end)
		fail("brk was %p, is %p", (void *)end, sbrk(0));
	for (size_t i = 0; i < 5 * PAGE + 100; i++)
		require(before[i] == 0x5a);
	require(sbrk(3 * PAGE) == end);
	memset(end, 0x3c, 3 * PAGE);
	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
		blocks[i] = malloc(20000);
		require(blocks[i]);
		memset(blocks[i], (int)i, 20000);
	}
	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
		require(((char *)blocks[i])[19999] == (char)i);
		free(blocks[i]);
	}
	succeed("cases brk");
}

static void do_closed(void)
{
	uint64_t *pages[] = {
		aligned_alloc(PAGE, PAGE),
		map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1),
		map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file_of("closed", 1, 99)),
	};

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		fill(pages[i], i);
	ready();
	wait_for_file("close");
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		fill(pages[i], 7 + i);
		require(!mprotect(pages[i], PAGE, PROT_NONE));
	}
	put_beside("closed", "\n");
	wait_for_file("go");
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		require(!mprotect(pages[i], PAGE, PROT_READ));
		compare(pages[i], 7 + i, "behind PROT_NONE");
	}
	/* What is given back goes to where it can be freed. */
	require(!mprotect(pages[0], PAGE, PROT_READ | PROT_WRITE));
	succeed("cases closed");
}

static sigjmp_buf fault;

static void on_fault(int signal)
{
	siglongjmp(fault, signal);
}

/* The signal in which a read ends, 0: none. */
static int signal_at(const volatile void *address)
{
	int signal = sigsetjmp(fault, 1);

	if (!signal)
		(void)*(const volatile char *)address;
	return signal;
}

static void do_beyond(void)
{
	enum { MAPPED = 16 };
	struct sigaction action = { .sa_handler = on_fault };
	int longer = file_of("longer", 1, 1000), cut = file_of("cut", 4, 2000);
	char *a = map(MAPPED * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, longer);
	char *b = map(MAPPED * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, cut);
	uint64_t *behind = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	require(!sigaction(SIGBUS, &action, NULL));
	fill((uint64_t *)a, 1);
	fill((uint64_t *)b, 2);
	fill((uint64_t *)(b + 3 * PAGE), 3);
	fill(behind, 4);
	require(!ftruncate(cut, PAGE));
	ready();
	wait_for_file("go");
	compare((uint64_t *)a, 1, "the page of the short file");
	compare((uint64_t *)b, 2, "the page of the file that was cut");
	compare(behind, 4, "the mapping behind them");
	for (size_t i = 1; i < MAPPED; i++) {
		require(signal_at(a + i * PAGE) == SIGBUS);
		require(signal_at(b + i * PAGE) == SIGBUS);
	}
	/* With the file the pages come. */
	append_pages(longer, 1, MAPPED, 1000);
	compare((uint64_t *)a, 1, "the written page");
	for (size_t i = 1; i < MAPPED; i++)
		compare((uint64_t *)(a + i * PAGE), 1000 + i * PAGE, "the longer file");
	succeed("cases beyond");
}

static uint64_t resident_pages(void)
{
	unsigned long long total, resident;
	FILE *file = fopen("/proc/self/statm", "r");

	require(file && fscanf(file, "%llu %llu", &total, &resident) == 2);
	fclose(file);
	return resident;
}

static void do_reserved(void)
{
	const size_t size = 16UL << 40, count = 100;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	char *large = map(size, PROT_READ | PROT_WRITE, flags, -1);
	char *closed = map(size, PROT_NONE, flags, -1);
	uint64_t before;

	for (size_t i = 0; i < count; i++) {
		/* Some together, most far apart. */
		size_t at = (mix(i / 4) + i % 4 * PAGE) % size & ~(PAGE - 1);

		fill((uint64_t *)(large + at), i);
		require(!mprotect(closed + at, PAGE, PROT_READ | PROT_WRITE));
		fill((uint64_t *)(closed + at), i + count);
	}
	before = resident_pages();
	ready();
	wait_for_file("go");
	require(resident_pages() < before + 500);
	for (size_t i = 0; i < count; i++) {
		size_t at = (mix(i / 4) + i % 4 * PAGE) % size & ~(PAGE - 1);

		compare((uint64_t *)(large + at), i, "16 TB");
		compare((uint64_t *)(closed + at), i + count, "16 TB without access");
	}
	succeed("cases reserved");
}

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = { { "rseq", do_rseq },     { "section", do_section }, { "brk", do_brk },
	      { "closed", do_closed }, { "beyond", do_beyond },   { "reserved", do_reserved } };

int main(int argc, char **argv)
{
	int first = parse_options(argc, argv, NULL, 0);

	if (first + 1 < argc) {
		directory = argv[first + 1];
		for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
			if (!strcmp(argv[first], modes[i].name))
				modes[i].run();
	}
	fprintf(stderr, "cases: no such mode, or no directory\n");
	return 2;
}
