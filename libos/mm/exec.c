/*
 * exec.c - a program into an address space: #! lines, segments, interpreter.
 *
 * Segments are mapped straight from the file, as Linux does it; nothing is copied but the tail of the
 * page in which .bss begins. Errors are those of execve(2); the first program of an instance also
 * gets a line in the log that says what is wrong, since nobody else can.
 */
#include "libos/mm/exec.h"

#include <linux/elf.h>
#include <linux/stat.h>

#include "libos/fs/vfs.h"
#include "libos/lib/random.h"
#include "libos/mm/internal.h"
#include "libos/mm/usercopy.h"

#define MAX_PHDRS 128
#define MAX_SCRIPT_DEPTH 5
#define PIE_BASE 0x555555554000ul /* two thirds of the address space, as Linux */
#define PATH_BUF 4096

struct elf_file {
	struct file *file;
	Elf64_Ehdr eh;
	Elf64_Phdr *ph;
	size_t ph_size;
	u64 bias;
	u64 low, high; /* lowest and highest address, with bias */
	u64 phdr_addr;
};

/* Why exec failed, for the log. */
static int fail(struct exec_args *x, int err, const char *why)
{
	if (!x->why)
		x->why = why;
	return err;
}

static int may_execute(struct exec_args *x, struct file *f)
{
	const struct cred *c = &current_proc()->cred;
	struct kstat st;
	u32 bits;
	int r;

	if (!f->ops->getattr || !f->ops->map_pages)
		return fail(x, -EACCES, "not a regular file");
	r = f->ops->getattr(f, &st);
	if (r < 0)
		return r;
	if (!S_ISREG(st.mode))
		return fail(x, -EACCES, "not a regular file");
	if (!c->fsuid)
		bits = st.mode & 0111;
	else if (c->fsuid == st.uid)
		bits = st.mode & 0100;
	else if (c->fsgid == st.gid)
		bits = st.mode & 0010;
	else
		bits = st.mode & 0001;
	return bits ? 0 : fail(x, -EACCES, "not executable: it has no execute permission");
}

/* Reads and checks the headers of f into e. */
static int read_elf(struct exec_args *x, struct file *f, struct elf_file *e)
{
	ssize_t n;

	memset(e, 0, sizeof(*e));
	e->file = f;
	n = file_read_kernel(f, &e->eh, sizeof(e->eh), 0);
	if (n < 0)
		return n;
	if ((size_t)n < sizeof(e->eh) || memcmp(e->eh.e_ident, ELFMAG, SELFMAG))
		return fail(x, -ENOEXEC, "neither an ELF program nor a script");
	if (e->eh.e_ident[EI_CLASS] != ELFCLASS64 || e->eh.e_machine != EM_X86_64)
		return fail(x, -ENOEXEC, "not a program for x86-64 (64 bit)");
	if (e->eh.e_type != ET_EXEC && e->eh.e_type != ET_DYN)
		return fail(x, -ENOEXEC, "an ELF file, but not a program");
	if (e->eh.e_phentsize != sizeof(Elf64_Phdr) || !e->eh.e_phnum || e->eh.e_phnum > MAX_PHDRS)
		return fail(x, -ENOEXEC, "bad program headers");
	e->ph_size = e->eh.e_phnum * sizeof(Elf64_Phdr);
	e->ph = kmalloc(e->ph_size);
	if (!e->ph)
		return -ENOMEM;
	n = file_read_kernel(f, e->ph, e->ph_size, e->eh.e_phoff);
	if (n < 0 || (size_t)n != e->ph_size)
		return fail(x, n < 0 ? n : -ENOEXEC, "truncated program headers");
	return 0;
}

/* Bounds of the loadable segments, checked against overflow. */
static int measure(struct exec_args *x, struct elf_file *e, u64 *low, u64 *high, u64 *align)
{
	*low = UINT64_MAX;
	*high = 0;
	*align = PAGE_SIZE;
	for (int i = 0; i < e->eh.e_phnum; i++) {
		const Elf64_Phdr *p = &e->ph[i];

		if (p->p_type != PT_LOAD || !p->p_memsz)
			continue;
		if (p->p_filesz > p->p_memsz || p->p_memsz > USER_ADDR_MAX || p->p_vaddr > USER_ADDR_MAX ||
		    p->p_offset > INT64_MAX || p->p_filesz > INT64_MAX - p->p_offset ||
		    ((p->p_vaddr - p->p_offset) & ~PAGE_MASK))
			return fail(x, -ENOEXEC, "bad segment");
		*low = min(*low, page_down(p->p_vaddr));
		*high = max(*high, page_up(p->p_vaddr + p->p_memsz));
		if (p->p_align > *align && !(p->p_align & (p->p_align - 1)) && p->p_align <= 1ul << 30)
			*align = p->p_align;
	}
	if (*low >= *high)
		return fail(x, -ENOEXEC, "no loadable segment");
	return 0;
}

