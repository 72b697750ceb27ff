// SPDX-License-Identifier: GPL-2.0
/*
 * Keeps known values in every register, in a long loop that touches no memory.
 *
 * Every loop loads new seeded values into the 16 general registers (rsp too),
 * the flags, fs and gs base, the x87 stack with its control word, MXCSR, PKRU
 * and the vector registers (SSE, AVX, AVX-512 with its masks: what the CPU
 * has), spins on rcx with instructions that change no flag, then stores all of
 * it and compares. Whoever is checkpointed here is checkpointed in the spin.
 */
#include "common.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

/* CF PF AF ZF SF DF OF AC: what a program can set and a debugger restores. */
#define FLAGS_MASK 0x40cd5ULL
#define FLAGS_ALWAYS 0x202ULL

enum { GPRS = 16, RSP = 4, RCX = 1 };

struct registers {
	uint64_t gpr[GPRS];	/* rax rcx rdx rbx rsp rbp rsi rdi r8-r15 */
	uint64_t flags;
	uint64_t fs_base;
	uint64_t gs_base;
	uint32_t mxcsr;
	uint32_t pkru;
	uint16_t x87_control;
	uint16_t x87_status;
	uint8_t pad[4];
	uint64_t mask[8];
	uint8_t x87[8][16];	/* ten bytes each */
	uint8_t vector[32][64] __attribute__((aligned(64)));
} __attribute__((aligned(64)));

_Static_assert(offsetof(struct registers, mask) == 168, "used in the assembly");
_Static_assert(offsetof(struct registers, x87) == 232, "used in the assembly");
_Static_assert(offsetof(struct registers, vector) == 384, "used in the assembly");

/* The assembly names these. */
struct registers regs_in, regs_out;
uint64_t regs_stack, regs_fs, regs_level, regs_has_bases, regs_has_pkru;

void registers_spin(void);

