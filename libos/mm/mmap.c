/*
 * mmap.c - mmap, munmap, mprotect and brk, with the semantics and errors of Linux.
 *
 * The tree of areas (vma.c) is the truth; the host's own map follows it. Every change is made on the host
 * first where it can fail there, so that an error leaves both as they were. The host is asked as seldom
 * as possible: fresh PROT_NONE memory exists only in the tree (struct vma, hole), and a range
 * is unmapped or protected by one call whatever it consists of.
 *
 * mm->lock is a mutex: host calls and file operations are made under it, usercopy is not.
 */
#include "libos/mm/internal.h"

#include <linux/stat.h>

#include "libos/fs/vfs.h"
#include "libos/lib/random.h"

#define HOST_ANON (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
#define FILL_HINT (1 << 30) /* in host_flags: fill if that cannot be told apart */
#define FILL_ANON_MAX (256ul << 10) /* of larger areas, this much at the start */
#define FILL_ANON_OF (64ul << 20) /* those beyond are likely to be sparse */
#define FILL_DATA_MAX (2ul << 20)
#define FILL_TEXT_MAX (4ul << 20)
#define FILL_HOLE_PAGES 4096
#define FILL_STACK (16ul << 10) /* what a thread touches at once at the top of its stack */
#define TABLE_MIDDLE (1ul << 20) /* set: in the upper half of what one page table covers */
#define MMAP_RND_PAGES 0xffffu
#define MMAP_MIN_GAP (128ul << 20) /* below the stack, as Linux */
#define MAP_LEGACY_MASK (MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_DENYWRITE | \
	MAP_EXECUTABLE | MAP_UNINITIALIZED | MAP_GROWSDOWN | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | \
	MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB | 0x40 /* MAP_32BIT */ | MAP_FIXED_NOREPLACE | (0x3f << 26))
#define MAP_32BIT_ 0x40

static void reserve(struct mm *mm, u64 start, u64 end, u32 flags)
{
	struct vma *v = vma_alloc(mm);

	BUG_ON(!v);
	v->start = start;
	v->end = v->hole = end;
	v->flags = flags;
	v->prot = flags & VM_VDSO ? PROT_READ | PROT_EXEC : PROT_NONE;
	vma_insert(mm, v);
}

extern char __vdso_start[], __vdso_end[];

void mm_reset(struct mm *mm)
{
	const struct control_boot *boot = &((struct control *)LIBOS_CONTROL_BASE)->boot;
	u64 vdso = (u64)__vdso_start, vdso_end = (u64)__vdso_end;

	mm_init_tree(mm);
	mm->def_flags = 0;
	mm->total = mm->data = mm->stack = mm->text = mm->locked = 0;
	mm->brk_start = mm->brk = mm->stack_top = 0;
	reserve(mm, LIBOS_WINDOW_START, vdso, VM_RESERVED);
	if (vdso_end > vdso)
		reserve(mm, vdso, vdso_end, VM_VDSO);
	reserve(mm, vdso_end, LIBOS_WINDOW_END, VM_RESERVED);
	if (boot->host_vdso_end > boot->host_vdso_start)
		reserve(mm, boot->host_vdso_start, boot->host_vdso_end, VM_RESERVED);
}

struct mm *mm_create(void)
{
	struct mm *mm = kzalloc(sizeof(*mm));

	if (!mm)
		return NULL;
	mutex_init(&mm->lock);
	mm_reset(mm);
	mm->mmap_base = USER_ADDR_MAX - MMAP_MIN_GAP;
	return mm;
}

void mm_clear(struct mm *mm)
{
	mutex_lock(&mm->lock);
	unmap_range(mm, 0, USER_ADDR_MAX);
	/* The page that holds page tables together, see mm_set_layout(). */
	host_munmap(mm->mmap_base, PAGE_SIZE);
	while (mm->first) {
		struct vma *v = mm->first;

		vma_remove(mm, v);
		vma_free(mm, v);
	}
	mm_reset(mm);
	mutex_unlock(&mm->lock);
}

bool touches_special(struct mm *mm, u64 start, u64 end)
{
	for (struct vma *v = vma_find(mm, start); v && v->start < end; v = v->next)
		if (v->flags & VM_SPECIAL)
			return true;
	return false;
}

