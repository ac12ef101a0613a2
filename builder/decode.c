/*
 * decode.c - the Zydis decoder, loaded lazily, and what the rewriter wants of an instruction.
 *
 * Zydis runs in its minimal mode (lengths, opcodes, raw parts), which is several times faster than
 * the full one; the few classes of instructions that matter are told by opcode. Opcode facts: Intel
 * SDM volume 2, appendix A.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "builder/decode.h"

static ZydisDecoder decoder;
static __typeof__(&ZydisDecoderDecodeInstruction) zydis_decode;
static pthread_once_t decode_once = PTHREAD_ONCE_INIT;

static void load(void)
{
	__typeof__(&ZydisDecoderInit) init;
	__typeof__(&ZydisDecoderEnableMode) enable;
	__typeof__(&ZydisDecoderDecodeInstruction) decode;
	void *lib = dlopen("libZydis.so.4.0", RTLD_NOW | RTLD_LOCAL);

	if (!lib)
		return;
	init = (__typeof__(init))dlsym(lib, "ZydisDecoderInit");
	enable = (__typeof__(enable))dlsym(lib, "ZydisDecoderEnableMode");
	decode = (__typeof__(decode))dlsym(lib, "ZydisDecoderDecodeInstruction");
	if (!init || !enable || !decode)
		return;
	if (ZYAN_FAILED(init(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)))
		return;
	if (ZYAN_FAILED(enable(&decoder, ZYDIS_DECODER_MODE_MINIMAL, ZYAN_TRUE)))
		return;
	zydis_decode = decode;
}

int decode_init(void)
{
	pthread_once(&decode_once, load);
	return zydis_decode ? 0 : -ENOENT;
}

static void classify_one_byte(struct insn *in, uint8_t op, uint8_t modrm)
{
	uint8_t modrm_reg = modrm >> 3 & 7;

	switch (op) {
	case 0x70 ... 0x7f:
		in->kind = INSN_JCC;
		in->pinned = in->len != 2; /* an odd prefix */
		break;
	case 0xe0 ... 0xe3: /* loop, jrcxz: have no long form */
		in->kind = INSN_JCC;
		in->pinned = true;
		break;
	case 0xe8:
		in->kind = INSN_CALL;
		in->pinned = true;
		break;
	case 0xe9:
	case 0xeb:
		in->kind = INSN_JMP;
		in->pinned = in->len != (op == 0xe9 ? 5 : 2);
		break;
	case 0xc2:
	case 0xc3:
		in->kind = INSN_RET;
		break;
	case 0xcc:
	case 0xf4:
		in->kind = INSN_STOP;
		break;
	case 0xff:
		if (modrm_reg == 2) {
			in->kind = INSN_CALL_IND;
			in->pinned = true;
		} else if (modrm_reg == 4) {
			in->kind = INSN_JMP_IND;
			in->by_register = modrm >> 6 == 3;
		} else if (modrm_reg == 3 || modrm_reg == 5) {
			in->kind = INSN_ODD;
		}
		break;
	case 0xc7:
	case 0xc6:
		if (modrm_reg == 7) { /* xbegin, xabort */
			in->kind = INSN_JCC;
			in->pinned = true;
		}
		break;
	case 0x6c ... 0x6f: /* ins, outs */
	case 0xe4 ... 0xe7: /* in, out */
	case 0xec ... 0xef:
	case 0xfa: /* cli, sti */
	case 0xfb:
	case 0xca: /* far return, int n, iret */
	case 0xcb:
	case 0xcd:
	case 0xcf:
	case 0xf1:
		in->kind = INSN_ODD;
		break;
	case 0x8d:
		in->lea = true;
		break;
	}
}

static void classify_two_byte(struct insn *in, uint8_t op)
{
	switch (op) {
	case 0x05:
		in->kind = in->len == 2 ? INSN_SYSCALL : INSN_ODD;
		break;
	case 0x80 ... 0x8f:
		in->kind = INSN_JCC;
		in->pinned = in->len != 6;
		break;
	case 0x0b: /* ud2, ud1, ud0 */
	case 0xb9:
	case 0xff:
		in->kind = INSN_STOP;
		break;
	case 0x00: /* sldt ..., sgdt ..., clts, sysret, wbinvd, mov cr/dr, wrmsr, sysenter */
	case 0x06 ... 0x09:
	case 0x20 ... 0x23:
	case 0x30:
	case 0x32:
	case 0x34:
	case 0x35:
		in->kind = INSN_ODD;
		break;
	}
}

int decode_insn(const uint8_t *p, size_t avail, struct insn *in)
{
	ZydisDecodedInstruction z;
	const ZydisDecodedInstructionRaw *raw = &z.raw;
	int imm = -1;

	if (ZYAN_FAILED(zydis_decode(&decoder, NULL, p, avail, &z)))
		return -1;
	memset(in, 0, sizeof(*in));
	in->len = z.length;
	in->modrm_off = raw->modrm.offset;

	for (int i = 0; i < 2; i++) {
		if (!raw->imm[i].size)
			continue;
		if (raw->imm[i].is_relative) {
			in->rel = raw->imm[i].value.s;
		} else if (imm < 0 || raw->imm[i].size > raw->imm[imm].size) {
			imm = i;
		}
	}
	if (imm >= 0) {
		in->imm_off = raw->imm[imm].offset;
		in->imm_size = raw->imm[imm].size / 8;
		in->imm = raw->imm[imm].value.s;
	}
	if (raw->disp.size == 32) {
		in->disp = (int32_t)raw->disp.value;
		if (raw->modrm.offset && raw->modrm.mod == 0 && raw->modrm.rm == 5) {
			in->rip_off = raw->disp.offset;
			/* With an address-size prefix it is EIP-relative. */
			in->pinned = z.address_width != 64;
		} else {
			in->disp_off = raw->disp.offset;
		}
	}

	if (z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return 0;
	if (z.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT)
		classify_one_byte(in, z.opcode, raw->modrm.mod << 6 | raw->modrm.reg << 3);
	else if (z.opcode_map == ZYDIS_OPCODE_MAP_0F)
		classify_two_byte(in, z.opcode);
	/* endbr64: an indirect branch may have to find it where it was. */
	if (in->len == 4 && !memcmp(p, "\xf3\x0f\x1e\xfa", 4))
		in->pinned = true;
	return 0;
}