/* fixed: MAP_FIXED_NOREPLACE for the first segment; the others may share its last page. */
static int map_segment(struct exec_args *x, struct elf_file *e, const Elf64_Phdr *p, int fixed)
{
	struct mm *mm = current_proc()->mm;
	u64 addr = e->bias + p->p_vaddr, start = page_down(addr);
	u64 file_end = addr + p->p_filesz, end = page_up(addr + p->p_memsz);
	u64 bss = start;
	int prot = (p->p_flags & PF_R ? PROT_READ : 0) | (p->p_flags & PF_W ? PROT_WRITE : 0) |
		   (p->p_flags & PF_X ? PROT_EXEC : 0);
	s64 r;

	if (p->p_filesz) {
		bss = page_up(file_end);
		r = mm_mmap(mm, start, bss - start, prot, MAP_PRIVATE | fixed, e->file,
			    page_down(p->p_offset));
		if (r < 0)
			return fail(x, r, "a segment cannot be mapped at its address");
		if (p->p_memsz > p->p_filesz && (prot & PROT_WRITE) && file_end < bss &&
		    clear_user((void *)file_end, bss - file_end) < 0)
			return fail(x, -EFAULT, "the data segment is truncated");
	}
	if (end > bss) {
		r = mm_mmap(mm, bss, end - bss, prot, MAP_PRIVATE | MAP_ANONYMOUS | fixed, NULL, 0);
		if (r < 0)
			return fail(x, r, "no memory for .bss");
	}
	return 0;
}

/* Maps e: where it says (ET_EXEC), at hint and aligned, or where there is room (hint 0). */
static int map_elf(struct exec_args *x, struct elf_file *e, u64 hint)
{
	struct mm *mm = current_proc()->mm;
	int fixed = MAP_FIXED_NOREPLACE;
	u64 low, high, align;
	int r = measure(x, e, &low, &high, &align);

	if (r < 0)
		return r;
	if (e->eh.e_type == ET_DYN) {
		u64 room = high - low + align;

		mutex_lock(&mm->lock);
		hint = find_place(mm, hint, room, 0);
		mutex_unlock(&mm->lock);
		if (!hint)
			return fail(x, -ENOMEM, "no room in the address space");
		/* From above: as close to the other mappings as the alignment allows. */
		e->bias = align_down(hint + align, align) - low;
	}
	e->low = low + e->bias;
	e->high = high + e->bias;
	for (int i = 0; i < e->eh.e_phnum; i++) {
		const Elf64_Phdr *p = &e->ph[i];

		if (p->p_type != PT_LOAD || !p->p_memsz)
			continue;
		r = map_segment(x, e, p, fixed);
		if (r < 0)
			return r;
		fixed = MAP_FIXED;
		if (e->eh.e_phoff >= p->p_offset && e->eh.e_phoff - p->p_offset < p->p_filesz)
			e->phdr_addr = e->bias + p->p_vaddr + (e->eh.e_phoff - p->p_offset);
	}
	return 0;
}

/* The path in PT_INTERP into buf; 1 if there is one, 0 if not. */
static int read_interp(struct exec_args *x, struct elf_file *e, char *buf, size_t size)
{
	for (int i = 0; i < e->eh.e_phnum; i++) {
		const Elf64_Phdr *p = &e->ph[i];
		ssize_t n;

		if (p->p_type != PT_INTERP)
			continue;
		if (p->p_filesz < 2 || p->p_filesz > size)
			return fail(x, -ENOEXEC, "bad interpreter path");
		n = file_read_kernel(e->file, buf, p->p_filesz, p->p_offset);
		if (n < 0 || (u64)n != p->p_filesz || buf[n - 1])
			return fail(x, n < 0 ? n : -ENOEXEC, "bad interpreter path");
		return 1;
	}
	return 0;
}

int exec_open_program(struct exec_args *x, const char *path, struct file **out)
{
	struct file *f = file_open(path, O_RDONLY, 0);

	if (is_err(f))
		return fail(x, ptr_err(f), "no such file in the image, or no permission");
	*out = f;
	return 0;
}

static void close_elf(struct elf_file *e)
{
	if (e->ph)
		kfree(e->ph, e->ph_size);
	if (e->file)
		file_put(e->file);
}

/*
 * A #! line: puts interpreter, its argument and the script's path before argv[1..] and makes *f the
 * interpreter. 1: done, look again; 0: not a script.
 */
