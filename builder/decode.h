/*
 * decode.h - one x86-64 instruction, as far as the rewriter needs to know it.
 *
 * A thin layer over Zydis, which is loaded with dlopen() on first use, so that verbs which decode
 * nothing do not pay for it.
 */
#ifndef JUNCTION_BUILDER_DECODE_H
#define JUNCTION_BUILDER_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum insn_kind {
	INSN_PLAIN,   /* control goes to the next instruction */
	INSN_SYSCALL, /* exactly the two bytes 0f 05 */
	INSN_JMP,     /* direct, unconditional */
	INSN_JCC,     /* direct, conditional; also loop, jrcxz and xbegin (then pinned) */
	INSN_CALL,    /* direct */
	INSN_CALL_IND,
	INSN_JMP_IND,
	INSN_RET,
	INSN_STOP, /* hlt, ud2, int3 and the like: control does not pass */
	INSN_ODD,  /* privileged, far, or a software interrupt: rare in compiled code */
};

struct insn {
	uint8_t kind;		   /* enum insn_kind */
	uint8_t len;		   /* bytes, 1..15 */
	bool pinned;		   /* must not be executed at another address */
	uint8_t rip_off;	   /* offset of the disp32 of a RIP-relative operand; 0: none */
	uint8_t disp_off;	   /* offset of an absolute or register-based disp32; 0: none */
	uint8_t imm_off, imm_size; /* immediate operand, bytes; size 0: none */
	uint8_t modrm_off;	   /* 0: none */
	bool lea;
	bool by_register; /* INSN_JMP_IND: to an address in a register, not in memory */
	int32_t disp;	  /* value at rip_off or disp_off */
	int64_t rel;	  /* branches: target minus address of the next instruction */
	int64_t imm;
};

/* Load the decoder. 0 or -ENOENT. Thread-safe. */
int decode_init(void);

/* Decode the instruction at p, reading at most `avail` bytes. 0, or -1 if there is no valid one. */
int decode_insn(const uint8_t *p, size_t avail, struct insn *in);

#endif