int may_map(struct mm *mm, u64 len, int prot, u32 vmflags, bool noreserve)
{
	u64 limit = ((struct control *)LIBOS_CONTROL_BASE)->boot.memory_limit;
	bool writable = (prot & PROT_WRITE) && !(vmflags & (VM_SHARED | VM_STACK));

	/* Heuristic overcommit (mode 0): only what could never be had is refused. */
	if (!noreserve && (writable || (vmflags & VM_SHARED)) && limit && len > limit)
		return -ENOMEM;
	if (mm->total + len > rlimit_cur(RLIMIT_AS))
		return -ENOMEM;
	if (writable && mm->data + len > rlimit_cur(RLIMIT_DATA))
		return -ENOMEM;
	if (mm->nr_vmas > MM_MAX_VMAS)
		return -ENOMEM;
	return 0;
}

/* Anonymous shared memory, run by run, as far as the object reaches. */
static s64 map_smap(struct vma *v, u64 start, u64 end, int host_flags)
{
	u64 object_end = v->start + ((v->smap->nr_pages - v->smap_index) << PAGE_SHIFT), pos = start;

	end = min(end, object_end);
	if (end <= start)
		return start;

	while (pos < end) {
		u64 i = v->smap_index + ((pos - v->start) >> PAGE_SHIFT), n = 1;
		u32 first = v->smap->page[i];
		long r;

		while (pos + (n << PAGE_SHIFT) < end && v->smap->page[i + n] == first + n)
			n++;
		r = host_mmap(pos, n << PAGE_SHIFT, v->prot, MAP_SHARED | MAP_NORESERVE | host_flags,
			      CTL_FD_SHM, (u64)first << PAGE_SHIFT);
		if (r < 0)
			return r;
		pos += n << PAGE_SHIFT;
	}
	return end;
}

/* Remembers that pages [pos, pos + n) of v are those of the store from `page` on, whose references it takes. */
static int remember_pages(struct vma *v, u64 pos, u64 page, u64 n)
{
	u64 i;

	if (!v->smap) {
		v->smap = smap_alloc((v->end - v->start) >> PAGE_SHIFT);
		v->smap_index = 0;
		if (!v->smap) {
			shm_put_range(page, n);
			return -ENOMEM;
		}
	}
	i = v->smap_index + ((pos - v->start) >> PAGE_SHIFT);
	for (u64 k = 0; k < n; k++) {
		if (v->smap->page[i + k])
			shm_put(v->smap->page[i + k]);
		v->smap->page[i + k] = page + k;
	}
	return 0;
}

static s64 map_file(struct vma *v, u64 start, u64 end, int host_flags, bool fill_hint)
{
	bool shared = v->flags & VM_SHARED;
	u64 pos = start;

	while (pos < end) {
		u64 n = (end - pos) >> PAGE_SHIFT, off = 0;
		int fd = -1, flags = MAP_PRIVATE | MAP_NORESERVE | host_flags;
		u64 pgoff = (v->off + (pos - v->start)) >> PAGE_SHIFT;
		s64 r = v->file->ops->map_pages(v->file, pgoff, n, shared && (v->flags & VM_MAYWRITE), &fd, &off);

		/* A hole of a file: what others write there later must show, unless it is out of proportion. */
		if (r > 0 && fd < 0 && v->file->inode && S_ISREG(v->file->inode->mode) && r <= FILL_HOLE_PAGES)
			r = v->file->ops->map_pages(v->file, pgoff, r, true, &fd, &off);
		if (r == -ENXIO || r == 0)
			break;
		if (r < 0)
			return r;
		n = min((u64)r, n);
		if (fd == CTL_FD_SHM) {
			if (shared)
				flags = MAP_SHARED | MAP_NORESERVE | host_flags;
			r = remember_pages(v, pos, off >> PAGE_SHIFT, n);
			if (r < 0)
				return r;
			/* Filling a private one would copy it now, and later changes would not show. */
			if (!shared && fill_hint)
				flags &= ~MAP_POPULATE;
		} else if (fd < 0) {
			flags |= MAP_ANONYMOUS;
			off = 0;
		}
		r = host_mmap(pos, n << PAGE_SHIFT, v->prot, flags, fd, off);
		if (r < 0)
			return r;
		pos += n << PAGE_SHIFT;
	}
	return pos;
}