asm(".pushsection .text\n"
	".globl registers_spin\n"
	".type registers_spin, @function\n"
	".set FLAGS, 128\n .set FS, 136\n .set GS, 144\n .set MXCSR, 152\n"
	".set PKRU, 156\n .set FCW, 160\n .set FSW, 162\n"
	".set MASKS, 168\n .set X87, 232\n .set VECTOR, 384\n"
	/* instruction, register name, register numbers, base of the slot, size */
	".macro each_load insn, reg, base, size, numbers:vararg\n"
	"  .irp n, \\numbers\n"
	"    \\insn regs_in+\\base+\\size*\\n(%rip), %\\reg\\n\n"
	"  .endr\n"
	".endm\n"
	".macro each_store insn, reg, base, size, numbers:vararg\n"
	"  .irp n, \\numbers\n"
	"    \\insn %\\reg\\n, regs_out+\\base+\\size*\\n(%rip)\n"
	"  .endr\n"
	".endm\n"
	".macro named_loads numbers:vararg\n"
	"  .irp r, \\numbers\n"
	"    mov regs_in+gpr_\\r(%rip), %\\r\n"
	"  .endr\n"
	".endm\n"
	".macro named_stores numbers:vararg\n"
	"  .irp r, \\numbers\n"
	"    mov %\\r, regs_out+gpr_\\r(%rip)\n"
	"  .endr\n"
	".endm\n"
	".set gpr_rax, 0\n .set gpr_rcx, 8\n .set gpr_rdx, 16\n"
	".set gpr_rbx, 24\n .set gpr_rsp, 32\n .set gpr_rbp, 40\n"
	".set gpr_rsi, 48\n .set gpr_rdi, 56\n .set gpr_r8, 64\n"
	".set gpr_r9, 72\n .set gpr_r10, 80\n .set gpr_r11, 88\n"
	".set gpr_r12, 96\n .set gpr_r13, 104\n .set gpr_r14, 112\n"
	".set gpr_r15, 120\n"
	"registers_spin:\n"
	"  push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
	"  pushfq\n"
	"  mov %rsp, regs_stack(%rip)\n"
	/* vector registers */
	"  cmpq $2, regs_level(%rip)\n"
	"  je 12f\n"
	"  cmpq $1, regs_level(%rip)\n"
	"  je 11f\n"
	"  each_load movups, xmm, VECTOR, 64, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"  jmp 13f\n"
	"11: each_load vmovups, ymm, VECTOR, 64, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"  jmp 13f\n"
	"12: each_load vmovups, zmm, VECTOR, 64, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,"
	"16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
	"  each_load kmovq, k, MASKS, 8, 0,1,2,3,4,5,6,7\n"
	"13:\n"
	/* x87, from the bottom of its stack */
	"  fninit\n"
	"  fldcw regs_in+FCW(%rip)\n"
	"  .irp n, 7,6,5,4,3,2,1,0\n"
	"    fldt regs_in+X87+16*\\n(%rip)\n"
	"  .endr\n"
	"  ldmxcsr regs_in+MXCSR(%rip)\n"
	"  cmpq $0, regs_has_pkru(%rip)\n"
	"  je 14f\n"
	"  xor %ecx, %ecx\n xor %edx, %edx\n"
	"  mov regs_in+PKRU(%rip), %eax\n"
	"  wrpkru\n"
	"14:\n"
	"  cmpq $0, regs_has_bases(%rip)\n"
	"  je 15f\n"
	"  rdfsbase %rax\n"
	"  mov %rax, regs_fs(%rip)\n"
	"  mov regs_in+FS(%rip), %rax\n"
	"  wrfsbase %rax\n"
	"  mov regs_in+GS(%rip), %rax\n"
	"  wrgsbase %rax\n"
	"15:\n"
	"  pushq regs_in+FLAGS(%rip)\n"
	"  popfq\n"
	"  named_loads rax,rcx,rdx,rbx,rsp,rbp,rsi,rdi,r8,r9,r10,r11,r12,r13,r14,r15\n"
	/* the spin: none of these instructions changes a flag */
	"16: jrcxz 17f\n"
	"  lea -1(%rcx), %rcx\n"
	"  jmp 16b\n"
	"17:\n"
	"  named_stores rax,rcx,rdx,rbx,rsp,rbp,rsi,rdi,r8,r9,r10,r11,r12,r13,r14,r15\n"
	"  mov regs_stack(%rip), %rsp\n"
	"  pushfq\n"
	"  popq regs_out+FLAGS(%rip)\n"
	"  pushq (%rsp)\n"
	"  popfq\n"
	"  cmpq $0, regs_has_bases(%rip)\n"
	"  je 18f\n"
	"  rdfsbase %rax\n"
	"  mov %rax, regs_out+FS(%rip)\n"
	"  rdgsbase %rax\n"
	"  mov %rax, regs_out+GS(%rip)\n"
	"  mov regs_fs(%rip), %rax\n"
	"  wrfsbase %rax\n"
	"18:\n"
	"  cmpq $0, regs_has_pkru(%rip)\n"
	"  je 19f\n"
	"  xor %ecx, %ecx\n"
	"  rdpkru\n"
	"  mov %eax, regs_out+PKRU(%rip)\n"
	"19:\n"
	"  stmxcsr regs_out+MXCSR(%rip)\n"
	"  fnstcw regs_out+FCW(%rip)\n"
	"  fnstsw regs_out+FSW(%rip)\n"
	"  .irp n, 0,1,2,3,4,5,6,7\n"
	"    fstpt regs_out+X87+16*\\n(%rip)\n"
	"  .endr\n"
	"  fninit\n"
	"  movl $0x1f80, -8(%rsp)\n"
	"  ldmxcsr -8(%rsp)\n"
	"  cmpq $2, regs_level(%rip)\n"
	"  je 22f\n"
	"  cmpq $1, regs_level(%rip)\n"
	"  je 21f\n"
	"  each_store movups, xmm, VECTOR, 64, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"  jmp 23f\n"
	"21: each_store vmovups, ymm, VECTOR, 64, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"  vzeroupper\n"
	"  jmp 23f\n"
	"22: each_store vmovups, zmm, VECTOR, 64, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,"
	"16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
	"  each_store kmovq, k, MASKS, 8, 0,1,2,3,4,5,6,7\n"
	"  vzeroupper\n"
	"23:\n"
	"  popfq\n"
	"  pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
	"  ret\n"
	".size registers_spin, .-registers_spin\n"
	".popsection\n");

static const char *const level_names[] = { "sse", "avx", "avx512" };

/* What the CPU and the system have: 0 SSE, 1 AVX, 2 AVX-512 with 64-bit masks. */
static uint64_t vector_level(void)
{
	if (__builtin_cpu_supports("avx512f") &&
	    __builtin_cpu_supports("avx512bw"))
		return 2;
	return __builtin_cpu_supports("avx") ? 1 : 0;
}

static bool system_has_pkru(void)
{
	unsigned int a, b, c, d;

	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return false;
	return c & (1U << 4);	/* OSPKE */
}

