/*
 * xstate.c - saving and loading vector state.
 *
 * Saving is XSAVEOPT, which leaves out what is in its initial state. Loading by XRSTOR costs 100 ns on
 * current CPUs even then, so the common case is done by hand: if neither the image nor the registers hold
 * anything but SSE, AVX and AVX-512 state, each component is loaded, or zeroed if the registers may hold
 * something of another uthread. kthread.regs_bv says what they hold; it is known only from a switch
 * away until the next return to user mode.
 */
#include "libos/sched/xstate.h"

#include "libos/lib/string.h"

#define X87 (1ull << 0)
#define SSE (1ull << 1)
#define AVX (1ull << 2)
#define OPMASK (1ull << 5)
#define ZMM_HI256 (1ull << 6)
#define HI16_ZMM (1ull << 7)
#define AVX512 (OPMASK | ZMM_HI256 | HI16_ZMM)

u32 xsave_size;
u64 xsave_mask;
static bool have_xsaveopt;
static u64 by_hand; /* components that need no XRSTOR; 0: none */
static u32 off_avx, off_mask, off_zmm, off_hi16;

/* entry/xstate.S */
void xstate_load_sse(const u8 *area);
void xstate_load_avx(const u8 *area, const u8 *upper);
void xstate_load_zmm(const u8 *area, const u8 *upper, const u8 *high);
void xstate_zero_low(void);
void xstate_zero_upper(void);
void xstate_load_hi16(const u8 *p);
void xstate_zero_hi16(void);
void xstate_load_mask(const u8 *p);
void xstate_zero_mask(void);

static void cpuid(u32 leaf, u32 sub, u32 *a, u32 *b, u32 *c, u32 *d)
{
	__asm__ volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(sub));
}

/* Each cpuid is an exit to the hypervisor, if there is one, of several microseconds: ask once. */
void xstate_init(void)
{
	u32 a, b, c, d, lo, hi, off[64] = { 0 };

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	/* AMX tile data needs a permission that only the host can give: leave it out. */
	xsave_mask = ((u64)hi << 32 | lo) & ~(3ull << 17);
	xsave_size = 576;
	for (u32 i = 2; i < 63; i++) {
		if (!(xsave_mask >> i & 1))
			continue;
		cpuid(0xd, i, &a, &off[i], &c, &d);
		xsave_size = max(xsave_size, a + off[i]);
	}
	cpuid(0xd, 1, &a, &b, &c, &d);
	have_xsaveopt = a & 1;

	if (!(xsave_mask & AVX))
		return;
	by_hand = SSE | AVX;
	off_avx = off[2];
	if ((xsave_mask & AVX512) != AVX512)
		return;
	cpuid(7, 0, &a, &b, &c, &d);
	if (b >> 17 & 1 /* DQ */ && b >> 30 & 1 /* BW */) {
		by_hand |= AVX512;
		off_mask = off[5];
		off_zmm = off[6];
		off_hi16 = off[7];
	}
}

void xstate_save(u8 *area)
{
	u32 lo = (u32)xsave_mask, hi = xsave_mask >> 32;

	if (have_xsaveopt)
		__asm__ volatile("xsaveopt64 (%0)" : : "r"(area), "a"(lo), "d"(hi) : "memory");
	else
		__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(lo), "d"(hi) : "memory");
}

static void load_by_hand(const u8 *xs, u64 bv, u64 old)
{
	if (bv & ZMM_HI256) {
		/* an image without the AVX component has zeros there, but need not have written them */
		xstate_load_zmm(xs, xs + off_avx, xs + off_zmm);
	} else if (bv & AVX) {
		xstate_load_avx(xs, xs + off_avx);
	} else if (bv & SSE) {
		if (old & (AVX | ZMM_HI256))
			xstate_zero_upper();
		xstate_load_sse(xs);
	} else {
		if (old & (SSE | AVX | ZMM_HI256))
			xstate_zero_low();
		__asm__ volatile("ldmxcsr %0" : : "m"(*(const u32 *)(xs + 24)));
	}
	if (bv & HI16_ZMM)
		xstate_load_hi16(xs + off_hi16);
	else if (old & HI16_ZMM)
		xstate_zero_hi16();
	if (bv & OPMASK)
		xstate_load_mask(xs + off_mask);
	else if (old & OPMASK)
		xstate_zero_mask();
}

void uthread_restore_xstate(struct uthread *ut)
{
	struct kthread *kt = this_kthread();
	u64 bv = xstate_bv(ut->xsave), old = kt->regs_bv;
	u32 lo = (u32)xsave_mask, hi = xsave_mask >> 32;

	kt->regs_bv = XSTATE_UNKNOWN;
	/* A component above one that is in its initial state would need parts that the image does not have. */
	if (likely(!((bv | old) & ~by_hand) && (!(bv & AVX) || bv & SSE) &&
		   (!(bv & ZMM_HI256) || (bv & (SSE | AVX)) == (SSE | AVX)))) {
		load_by_hand(ut->xsave, bv, old);
		return;
	}
	__asm__ volatile("xrstor64 (%0)" : : "r"(ut->xsave), "a"(lo), "d"(hi) : "memory");
}

void uthread_save_xstate(struct uthread *ut)
{
	if (!(ut->work & UT_WORK_XRSTOR))
		xstate_save(ut->xsave);
}

void uthread_init_xstate(u8 *area)
{
	memset(area, 0, xsave_size);
	*(u16 *)area = 0x37f; /* FCW */
	*(u32 *)(area + 24) = 0x1f80; /* MXCSR: loaded even for a component in its initial state */
}
