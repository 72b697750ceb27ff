// SPDX-License-Identifier: GPL-2.0
/*
 * A program for linking in different ways (dynamically, statically, statically
 * and position-independently): computes for a while, with thread-local
 * variables, indirect functions of the C library (memcpy, strlen: chosen at
 * start by the CPU), the vDSO's clock and standard I/O, and prints a digest.
 *
 * It also says who it is: OUT.who has its user and group IDs, groups and
 * capabilities, which it compares with those at the start every round. With
 * --uid and --gid it becomes that user first, with two further groups.
 */
#include "common.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/syscall.h>

static __thread uint64_t local = 5;
static __thread uint64_t local_zero;

struct identity {
	uid_t uid[3];
	gid_t gid[3];
	int count;
	gid_t groups[64];
	struct __user_cap_data_struct caps[2];
};

static void read_identity(struct identity *who)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};

	memset(who, 0, sizeof(*who));
	require(!getresuid(&who->uid[0], &who->uid[1], &who->uid[2]));
	require(!getresgid(&who->gid[0], &who->gid[1], &who->gid[2]));
	who->count = getgroups(64, who->groups);
	require(who->count >= 0);
	require(!syscall(SYS_capget, &header, who->caps));
}

int main(int argc, char **argv)
{
	uint64_t rounds = 60, tick_ms = 10, uid = 0, gid = 0, digest = 0;
	const struct number_option options[] = { { "rounds", &rounds },
						 { "tick-ms", &tick_ms },
						 { "uid", &uid },
						 { "gid", &gid } };
	static struct identity before, now;
	static char a[8192], b[8192];
	uint64_t last = 0;
	char *line = NULL;
	size_t size = 0;
	FILE *memory;

	parse_options(argc, argv, options, ARRAY_SIZE(options));
	if (uid) {
		gid_t groups[] = { (gid_t)gid + 10, (gid_t)gid + 20 };

		require(!setgroups(2, groups));
		require(!setresgid((gid_t)gid, (gid_t)gid, (gid_t)gid));
		require(!setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid));
	}
	read_identity(&before);
	ready();
	for (uint64_t round = 0; round < rounds; round++) {
		hold(round, rounds);
		uint64_t clock = now_ns(CLOCK_MONOTONIC);

		require(clock > last);
		last = clock;
		local = mix(local ^ round);
		require(local_zero == round);
		local_zero++;
		for (size_t i = 0; i < sizeof(a) - 1; i++)
			a[i] = (char)('a' + mix(local + i) % 26);
		memcpy(b, a, sizeof(a));
		require(!memcmp(a, b, sizeof(a)) && strlen(b) == sizeof(a) - 1);
		memory = open_memstream(&line, &size);
		require(memory);
		fprintf(memory, "%llu %.20s %.6f", (unsigned long long)round, b,
			(double)round / 7);
		require(!fclose(memory));
		for (size_t i = 0; i < size; i++)
			digest = mix(digest ^ (unsigned char)line[i]);
		free(line);
		read_identity(&now);
		if (memcmp(&before, &now, sizeof(now)))
			fail("round %llu: user %d, group %d, %d groups",
			     (unsigned long long)round, (int)now.uid[1],
			     (int)now.gid[1], now.count);
		if (round % 5 == 0)
			put_progress(round);
		sleep_ms(tick_ms);
	}
	succeed("statics, uid %d, gid %d, %d groups, digest %016llx",
		(int)now.uid[1], (int)now.gid[1], now.count,
		(unsigned long long)digest);
}