static int load_script(struct exec_args *x, struct file **f)
{
	char *buf = x->head, *p, *name, *arg = NULL, *end;
	ssize_t n = file_read_kernel(*f, buf, sizeof(x->head) - 1, 0);
	struct file *interp = NULL;
	int r;

	if (n < 0)
		return n;
	buf[n] = 0;
	if (n < 2 || buf[0] != '#' || buf[1] != '!')
		return 0;
	if (x->script_depth++ >= MAX_SCRIPT_DEPTH)
		return fail(x, -ELOOP, "scripts that name one another as interpreter");
	end = strchr(buf, '\n');
	if (end)
		*end = 0;
	else if ((size_t)n == sizeof(x->head) - 1)
		return fail(x, -ENOEXEC, "the #! line is too long");
	for (p = buf + strlen(buf); p > buf + 2 && (p[-1] == ' ' || p[-1] == '\t');)
		*--p = 0;
	for (p = buf + 2; *p == ' ' || *p == '\t'; p++)
		;
	name = p;
	if (!*name)
		return fail(x, -ENOEXEC, "the #! line names no interpreter");
	while (*p && *p != ' ' && *p != '\t')
		p++;
	if (*p) {
		*p++ = 0;
		while (*p == ' ' || *p == '\t')
			p++;
		if (*p)
			arg = p;
	}
	r = exec_args_script(x, name, arg);
	if (r < 0)
		return r;
	r = exec_open_program(x, name, &interp);
	if (r < 0)
		return r;
	file_put(*f);
	*f = interp;
	return 1;
}

int exec_open(struct exec_args *x)
{
	int r;

	do {
		r = may_execute(x, x->file);
		if (!r)
			r = load_script(x, &x->file);
	} while (r > 0);
	if (r < 0)
		return r;
	/* Judge the headers now, while the caller can still be told. */
	x->elf = kzalloc(sizeof(*x->elf));
	x->interp = kzalloc(sizeof(*x->interp));
	if (!x->elf || !x->interp)
		return -ENOMEM;
	r = read_elf(x, x->file, x->elf);
	x->file = NULL; /* now x->elf's */
	if (r < 0)
		return r;
	x->interp_path = kmalloc(PATH_BUF);
	if (!x->interp_path)
		return -ENOMEM;
	r = read_interp(x, x->elf, x->interp_path, PATH_BUF);
	if (r > 0) {
		struct file *f = NULL;

		r = exec_open_program(x, x->interp_path, &f);
		if (!r) {
			r = may_execute(x, f);
			if (r < 0)
				file_put(f);
		}
		if (r < 0) {
			x->why = "its interpreter (dynamic linker) cannot be opened";
			return r;
		}
		r = read_elf(x, f, x->interp);
		if (r < 0) {
			x->why = "its interpreter (dynamic linker) is not a program";
			return r == -ENOEXEC ? -ELIBBAD : r;
		}
	}
	return r < 0 ? r : 0;
}

void exec_close(struct exec_args *x)
{
	if (x->file)
		file_put(x->file);
	if (x->elf) {
		close_elf(x->elf);
		kfree(x->elf, sizeof(*x->elf));
	}
	if (x->interp) {
		close_elf(x->interp);
		kfree(x->interp, sizeof(*x->interp));
	}
	if (x->interp_path)
		kfree(x->interp_path, PATH_BUF);
	exec_args_free(x);
}

int exec_map(struct exec_args *x, struct exec_addrs *at)
{
	struct mm *mm = current_proc()->mm;
	struct elf_file *e = x->elf, *i = x->interp;
	u64 hint = 0, rnd;
	int r;

	random_bytes(&rnd, sizeof(rnd));
	if (e->eh.e_type == ET_DYN)
		hint = PIE_BASE + ((rnd & ((1ul << 28) - 1)) << PAGE_SHIFT);
	r = map_elf(x, e, hint);
	if (r < 0)
		return r;
	at->entry = at->start = e->bias + e->eh.e_entry;
	at->phdr = e->phdr_addr;
	at->phnum = e->eh.e_phnum;
	at->base = 0;
	if (i->file) {
		r = map_elf(x, i, 0);
		if (r < 0)
			return r;
		at->base = i->eh.e_type == ET_DYN ? i->bias : 0;
		at->start = i->bias + i->eh.e_entry;
	}
	mutex_lock(&mm->lock);
	mm->exe_start = e->low;
	mm->exe_end = e->high;
	/*
	 * The heap begins some way behind the program. Where the program itself stands anywhere, a short way
	 * will do, and needs no page table of its own.
	 */
	random_bytes(&rnd, sizeof(rnd));
	rnd &= e->eh.e_type == ET_DYN ? 0x3f : 0x1fff;
	mm->brk_start = mm->brk = e->high + (rnd << PAGE_SHIFT);
	if (vma_overlaps(mm, e->high, mm->brk_start + PAGE_SIZE))
		mm->brk_start = mm->brk = e->high;
	mutex_unlock(&mm->lock);
	return 0;
}

struct file *exec_program(struct exec_args *x)
{
	return x->elf->file;
}

/* Not without PT_GNU_STACK, as Linux does it for 64-bit programs since 5.8. */
bool exec_wants_exec_stack(struct exec_args *x)
{
	for (int i = 0; i < x->elf->eh.e_phnum; i++)
		if (x->elf->ph[i].p_type == PT_GNU_STACK)
			return x->elf->ph[i].p_flags & PF_X;
	return false;
}