s64 map_host(struct vma *v, u64 start, u64 end, int host_flags)
{
	bool fill_hint = host_flags & FILL_HINT;
	long r;

	if (start >= end)
		return end;
	if (host_flags & FILL_HINT)
		host_flags = MAP_POPULATE;
	if (v->file)
		return map_file(v, start, end, host_flags, fill_hint);
	if (v->smap)
		return map_smap(v, start, end, host_flags);
	if (fill_hint && end - start > FILL_ANON_MAX)
		host_flags = 0;
	r = host_mmap(start, end - start, v->prot, HOST_ANON | host_flags, -1, 0);
	if (r < 0)
		return r;
	if (fill_hint && !host_flags)
		host_madvise(start, FILL_ANON_MAX, MADV_POPULATE_WRITE);
	return end;
}

/* Unmaps [start, end) on the host except for what is not the application's. */
static int unmap_host(struct mm *mm, struct vma *v, u64 end)
{
	while (v && v->start < end) {
		u64 lo = 0, hi = 0;

		/* One call for all that is backed up to the next special area. */
		for (; v && v->start < end && !(v->flags & VM_SPECIAL); v = v->next) {
			if (v->hole == v->start)
				continue;
			if (!lo)
				lo = v->start;
			hi = v->hole;
		}
		if (hi) {
			long r = host_munmap(lo, hi - lo);

			if (r < 0)
				return r;
		}
		while (v && v->start < end && (v->flags & VM_SPECIAL))
			v = v->next;
	}
	return 0;
}

int unmap_range(struct mm *mm, u64 start, u64 end)
{
	struct vma *v = vma_isolate(mm, start, end), *next;
	int r;

	if (!v || is_err(v))
		return v ? ptr_err(v) : 0;
	r = unmap_host(mm, v, end);
	if (r < 0) {
		vma_merge_range(mm, start, end);
		return r;
	}
	for (; v && v->start < end; v = next) {
		next = v->next;
		if (v->flags & VM_SPECIAL)
			continue;
		vma_remove(mm, v);
		/* Anonymous shared memory lives until the last of its areas goes. */
		if (v->smap && v->file)
			smap_drop(v->smap, v->smap_index, (v->end - v->start) >> PAGE_SHIFT);
		vma_free(mm, v);
	}
	return 0;
}

s64 add_area(struct mm *mm, u64 start, u64 end, int prot, u32 vmflags, struct file *file, u64 off,
	     int host_flags)
{
	struct vma *v = vma_alloc(mm);
	u64 n = (end - start) >> PAGE_SHIFT;
	s64 r;

	if (!v)
		return -ENOMEM;
	v->start = start;
	v->end = end;
	v->prot = prot;
	v->flags = vmflags | mm->def_flags;
	v->off = file ? off : start;
	vma_hold_file(v, file);
	v->hole = end;
	if (!file && (vmflags & VM_SHARED)) {
		s64 page = shm_alloc(n, 0);

		r = -ENOMEM;
		if (page < 0 || remember_pages(v, start, page, n) < 0)
			goto fail;
	}
	if (!file && !v->smap && prot == PROT_NONE) {
		v->hole = start;
	} else {
		r = map_host(v, start, end, host_flags);
		if (r < 0) {
			host_munmap(start, end - start);
			goto fail;
		}
		v->hole = r;
	}
	vma_insert(mm, v);
	vma_merge(mm, v);
	return start;
fail:
	vma_free(mm, v);
	return r;
}

u64 find_place(struct mm *mm, u64 hint, u64 len, int flags)
{
	u64 a;

	hint = page_up(hint);
	if (hint >= USER_ADDR_MIN && hint < USER_ADDR_MAX && len <= USER_ADDR_MAX - hint &&
	    !vma_overlaps(mm, hint, hint + len)) {
		struct vma *next = vma_find(mm, hint);

		if (!next || !(next->flags & VM_STACK) || next->start - (hint + len) >= STACK_GUARD)
			return hint;
	}
	if (flags & MAP_32BIT_)
		return vma_gap_below(mm, len, 0x40000000, 0x80000000);
	a = vma_gap_below(mm, len, USER_ADDR_MIN, mm->mmap_base);
	if (!a)
		a = vma_gap_below(mm, len, mm->mmap_base, USER_ADDR_MAX - PAGE_SIZE);
	return a;
}

