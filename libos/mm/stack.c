/*
 * stack.c - the first stack of a program, as the x86-64 psABI and Linux lay it out.
 *
 *     top   8 zero bytes, file name, environment strings, argument strings, "x86_64", 16 random bytes,
 *           auxiliary vector, envp[], argv[], argc   <- %rsp, 16-byte aligned
 */
#include <linux/auxvec.h>
#include <linux/limits.h>

#include "libos/lib/random.h"
#include "libos/mm/exec.h"
#include "libos/mm/internal.h"
#include "libos/mm/usercopy.h"
#include "libos/signal/signal.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#define HWCAP2_FSGSBASE 2ul
#define STACK_MIN (128ul << 10)
#define STACK_MAX (1ul << 30)
#define STACK_DEFAULT (8ul << 20)
#define STACK_FILL (32ul << 10) /* filled at once: what every program touches */
#define STACK_RND_PAGES 0xfffffffu /* 1 TiB: the mappings below follow it */

extern char __vdso_start[];

/* Where strings go while the image of the stack is put together. */
struct builder {
	char *buf; /* holds [base, top) */
	u64 base, top; /* user addresses */
	u64 pos; /* lowest address used so far */
};

static u64 put_bytes(struct builder *b, const void *p, size_t n)
{
	b->pos -= n;
	memcpy(b->buf + (b->pos - b->base), p, n);
	return b->pos;
}

static u64 put_string(struct builder *b, const char *s)
{
	return put_bytes(b, s, strlen(s) + 1);
}

/* CPUID leaf 1 %edx, as Linux gives it in AT_HWCAP. */
static u64 hwcap(void)
{
	static u32 value;
	u32 a = 1, bx, c = 0, d;

	if (!value) {
		__asm__ volatile("cpuid" : "+a"(a), "=b"(bx), "+c"(c), "=d"(d));
		value = d;
	}
	return value;
}

static u32 fill_auxv(u64 *av, const struct exec_addrs *at, u64 execfn, u64 platform, u64 random)
{
	const struct cred *c = &current_proc()->cred;
	u32 n = 0;

#define AUX(key, value) (av[n++] = (key), av[n++] = (value))
	AUX(AT_SYSINFO_EHDR, (u64)__vdso_start);
	AUX(AT_MINSIGSTKSZ, signal_min_stack());
	AUX(AT_HWCAP, hwcap());
	AUX(AT_PAGESZ, PAGE_SIZE);
	AUX(AT_CLKTCK, 100);
	AUX(AT_PHDR, at->phdr);
	AUX(AT_PHENT, 56);
	AUX(AT_PHNUM, at->phnum);
	AUX(AT_BASE, at->base);
	AUX(AT_FLAGS, 0);
	AUX(AT_ENTRY, at->entry);
	AUX(AT_UID, c->uid);
	AUX(AT_EUID, c->euid);
	AUX(AT_GID, c->gid);
	AUX(AT_EGID, c->egid);
	AUX(AT_SECURE, 0);
	AUX(AT_RANDOM, random);
	AUX(AT_HWCAP2, HWCAP2_FSGSBASE);
	AUX(AT_EXECFN, execfn);
	AUX(AT_PLATFORM, platform);
	AUX(AT_NULL, 0);
#undef AUX
	return n;
}

int stack_map(struct exec_args *x)
{
	struct mm *mm = current_proc()->mm;
	bool exec = exec_wants_exec_stack(x);
	const struct control_boot *boot = &((struct control *)LIBOS_CONTROL_BASE)->boot;
	u64 size = rlimit_cur(RLIMIT_STACK), top;
	u32 rnd;
	s64 r;

	if (size == RLIM64_INFINITY)
		size = STACK_DEFAULT;
	size = page_up(max(STACK_MIN, min(size, STACK_MAX)));
	random_bytes(&rnd, sizeof(rnd));
	top = USER_ADDR_MAX - ((u64)(rnd & STACK_RND_PAGES) << PAGE_SHIFT);
	mutex_lock(&mm->lock);
	/* The host's vDSO is somewhere up there; keep clear of it. */
	if (vma_overlaps(mm, top - size - (1ul << 20), top))
		top = boot->host_vdso_start - (1ul << 20);
	r = -ENOMEM;
	if (!vma_overlaps(mm, top - size, top))
		r = add_area(mm, top - size, top, PROT_READ | PROT_WRITE | (exec ? PROT_EXEC : 0),
			     VM_MAYWRITE | VM_STACK | VM_NOHUGEPAGE, NULL, 0, 0);
	if (r >= 0) {
		/* It would take a whole huge page on the first touch where the host has them for all. */
		host_madvise(top - size, size, MADV_NOHUGEPAGE);
		host_madvise(top - STACK_FILL, STACK_FILL, MADV_POPULATE_WRITE);
		mm_set_layout(mm, top, size);
	}
	mutex_unlock(&mm->lock);
	return r < 0 ? r : 0;
}

int stack_build(struct exec_args *x, const struct exec_addrs *at, u64 *sp)
{
	struct proc *p = current_proc();
	u64 size = 8 + strlen(x->filename) + 1 + 16 + 16 + 64, words, *w, execfn, platform, rnd_addr;
	u64 *vec;
	u8 rnd[16];
	struct builder b;
	u64 top = p->mm->stack_top;
	u32 i;
	int r = 0;

	for (i = 0; i < x->argc; i++)
		size += strlen(x->argv[i]) + 1;
	for (i = 0; i < x->envc; i++)
		size += strlen(x->envp[i]) + 1;
	words = 1 + x->argc + 1 + x->envc + 1 + ARRAY_SIZE(p->auxv);
	size += words * sizeof(u64);
	if (size > (p->mm->stack_top - vma_at(p->mm, top - 1)->start) / 2)
		return -E2BIG;

	b.top = b.pos = top;
	b.base = page_down(top - size);
	size = top - b.base;
	b.buf = kzalloc(size);
	if (!b.buf)
		return -ENOMEM;
	b.pos -= 8;
	execfn = put_string(&b, x->filename);
	/* Highest first, so that the strings stand in order. */
	p->env_end = b.pos;
	for (i = x->envc; i-- > 0;)
		put_string(&b, x->envp[i]);
	p->env_start = p->arg_end = b.pos;
	for (i = x->argc; i-- > 0;)
		put_string(&b, x->argv[i]);
	p->arg_start = b.pos;
	platform = put_string(&b, "x86_64");
	random_bytes(rnd, sizeof(rnd));
	rnd_addr = put_bytes(&b, rnd, sizeof(rnd));

	p->auxv_len = fill_auxv(p->auxv, at, execfn, platform, rnd_addr);
	words = 1 + x->argc + 1 + x->envc + 1 + p->auxv_len;
	b.pos = align_down(b.pos - words * sizeof(u64), 16);
	vec = w = (u64 *)(b.buf + (b.pos - b.base));
	*w++ = x->argc;
	/* The strings follow one another. */
	for (u64 a = p->arg_start, n = 0; n < x->argc; n++) {
		*w++ = a;
		a += strlen(x->argv[n]) + 1;
	}
	*w++ = 0;
	for (u64 a = p->env_start, n = 0; n < x->envc; n++) {
		*w++ = a;
		a += strlen(x->envp[n]) + 1;
	}
	*w++ = 0;
	memcpy(w, p->auxv, p->auxv_len * sizeof(u64));
	if (copy_to_user((void *)b.pos, vec, b.top - b.pos) < 0)
		r = -ENOMEM;
	*sp = b.pos;
	kfree(b.buf, size);
	return r;
}
