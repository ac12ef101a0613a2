/*
 * rewrite_interp.c - put the .bss of a program interpreter into its file.
 *
 * Linux before 6.7 maps the .bss of an interpreter (PT_INTERP; load_elf_interp() in
 * fs/binfmt_elf.c) only behind the last byte that any segment has in the file. With a segment
 * appended behind the .bss, the dynamic linker would find other bytes of its file there, or
 * nothing. So in a file that may be an interpreter, the data segment gets its zeros from the file,
 * and the appended one fills whole pages.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "builder/rewrite_internal.h"

#define MAX_BSS (256ul << 10)
#define SHIFT_ALIGN 64 /* keeps what stands behind aligned */

/* A dynamic linker has an entry point and no interpreter, and ends with its .bss. */
static bool may_be_interpreter(struct rw *rw, uint64_t at)
{
	const Elf64_Ehdr *eh = &rw->ehdr;
	const struct rw_load *last = &rw->loads[rw->nr_loads - 1];

	if (rw->exec || rw->content_end != rw->len || !rw_code(rw, eh->e_entry) ||
	    last->memsz <= last->filesz || last->memsz - last->filesz > MAX_BSS ||
	    eh->e_phoff + rw->phnum * sizeof(Elf64_Phdr) > at ||
	    (eh->e_shnum && (eh->e_shoff < at || eh->e_shoff > rw->len ||
			     eh->e_shnum * sizeof(Elf64_Shdr) > rw->len - eh->e_shoff)))
		return false;
	for (size_t i = 0; i + 1 < rw->nr_loads; i++)
		if (rw->loads[i].off > last->off || rw->loads[i].memsz != rw->loads[i].filesz)
			return false;
	for (size_t i = 0; i < rw->nr_regions; i++)
		if (rw->regions[i].off + rw->regions[i].size > at)
			return false;
	for (size_t i = 0; i < rw->phnum; i++) {
		Elf64_Phdr ph;

		memcpy(&ph, rw->elf + eh->e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_INTERP)
			return false;
	}
	return true;
}

int rw_settle_bss(struct rw *rw)
{
	struct rw_load *last = &rw->loads[rw->nr_loads - 1];
	uint64_t at = last->off + last->filesz, shift;
	Elf64_Ehdr *eh = &rw->ehdr;
	uint8_t *new;

	if (!may_be_interpreter(rw, at))
		return 0;
	/*
	 * To the end of the page: glibc's dynamic linker takes zeros for its heap from behind its
	 * .bss.
	 */
	shift = RW_ALIGN(last->vaddr + last->memsz, RW_PAGE) - (last->vaddr + last->filesz);
	shift = RW_ALIGN(shift, SHIFT_ALIGN);
	new = calloc(1, rw->len + shift);
	if (!new)
		return -ENOMEM;
	memcpy(new, rw->elf, at);
	memcpy(new + at + shift, rw->elf + at, rw->len - at);
	for (size_t i = 0; i < rw->phnum; i++) {
		uint8_t *p = new + eh->e_phoff + i * sizeof(Elf64_Phdr);
		Elf64_Phdr ph;

		memcpy(&ph, p, sizeof(ph));
		if (ph.p_type == PT_LOAD && ph.p_offset == last->off && ph.p_memsz == last->memsz)
			ph.p_filesz = ph.p_memsz;
		else if (ph.p_offset >= at && ph.p_filesz)
			ph.p_offset += shift;
		memcpy(p, &ph, sizeof(ph));
	}
	if (eh->e_shnum)
		eh->e_shoff += shift;
	for (size_t i = 0; i < eh->e_shnum; i++) {
		uint8_t *p = new + eh->e_shoff + i * sizeof(Elf64_Shdr);
		Elf64_Shdr sh;

		memcpy(&sh, p, sizeof(sh));
		if (sh.sh_offset >= at && sh.sh_type != SHT_NOBITS && sh.sh_type != SHT_NULL)
			sh.sh_offset += shift;
		memcpy(p, &sh, sizeof(sh));
	}
	memcpy(new, eh, sizeof(*eh));
	last->filesz = last->memsz;
	rw->owned = new;
	rw->elf = new;
	rw->len += shift;
	rw->content_end += shift;
	return 0;
}