static void fill(uint64_t *rng, uint64_t spin)
{
	memset(&regs_in, 0, sizeof(regs_in));
	for (int i = 0; i < GPRS; i++)
		regs_in.gpr[i] = rng_next(rng);
	regs_in.gpr[RCX] = spin;
	regs_in.flags = (rng_next(rng) & FLAGS_MASK) | FLAGS_ALWAYS;
	/* Bases are canonical user addresses; nothing is there. */
	regs_in.fs_base = rng_next(rng) & 0x00003ffffffff000ULL;
	regs_in.gs_base = rng_next(rng) & 0x00003ffffffff000ULL;
	/* All exceptions masked; rounding, flush and sticky flags vary. */
	regs_in.mxcsr = 0x1f80 | (rng_next(rng) & 0xe03f);
	regs_in.x87_control = 0x003f | (rng_next(rng) & 0x0f00);
	/* Key 0 stays usable: all memory has it. */
	regs_in.pkru = (uint32_t)rng_next(rng) & ~3U;
	for (int i = 0; i < 8; i++) {
		uint64_t mantissa = rng_next(rng) | 1ULL << 63;
		uint16_t exponent = 0x3f00 + (rng_next(rng) & 0xff);

		memcpy(regs_in.x87[i], &mantissa, 8);
		memcpy(regs_in.x87[i] + 8, &exponent, 2);
		regs_in.mask[i] = rng_next(rng);
	}
	for (int i = 0; i < 32; i++)
		for (int j = 0; j < 64; j += 8) {
			uint64_t value = rng_next(rng);

			memcpy(regs_in.vector[i] + j, &value, 8);
		}
}

static void same(uint64_t loop, const char *what, int number, const void *in,
		 const void *out, size_t size)
{
	uint64_t a = 0, b = 0;

	if (!memcmp(in, out, size))
		return;
	memcpy(&a, in, size < 8 ? size : 8);
	memcpy(&b, out, size < 8 ? size : 8);
	fail("loop %llu: %s %d was %016llx..., is %016llx...",
	     (unsigned long long)loop, what, number, (unsigned long long)a,
	     (unsigned long long)b);
}

static uint64_t compare(uint64_t loop)
{
	static const size_t widths[] = { 16, 32, 64 };
	uint64_t digest = 0, none = 0;

	for (int i = 0; i < GPRS; i++) {
		same(loop, "general register", i,
		     i == RCX ? &none : &regs_in.gpr[i], &regs_out.gpr[i], 8);
		digest = mix(digest ^ regs_out.gpr[i]);
	}
	regs_out.flags &= FLAGS_MASK | FLAGS_ALWAYS;
	same(loop, "flags", 0, &regs_in.flags, &regs_out.flags, 8);
	if (regs_has_bases) {
		same(loop, "fs base", 0, &regs_in.fs_base, &regs_out.fs_base, 8);
		same(loop, "gs base", 0, &regs_in.gs_base, &regs_out.gs_base, 8);
	}
	if (regs_has_pkru)
		same(loop, "pkru", 0, &regs_in.pkru, &regs_out.pkru, 4);
	same(loop, "mxcsr", 0, &regs_in.mxcsr, &regs_out.mxcsr, 4);
	regs_in.x87_control |= 0x40;	/* reads as set */
	regs_out.x87_control |= 0x40;
	same(loop, "x87 control", 0, &regs_in.x87_control,
	     &regs_out.x87_control, 2);
	if (regs_out.x87_status & 0x3800)
		fail("loop %llu: x87 top of stack is %d, not 0",
		     (unsigned long long)loop, (regs_out.x87_status >> 11) & 7);
	for (int i = 0; i < 8; i++) {
		same(loop, "x87 register", i, regs_in.x87[i], regs_out.x87[i],
		     10);
		if (regs_level == 2)
			same(loop, "mask register", i, &regs_in.mask[i],
			     &regs_out.mask[i], 8);
	}
	for (int i = 0; i < (regs_level == 2 ? 32 : 16); i++) {
		same(loop, "vector register", i, regs_in.vector[i],
		     regs_out.vector[i], widths[regs_level]);
		for (size_t j = 0; j < widths[regs_level]; j += 8) {
			uint64_t value;

			memcpy(&value, regs_out.vector[i] + j, 8);
			digest = mix(digest ^ value);
		}
	}
	return digest;
}

int main(int argc, char **argv)
{
	uint64_t loops = 100, spin = 4000000, seed = 1, digest = 0;
	const struct number_option options[] = { { "loops", &loops },
						 { "spin", &spin },
						 { "seed", &seed } };

	parse_options(argc, argv, options, ARRAY_SIZE(options));
	regs_level = vector_level();
	regs_has_bases = (getauxval(AT_HWCAP2) >> 1) & 1;
	regs_has_pkru = system_has_pkru();
	ready();
	for (uint64_t loop = 1; loop <= loops; loop++) {
		hold(loop, loops);
		fill(&seed, spin);
		memset(&regs_out, 0xee, sizeof(regs_out));
		registers_spin();
		digest = mix(digest ^ compare(loop));
		if (loop % 5 == 0)
			put_progress(loop);
	}
	succeed("registers %s%s%s, %llu loops, digest %016llx",
		level_names[regs_level], regs_has_bases ? " fsgs" : "",
		regs_has_pkru ? " pkru" : "", (unsigned long long)loops,
		(unsigned long long)digest);
}
