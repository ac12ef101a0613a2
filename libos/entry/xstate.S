/*
 * xstate.S - loading vector registers one component at a time, from an XSAVE image in the standard format.
 *
 * XRSTOR costs about 100 ns whatever it loads; these cost what the loads cost. sched/xstate.c decides what
 * to call. They are the only vector instructions of the library OS, and run only where the registers are
 * about to be the application's.
 */
	.text

/* void xstate_load_sse(const u8 *area): xmm0-15 and MXCSR; the rest of each register becomes zero */
	.globl xstate_load_sse
	.hidden xstate_load_sse
xstate_load_sse:
	ldmxcsr	24(%rdi)
	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu	160+16*\i(%rdi), %xmm\i
	.endr
	ret

/* void xstate_load_avx(const u8 *area, const u8 *upper): ymm0-15 and MXCSR */
	.globl xstate_load_avx
	.hidden xstate_load_avx
xstate_load_avx:
	ldmxcsr	24(%rdi)
	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu	160+16*\i(%rdi), %xmm\i
	vinsertf128 $1, 16*\i(%rsi), %ymm\i, %ymm\i
	.endr
	ret

/* void xstate_load_zmm(const u8 *area, const u8 *upper, const u8 *high): zmm0-15 and MXCSR */
	.globl xstate_load_zmm
	.hidden xstate_load_zmm
xstate_load_zmm:
	ldmxcsr	24(%rdi)
	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu	160+16*\i(%rdi), %xmm\i
	vinsertf128 $1, 16*\i(%rsi), %ymm\i, %ymm\i
	vinsertf64x4 $1, 32*\i(%rdx), %zmm\i, %zmm\i
	.endr
	ret

/* void xstate_zero_upper(void): all but xmm0-15 of registers 0-15, and the CPU knows it */
	.globl xstate_zero_upper
	.hidden xstate_zero_upper
xstate_zero_upper:
	vzeroupper
	ret

/* void xstate_zero_low(void): registers 0-15 */
	.globl xstate_zero_low
	.hidden xstate_zero_low
xstate_zero_low:
	vzeroall
	ret

/* void xstate_load_hi16(const u8 *p): zmm16-31 */
	.globl xstate_load_hi16
	.hidden xstate_load_hi16
xstate_load_hi16:
	vmovdqu64 0(%rdi), %zmm16
	vmovdqu64 64(%rdi), %zmm17
	vmovdqu64 128(%rdi), %zmm18
	vmovdqu64 192(%rdi), %zmm19
	vmovdqu64 256(%rdi), %zmm20
	vmovdqu64 320(%rdi), %zmm21
	vmovdqu64 384(%rdi), %zmm22
	vmovdqu64 448(%rdi), %zmm23
	vmovdqu64 512(%rdi), %zmm24
	vmovdqu64 576(%rdi), %zmm25
	vmovdqu64 640(%rdi), %zmm26
	vmovdqu64 704(%rdi), %zmm27
	vmovdqu64 768(%rdi), %zmm28
	vmovdqu64 832(%rdi), %zmm29
	vmovdqu64 896(%rdi), %zmm30
	vmovdqu64 960(%rdi), %zmm31
	ret

	.globl xstate_zero_hi16
	.hidden xstate_zero_hi16
xstate_zero_hi16:
	.irp	i, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vpxord	%zmm\i, %zmm\i, %zmm\i
	.endr
	ret

/* void xstate_load_mask(const u8 *p): k0-7 */
	.globl xstate_load_mask
	.hidden xstate_load_mask
xstate_load_mask:
	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7
	kmovq	8*\i(%rdi), %k\i
	.endr
	ret

	.globl xstate_zero_mask
	.hidden xstate_zero_mask
xstate_zero_mask:
	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7
	kxorq	%k\i, %k\i, %k\i
	.endr
	ret

	.section .note.GNU-stack, "", @progbits