void populate(struct mm *mm, u64 start, u64 end)
{
	for (struct vma *v = vma_find(mm, start); v && v->start < end; v = v->next) {
		u64 lo = max(start, v->start), hi = min(end, v->hole);
		bool write = (v->prot & PROT_WRITE) && !(v->flags & VM_SHARED);

		if (lo < hi && !(v->flags & VM_SPECIAL) && v->prot != PROT_NONE)
			host_madvise(lo, hi - lo, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	}
}

static u32 file_seals(struct file *file)
{
	struct inode *i = file->inode;

	return i && S_ISREG(i->mode) ? READ_ONCE(i->reg.seals) : file->seals;
}

/* What a file must allow; sets the area's flags. */
static int check_file(struct file *file, int prot, int type, u32 *vmflags)
{
	bool shared = type != MAP_PRIVATE;

	if (!FMODE_CAN_READ(file))
		return -EACCES;
	if (shared) {
		bool writable = FMODE_CAN_WRITE(file);

		if ((prot & PROT_WRITE) && !writable)
			return -EACCES;
		if (writable && (file_seals(file) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))) {
			if (prot & PROT_WRITE)
				return -EPERM;
			writable = false;
		}
		if (!writable)
			*vmflags &= ~VM_MAYWRITE;
	}
	if (!file->ops->map_pages)
		return -ENODEV;
	return 0;
}

/*
 * Whether the host should fill a fresh mapping at once. A page fault costs an order of magnitude more than a
 * page filled along with its neighbours (two orders under nested virtualization), so memory that is
 * likely to be touched is: the start of anonymous areas, the text of programs and libraries (whose pages
 * are in the page cache anyway), and data segments. Very large and explicitly sparse areas are not.
 */
static bool worth_filling(int prot, int flags, u64 len, const struct file *file)
{
	if (!(flags & MAP_PRIVATE) || (flags & (MAP_NORESERVE | MAP_STACK)) || !(prot & PROT_READ))
		return false;
	if (!file)
		return (prot & PROT_WRITE) && len <= FILL_ANON_OF;
	if (prot & PROT_WRITE)
		return len <= FILL_DATA_MAX;
	/* ld.so first maps a whole library to find room: that is no text. */
	return len <= FILL_TEXT_MAX && ((prot & PROT_EXEC) || (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)));
}

/* mm_mmap with the lock held and len, off in whole pages. */
static s64 do_mmap(struct mm *mm, u64 addr, u64 len, int prot, int flags, struct file *file, u64 off)
{
	int type = flags & MAP_TYPE, host_flags = 0, r;
	bool fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
	u32 vmflags = VM_MAYWRITE | (type == MAP_PRIVATE ? 0 : VM_SHARED);

	if (fixed) {
		if (addr & ~PAGE_MASK)
			return -EINVAL;
		if (addr > USER_ADDR_MAX || len > USER_ADDR_MAX - addr)
			return -ENOMEM;
		if (addr < USER_ADDR_MIN)
			return -EPERM;
		if ((flags & MAP_FIXED_NOREPLACE) && vma_overlaps(mm, addr, addr + len))
			return -EEXIST;
		if (touches_special(mm, addr, addr + len))
			return -ENOMEM;
	} else {
		addr = find_place(mm, addr, len, flags);
		if (!addr)
			return -ENOMEM;
	}
	if (file) {
		r = check_file(file, prot, type, &vmflags);
		if (r < 0)
			return r;
	}
	if ((flags & MAP_LOCKED) || (mm->def_flags & VM_LOCKED)) {
		vmflags |= VM_LOCKED;
		if (mm->locked + len > rlimit_cur(RLIMIT_MEMLOCK))
			return -EAGAIN;
	}
	r = may_map(mm, len, prot, vmflags, flags & MAP_NORESERVE);
	if (r < 0)
		return r;
	if (fixed) {
		r = unmap_range(mm, addr, addr + len);
		if (r < 0)
			return r;
	}
	if ((vmflags & VM_LOCKED) || ((flags & MAP_POPULATE) && !(flags & MAP_NONBLOCK)))
		host_flags = MAP_POPULATE;
	else if (worth_filling(prot, flags, len, file))
		host_flags = FILL_HINT;
	return add_area(mm, addr, addr + len, prot, vmflags, file, off, host_flags);
}

