// SPDX-License-Identifier: GPL-2.0
/*
 * Looks at the memory of a stopped process, page by page:
 *
 *   pages PID
 *
 * writes to its output two numbers of 64 bits for every page that is mapped,
 * ascending: its address, and a hash of its content. Zero is the hash of a page
 * of zeros; a page that cannot be read has one of its own.
 *
 * Left out are what the kernel changes by itself, and what no version holds:
 * its clock data (vvar), pages of droppable mappings, and the registered rseq
 * area, which counts as zeros.
 */
#include "common.h"

#include <sys/ptrace.h>
#include <sys/wait.h>

#define CHUNK 256UL
#define UNREADABLE 1ULL

struct page {
	uint64_t address, hash;
};

static struct page *pages;
static size_t count, room;
static unsigned char content[CHUNK * PAGE];
static uint64_t rseq_start, rseq_end;

static __attribute__((format(printf, 1, 2), noreturn)) void give_up(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* The letter of a process's state. */
static char state_of(int pid)
{
	char path[64], text[512], *end;
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY);
	length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (length <= 0)
		give_up("%s: %s", path, strerror(errno));
	close(fd);
	text[length] = 0;
	end = strrchr(text, ')');
	return end && end[1] ? end[2] : '?';
}

/* Where the kernel writes to the process at every return. Leaves it stopped. */
static void find_rseq(int pid)
{
	struct __ptrace_rseq_configuration rseq = { 0 };
	uint64_t length;
	int status;

	if (state_of(pid) != 'T')
		give_up("%d is in state %c, not stopped", pid, state_of(pid));
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL))
		give_up("PTRACE_SEIZE of %d: %s", pid, strerror(errno));
	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		give_up("%d did not stop for its debugger", pid);
	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, pid, sizeof(rseq), &rseq) < 0)
		give_up("PTRACE_GET_RSEQ_CONFIGURATION of %d: %s", pid, strerror(errno));
	if (ptrace(PTRACE_DETACH, pid, NULL, NULL))
		give_up("PTRACE_DETACH of %d: %s", pid, strerror(errno));
	/* It wakes up for a moment on the way from this stop to its own. */
	while (state_of(pid) != 'T')
		sleep_ms(1);
	if (!rseq.rseq_abi_pointer)
		return;
	length = rseq.rseq_abi_size < 32 ? 32 : rseq.rseq_abi_size;
	rseq_start = rseq.rseq_abi_pointer;
	rseq_end = rseq_start + length;
}

/* Each word changes it one to one: pages that differ in one word differ in it. */
static uint64_t hash_of(const unsigned char *page)
{
	uint64_t hash = 0, any = 0;

	for (size_t i = 0; i < PAGE; i += sizeof(uint64_t)) {
		uint64_t word;

		memcpy(&word, page + i, sizeof(word));
		any |= word;
		hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 29;
	}
	if (!any)
		return 0;
	return hash > UNREADABLE ? hash : hash + UNREADABLE + 1;
}

static void note(uint64_t address, uint64_t hash)
{
	if (count == room) {
		room = room ? 2 * room : 4096;
		pages = realloc(pages, room * sizeof(*pages));
		if (!pages)
			give_up("no memory for %zu pages", room);
	}
	pages[count++] = (struct page){ address, hash };
}

static void look_at_page(uint64_t address, unsigned char *page)
{
	for (uint64_t at = rseq_start; at < rseq_end; at++)
		if (at - address < PAGE)
			page[at - address] = 0;
	note(address, hash_of(page));
}

static void look_at(int memory, uint64_t start, uint64_t end)
{
	while (start < end) {
		uint64_t bytes = end - start < sizeof(content) ? end - start : sizeof(content);
		ssize_t got = pread(memory, content, bytes, (off_t)start);

		/* Up to the first page that cannot be read. */
		if (got < (ssize_t)PAGE) {
			note(start, UNREADABLE);
			start += PAGE;
			continue;
		}
		bytes = (uint64_t)got / PAGE * PAGE;
		for (uint64_t at = 0; at < bytes; at += PAGE)
			look_at_page(start + at, content + at);
		start += bytes;
	}
}

/* Every mapping of smaps: a line with its range and name, and further down its flags. */
static void look_at_all(int pid)
{
	char path[64], line[4096 + 128];
	unsigned long long start = 0, end = 0;
	bool wanted = false;
	FILE *smaps;
	int memory;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	memory = open(path, O_RDONLY);
	if (memory < 0)
		give_up("%s: %s", path, strerror(errno));
	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	smaps = fopen(path, "r");
	if (!smaps)
		give_up("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), smaps)) {
		unsigned long long first, behind;

		if (sscanf(line, "%llx-%llx %*4c ", &first, &behind) == 2) {
			start = first;
			end = behind;
			wanted = !strstr(line, " [vvar") && !strstr(line, " [vsyscall");
		} else if (!strncmp(line, "VmFlags:", 8)) {
			if (wanted && !strstr(line, " dp"))
				look_at(memory, start, end);
			wanted = false;
		}
	}
	if (ferror(smaps))
		give_up("%s: %s", path, strerror(errno));
}

int main(int argc, char **argv)
{
	int pid = argc == 2 ? atoi(argv[1]) : 0;

	if (pid <= 0) {
		fprintf(stderr, "usage: pages PID\n");
		return 2;
	}
	find_rseq(pid);
	look_at_all(pid);
	if (fwrite(pages, sizeof(*pages), count, stdout) != count || fflush(stdout))
		give_up("writing: %s", strerror(errno));
	return 0;
}
