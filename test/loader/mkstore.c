/*
 * mkstore.c - the unpacked form (struct jstore_header) of a library OS with an empty root file system.
 *
 *     mkstore LIBOS.ELF OUT
 *
 * A test tool: it stands in for builder and store, so that the loader is tested without them.
 */
#include <elf.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libos/abi/image.h"

#define PAGE 4096ul

int main(int argc, char **argv)
{
	static unsigned char in[16 << 20], out[16 << 20];
	struct jstore_header *h = (struct jstore_header *)out;
	const Elf64_Ehdr *eh = (const Elf64_Ehdr *)in;
	struct jimg_record *rec;
	size_t len, off = PAGE;
	FILE *f;

	if (argc != 3)
		errx(2, "usage: mkstore LIBOS.ELF OUT");
	f = fopen(argv[1], "rb");
	if (!f)
		err(1, "%s", argv[1]);
	len = fread(in, 1, sizeof(in), f);
	fclose(f);
	if (len < sizeof(*eh) || memcmp(eh->e_ident, ELFMAG, SELFMAG))
		errx(1, "%s: not ELF", argv[1]);
	h->magic = JSTORE_MAGIC;
	h->version = JIMG_VERSION;
	h->entry = eh->e_entry;
	for (int i = 0; i < eh->e_phnum; i++) {
		const Elf64_Phdr *ph = (const Elf64_Phdr *)(in + eh->e_phoff) + i;

		if (ph->p_type != PT_LOAD)
			continue;
		h->segments[h->nr_segments++] = (struct jstore_segment){
			ph->p_vaddr, off, ph->p_filesz, ph->p_memsz, ph->p_flags, 0};
		memcpy(out + off, in + ph->p_offset, ph->p_filesz);
		off += (ph->p_filesz + PAGE - 1) & -PAGE;
	}
	rec = (struct jimg_record *)(out + off);
	rec->magic = JREC_MAGIC;
	rec->size = sizeof(*rec);
	h->record = (struct jimg_range){off, sizeof(*rec)};
	off += PAGE;
	h->rootfs = (struct jimg_range){off, PAGE};
	off += PAGE;
	h->file_size = off;
	f = fopen(argv[2], "wb");
	if (!f || fwrite(out, 1, off, f) != off || fclose(f))
		err(1, "%s", argv[2]);
	return 0;
}
