/*
 * hostvdso.c - finds the host's vDSO functions. The vDSO is part of the host kernel: trusted input.
 */
#include "libos/platform/hostvdso.h"

#include <linux/elf.h>

#include "libos/lib/string.h"
#include "libos/platform/hostcall.h"

struct host_vdso host_vdso;

bool host_vdso_init(u64 base)
{
	const Elf64_Ehdr *eh = (const void *)base;
	const Elf64_Phdr *ph = (const void *)(base + eh->e_phoff);
	const Elf64_Dyn *dyn = NULL;
	const Elf64_Sym *sym = NULL;
	const char *str = NULL;
	const u32 *hash = NULL;
	u64 bias = base;

	for (int i = 0; i < eh->e_phnum; i++) {
		if (ph[i].p_type == PT_LOAD)
			bias = base + ph[i].p_offset - ph[i].p_vaddr;
		else if (ph[i].p_type == PT_DYNAMIC)
			dyn = (const void *)(base + ph[i].p_offset);
	}
	for (; dyn && dyn->d_tag != DT_NULL; dyn++) {
		if (dyn->d_tag == DT_SYMTAB)
			sym = (const void *)(bias + dyn->d_un.d_ptr);
		else if (dyn->d_tag == DT_STRTAB)
			str = (const void *)(bias + dyn->d_un.d_ptr);
		else if (dyn->d_tag == DT_HASH)
			hash = (const void *)(bias + dyn->d_un.d_ptr);
	}
	if (!sym || !str)
		return false;
	/* Newer kernels have no DT_HASH: the string table follows the symbol table. */
	u64 n = hash ? hash[1] : ((u64)str - (u64)sym) / sizeof(*sym);

	for (u64 i = 0; i < n; i++) {
		const char *name = str + sym[i].st_name;
		void *fn = (void *)(bias + sym[i].st_value);

		if (!sym[i].st_value)
			continue;
		if (!strcmp(name, "__vdso_clock_gettime"))
			host_vdso.clock_gettime = (int (*)(int, void *))fn;
		else if (!strcmp(name, "__vdso_gettimeofday"))
			host_vdso.gettimeofday = fn;
		else if (!strcmp(name, "__vdso_time"))
			host_vdso.time = fn;
		else if (!strcmp(name, "__vdso_clock_getres"))
			host_vdso.clock_getres = fn;
	}
	return host_vdso.clock_gettime;
}

u64 host_clock_ns(int clock)
{
	struct {
		s64 sec, nsec;
	} ts;

	host_vdso.clock_gettime(clock, &ts);
	return (u64)ts.sec * NSEC_PER_SEC + ts.nsec;
}