s64 mm_mmap(struct mm *mm, u64 addr, u64 len, int prot, int flags, struct file *file, u64 off)
{
	int type = flags & MAP_TYPE;
	s64 r;

	if (!len || (off & ~PAGE_MASK))
		return -EINVAL;
	if (len > USER_ADDR_MAX)
		return -ENOMEM;
	len = page_up(len);
	if (off + len < off || off + len > (u64)INT64_MAX)
		return file ? -EOVERFLOW : -EINVAL;
	if (type == MAP_SHARED_VALIDATE) {
		if (flags & ~(MAP_LEGACY_MASK | MAP_TYPE))
			return -EOPNOTSUPP;
		if (!file)
			return -EINVAL;
	} else if (type != MAP_SHARED && type != MAP_PRIVATE) {
		return -EINVAL;
	}
	if (flags & MAP_HUGETLB)
		return -ENOMEM; /* no pages of that kind, as on a host that has reserved none */
	prot &= PROT_RWX;
	mutex_lock(&mm->lock);
	r = do_mmap(mm, addr, len, prot, flags, file, off);
	mutex_unlock(&mm->lock);
	return r;
}

int mm_munmap(struct mm *mm, u64 addr, u64 len)
{
	int r;

	if ((addr & ~PAGE_MASK) || !len || addr > USER_ADDR_MAX || len > USER_ADDR_MAX - addr)
		return -EINVAL;
	mutex_lock(&mm->lock);
	r = unmap_range(mm, addr, addr + page_up(len));
	mutex_unlock(&mm->lock);
	return r;
}

/* Brings the host's map of [start, end), whole areas from v on, to prot. */
static int protect_host(struct mm *mm, struct vma *v, u64 end, int prot)
{
	u64 lo = 0, hi = 0;
	long r;

	for (; v && v->start < end; v = v->next) {
		bool changed = v->prot != prot;
		u64 backed = v->hole;

		if (changed && v->hole < v->end && !v->file && !v->smap && prot != PROT_NONE) {
			/* It comes into being now. */
			u64 n = v->end - v->hole;

			r = host_mmap(v->hole, n, prot, HOST_ANON, -1, 0);
			if (r < 0)
				return r;
			if (v->flags & (VM_HUGEPAGE | VM_NOHUGEPAGE))
				host_madvise(v->hole, n, v->flags & VM_HUGEPAGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
			/* Most likely the stack of a new thread: reserved, then made accessible. */
			if ((prot & PROT_WRITE) && n >= 4 * FILL_STACK)
				host_madvise(v->end - FILL_STACK, FILL_STACK, MADV_POPULATE_WRITE);
			v->hole = v->end;
		}
		if (changed && backed > v->start) {
			if (hi == v->start) {
				hi = backed;
				continue;
			}
			if (hi) {
				r = host_mprotect(lo, hi - lo, prot);
				if (r < 0)
					return r;
			}
			lo = v->start;
			hi = backed;
		}
	}
	return hi ? host_mprotect(lo, hi - lo, prot) : 0;
}

static int do_mprotect(struct mm *mm, u64 start, u64 end, int prot, bool grows_down)
{
	struct vma *v = vma_find(mm, start), *w;
	u64 stop = start, more = 0;
	int r, err = 0;

	if (!v || v->start >= end)
		return -ENOMEM;
	if (grows_down) {
		if (!(v->flags & VM_STACK))
			return -EINVAL;
		start = stop = v->start;
	}
	/* What Linux would do area by area before it meets an error, and that error. */
	for (w = v; stop < end; w = w->next) {
		if (!w || w->start > stop) {
			err = -ENOMEM;
			break;
		}
		if ((w->flags & VM_SPECIAL) || ((prot & PROT_WRITE) && !(w->flags & VM_MAYWRITE))) {
			err = -EACCES;
			break;
		}
		if ((prot & PROT_WRITE) && !(w->prot & PROT_WRITE) && !(w->flags & VM_SHARED))
			more += min(w->end, end) - max(w->start, start);
		stop = w->end;
	}
	stop = min(stop, end);
	if (stop <= start)
		return err;
	if (more && mm->data + more > rlimit_cur(RLIMIT_DATA))
		return -ENOMEM;
	v = vma_isolate(mm, start, stop);
	if (is_err(v))
		return ptr_err(v);
	r = protect_host(mm, v, stop, prot);
	if (r < 0) {
		/* Partly done at worst: the tree keeps the old values for all; say so again to the host. */
		for (w = v; w && w->start < stop; w = w->next)
			if (w->hole > w->start)
				host_mprotect(w->start, w->hole - w->start, w->prot);
	} else {
		for (w = v; w && w->start < stop; w = w->next) {
			vma_account(mm, w, -1);
			w->prot = prot;
			vma_account(mm, w, 1);
		}
	}
	vma_merge_range(mm, start, stop);
	return r < 0 ? r : err;
}

int mm_mprotect(struct mm *mm, u64 addr, u64 len, int prot)
{
	int r, grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);

	if (grows == (PROT_GROWSDOWN | PROT_GROWSUP))
		return -EINVAL;
	prot &= ~grows;
	if (addr & ~PAGE_MASK)
		return -EINVAL;
	if (!len)
		return 0;
	len = page_up(len);
	if (addr + len <= addr)
		return -ENOMEM;
	if (prot & ~(PROT_RWX | PROT_SEM))
		return -EINVAL;
	if (grows & PROT_GROWSUP)
		return -EINVAL;
	mutex_lock(&mm->lock);
	r = do_mprotect(mm, addr, addr + len, prot & PROT_RWX, grows & PROT_GROWSDOWN);
	mutex_unlock(&mm->lock);
	return r;
}

