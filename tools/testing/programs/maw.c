// SPDX-License-Identifier: GPL-2.0
/*
 * MallocAndWrite: allocates memory, fills it with seeded random values, then
 * writes single random places, forever or for a number of rounds.
 *
 * Beside the memory it keeps a digest: the sum over all places of a hash of
 * place and value, brought up to date at every write and never computed from
 * the memory. So it can tell at any time whether its memory is right: when a
 * single word is lost, stale or moved, the sum over the memory differs from
 * the digest for ever after.
 *
 * SIGUSR1 makes it check all memory and write OUT.verified, SIGUSR2 fork and
 * write OUT.forked: how long fork() took, in microseconds. OUT.progress is
 * written every --report rounds. The digest at the end depends on the options
 * only, so that it can be compared with that of an undisturbed run.
 */
#include "common.h"

#include <sys/wait.h>

static uint64_t megabytes = 32;
static uint64_t rounds;
static uint64_t writes_per_tick = 16;
static uint64_t tick_ms = 10;
static uint64_t seed = 1;
static uint64_t report = 25;

/* Everything that the loop keeps; held twice, to see a lost page of it too. */
struct state {
	uint64_t round;
	uint64_t digest;
	uint64_t rng;
};

static struct state state;
static struct state shadow;
static volatile sig_atomic_t asked, asked_to_fork;

static void on_signal(int signal)
{
	if (signal == SIGUSR1)
		asked = 1;
	else
		asked_to_fork = 1;
}

static uint64_t word_hash(uint64_t place, uint64_t value)
{
	return mix(mix(place) ^ value);
}

static void verify(const uint64_t *memory, uint64_t words)
{
	uint64_t sum = 0;

	if (memcmp(&state, &shadow, sizeof(state)))
		fail("round %llu: the two copies of the state differ",
		     (unsigned long long)state.round);
	for (uint64_t i = 0; i < words; i++)
		sum += word_hash(i, memory[i]);
	if (sum != state.digest)
		fail("round %llu: memory has %016llx, the digest is %016llx",
		     (unsigned long long)state.round, (unsigned long long)sum,
		     (unsigned long long)state.digest);
}

/* Verifies when it was asked to. */
static void answer(const uint64_t *memory, uint64_t words)
{
	if (!asked)
		return;
	asked = 0;
	verify(memory, words);
	put_beside("verified", "round %llu digest %016llx\n",
		   (unsigned long long)state.round,
		   (unsigned long long)state.digest);
}

/* Has a child for a moment when it was asked to. */
static void fork_if_asked(void)
{
	uint64_t begun, took;
	int pid;

	if (!asked_to_fork)
		return;
	asked_to_fork = 0;
	begun = now_ns(CLOCK_MONOTONIC);
	pid = fork();
	if (!pid)
		_exit(0);
	took = now_ns(CLOCK_MONOTONIC) - begun;
	require(pid > 0 && waitpid(pid, NULL, 0) == pid);
	put_beside("forked", "%llu\n", (unsigned long long)took / 1000);
}

int main(int argc, char **argv)
{
	const struct number_option options[] = {
		{ "mb", &megabytes },		   { "rounds", &rounds },
		{ "writes-per-tick", &writes_per_tick }, { "tick-ms", &tick_ms },
		{ "seed", &seed },		   { "report", &report },
	};
	uint64_t *memory;
	uint64_t words;

	parse_options(argc, argv, options, ARRAY_SIZE(options));
	if (!megabytes || !report) {
		fprintf(stderr, "maw: --mb and --report are at least 1\n");
		return 2;
	}
	words = (megabytes << 20) / sizeof(*memory);
	memory = malloc(words * sizeof(*memory));
	require(memory);
	state.rng = mix(seed);
	for (uint64_t i = 0; i < words; i++) {
		uint64_t value = rng_next(&state.rng);

		memory[i] = value;
		state.digest += word_hash(i, value);
	}
	shadow = state;

	struct sigaction action = { .sa_handler = on_signal,
				    .sa_flags = SA_RESTART };
	require(!sigaction(SIGUSR1, &action, NULL) &&
		!sigaction(SIGUSR2, &action, NULL));
	ready();

	while (!rounds || state.round < rounds) {
		while (held(state.round, rounds)) {
			answer(memory, words);
			sleep_ms(3);
		}
		for (uint64_t w = 0; w < writes_per_tick; w++) {
			uint64_t place = rng_next(&state.rng) % words;
			uint64_t value = rng_next(&state.rng);

			state.digest -= word_hash(place, memory[place]);
			state.digest += word_hash(place, value);
			memory[place] = value;
		}
		state.round++;
		shadow = state;
		answer(memory, words);
		fork_if_asked();
		if (state.round % report == 0)
			put_progress(state.round);
		if (tick_ms)
			sleep_ms(tick_ms);
	}
	verify(memory, words);
	succeed("maw %llu MB, %llu rounds, digest %016llx",
		(unsigned long long)megabytes, (unsigned long long)state.round,
		(unsigned long long)state.digest);
}