static u64 do_brk(struct mm *mm, u64 brk)
{
	u64 old = page_up(mm->brk), new = page_up(brk);

	if (brk < mm->brk_start || brk > USER_ADDR_MAX ||
	    brk - mm->brk_start > rlimit_cur(RLIMIT_DATA))
		return mm->brk;
	if (new < old) {
		if (unmap_range(mm, new, old) < 0)
			return mm->brk;
	} else if (new > old) {
		struct vma *next = vma_find(mm, old);

		if (next && next->start < new + ((next->flags & VM_STACK) ? STACK_GUARD : 0))
			return mm->brk;
		if (may_map(mm, new - old, PROT_READ | PROT_WRITE, 0, false) < 0 ||
		    add_area(mm, old, new, PROT_READ | PROT_WRITE, VM_MAYWRITE | VM_HEAP, NULL, 0,
			     mm->def_flags & VM_LOCKED ? MAP_POPULATE : FILL_HINT) < 0)
			return mm->brk;
	}
	mm->brk = brk;
	return brk;
}

/*
 * Mappings go down from some way below the stack, as on Linux, but within the same GiB if possible, so
 * that they share page tables. An inaccessible page above them keeps the host from taking apart the
 * tables of the whole region whenever its only mapping goes, which costs several page faults' time.
 */
void mm_set_layout(struct mm *mm, u64 stack_top, u64 stack_size)
{
	u64 gap = max(stack_size + STACK_GUARD, MMAP_MIN_GAP), base;
	u32 rnd;

	random_bytes(&rnd, sizeof(rnd));
	base = page_down(stack_top - gap - ((u64)(rnd & MMAP_RND_PAGES) << PAGE_SHIFT)) | TABLE_MIDDLE;
	mm->stack_top = stack_top;
	mm->mmap_base = base;
	/* A reserved area for it, so that nothing else gets there. */
	if (!vma_overlaps(mm, base, base + PAGE_SIZE) &&
	    host_mmap(base, PAGE_SIZE, PROT_NONE, HOST_ANON, -1, 0) >= 0)
		reserve(mm, base, base + PAGE_SIZE, VM_RESERVED);
}

long sys_mmap(u64 addr, u64 len, int prot, int flags, int fd, u64 off)
{
	struct file *file = NULL;
	s64 r;

	if (off & ~PAGE_MASK)
		return -EINVAL;
	if (!(flags & MAP_ANONYMOUS)) {
		file = fd_get(fd);
		if (!file)
			return -EBADF;
	}
	r = mm_mmap(current_proc()->mm, addr, len, prot, flags, file, file ? off : 0);
	if (file)
		file_put(file);
	return r;
}

long sys_munmap(u64 addr, u64 len)
{
	return mm_munmap(current_proc()->mm, addr, len);
}

long sys_mprotect(u64 addr, u64 len, int prot)
{
	return mm_mprotect(current_proc()->mm, addr, len, prot);
}

long sys_pkey_mprotect(u64 addr, u64 len, int prot, int pkey)
{
	return pkey == -1 ? mm_mprotect(current_proc()->mm, addr, len, prot) : -EINVAL;
}

/* As on a processor without protection keys. */
long sys_pkey_alloc(u64 flags, u64 rights)
{
	return flags || (rights & ~3ul) ? -EINVAL : -ENOSPC;
}

long sys_pkey_free(int pkey)
{
	return -EINVAL;
}

long sys_brk(u64 brk)
{
	struct mm *mm = current_proc()->mm;
	u64 r;

	mutex_lock(&mm->lock);
	r = do_brk(mm, brk);
	mutex_unlock(&mm->lock);
	return r;
}
