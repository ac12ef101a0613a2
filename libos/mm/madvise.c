/*
 * madvise.c - madvise, mlock and its family, mincore, msync: calls about memory that is mapped already.
 */
#include "libos/mm/internal.h"

#include "libos/mm/usercopy.h"

#define CAP_IPC_LOCK_BIT (1ull << 14)

/* Sets and clears area flags over [start, end); -ENOMEM if it is not all mapped (the mapped part is done). */
static int change_flags(struct mm *mm, u64 start, u64 end, u32 set, u32 clear, bool populate_too)
{
	struct vma *v = vma_isolate(mm, start, end);
	u64 pos = start;

	if (is_err(v))
		return ptr_err(v);
	for (; v && v->start < end; v = v->next) {
		if (v->start > pos)
			break;
		pos = v->end;
		if (v->flags & VM_SPECIAL)
			continue;
		vma_account(mm, v, -1);
		v->flags = (v->flags | set) & ~clear;
		vma_account(mm, v, 1);
	}
	vma_merge_range(mm, start, end);
	if (populate_too)
		populate(mm, start, pos);
	return pos < end ? -ENOMEM : 0;
}

/* Whether advice can be given for v; 0 or -errno. */
static int advice_fits(struct mm *mm, const struct vma *v, int advice)
{
	bool anon = !v->file && !(v->flags & VM_SHARED);

	if (v->flags & VM_SPECIAL)
		return -EINVAL;
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_COLD:
	case MADV_PAGEOUT:
		return v->flags & VM_LOCKED ? -EINVAL : 0;
	case MADV_FREE:
		return !anon || (v->flags & VM_LOCKED) ? -EINVAL : 0;
	case MADV_WIPEONFORK:
		return anon ? 0 : -EINVAL;
	case MADV_REMOVE:
		if (v->flags & VM_LOCKED)
			return -EINVAL;
		if (!(v->flags & VM_SHARED))
			return -EINVAL;
		return (v->flags & VM_MAYWRITE) && (v->prot & PROT_WRITE) ? 0 : -EACCES;
	case MADV_POPULATE_READ:
		return v->prot & (PROT_READ | PROT_EXEC) ? 0 : -EFAULT;
	case MADV_POPULATE_WRITE:
		return v->prot & PROT_WRITE ? 0 : -EFAULT;
	default:
		return 0;
	}
}

/* Passes advice to the host for what it has of [start, end) in areas from v on. */
static int advise_host(struct mm *mm, struct vma *v, u64 start, u64 end, int advice)
{
	u64 pos = start, lo = 0, hi = 0;
	int r = 0, err = 0;

	for (; v && v->start < end; v = v->next) {
		u64 from = max(v->start, start), to = min(v->hole, end);

		if (v->start > pos)
			err = -ENOMEM;
		pos = v->end;
		r = advice_fits(mm, v, advice);
		if (r < 0)
			break;
		if (from >= to)
			continue;
		if (hi != from) {
			if (hi)
				host_madvise(lo, hi - lo, advice);
			lo = from;
		}
		hi = to;
	}
	if (hi) {
		long h = host_madvise(lo, hi - lo, advice);

		/* An older host does not know it, or has no memory for it. */
		if (h < 0 && h != -ENOMEM && !r && (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE))
			r = h;
	}
	if (r < 0)
		return r;
	return pos < end ? -ENOMEM : err;
}

/* Only looks whether everything is mapped, for advice that changes nothing. */
static int check_mapped(struct mm *mm, u64 start, u64 end)
{
	u64 pos = start;

	for (struct vma *v = vma_find(mm, start); v && pos < end && v->start <= pos; v = v->next)
		pos = v->end;
	return pos < end ? -ENOMEM : 0;
}

static int set_huge(struct mm *mm, u64 start, u64 end, bool on)
{
	int r = change_flags(mm, start, end, on ? VM_HUGEPAGE : VM_NOHUGEPAGE, on ? VM_NOHUGEPAGE : VM_HUGEPAGE,
			     false);

	if (r == -ENOMEM && !vma_overlaps(mm, start, end))
		return r;
	for (struct vma *v = vma_find(mm, start); v && v->start < end; v = v->next) {
		u64 from = max(v->start, start), to = min(v->hole, end);

		if (from < to && !(v->flags & VM_SPECIAL))
			host_madvise(from, to - from, on ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	}
	return r;
}

static int do_madvise(struct mm *mm, u64 start, u64 end, int advice)
{
	struct vma *v = vma_find(mm, start);
	int r;

	switch (advice) {
	case MADV_DONTNEED:
	case MADV_FREE:
	case MADV_REMOVE:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return advise_host(mm, v, start, end, advice);
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
		return set_huge(mm, start, end, advice == MADV_HUGEPAGE);
	case MADV_DONTFORK:
		return change_flags(mm, start, end, VM_DONTFORK, 0, false);
	case MADV_DOFORK:
		return change_flags(mm, start, end, 0, VM_DONTFORK, false);
	case MADV_WIPEONFORK:
		for (; v && v->start < end; v = v->next) {
			r = advice_fits(mm, v, advice);
			if (r < 0)
				return r;
		}
		return change_flags(mm, start, end, VM_WIPEONFORK, 0, false);
	case MADV_KEEPONFORK:
		return change_flags(mm, start, end, 0, VM_WIPEONFORK, false);
	case MADV_COLD:
	case MADV_PAGEOUT:
		for (; v && v->start < end; v = v->next) {
			r = advice_fits(mm, v, advice);
			if (r < 0)
				return r;
		}
		return check_mapped(mm, start, end);
	default:
		return check_mapped(mm, start, end);
	}
}

long sys_madvise(u64 start, u64 len, int advice)
{
	struct mm *mm = current_proc()->mm;
	u64 end;
	int r;

	switch (advice) {
	case MADV_NORMAL ... MADV_DONTNEED:
	case MADV_FREE ... MADV_DOFORK:
	case MADV_MERGEABLE ... MADV_POPULATE_WRITE:
		break;
	case MADV_HWPOISON:
	case MADV_SOFT_OFFLINE:
		return -EPERM;
	default:
		return -EINVAL;
	}
	if (start & ~PAGE_MASK)
		return -EINVAL;
	end = start + page_up(len);
	if (page_up(len) < len || end < start)
		return -EINVAL;
	if (end == start)
		return 0;
	mutex_lock(&mm->lock);
	r = do_madvise(mm, start, end, advice);
	mutex_unlock(&mm->lock);
	return r;
}

/* There is no swap: locked memory differs in being there at once and in the account. */
static long do_mlock(u64 start, u64 len, bool fill)
{
	struct mm *mm = current_proc()->mm;
	u64 end, limit = rlimit_cur(RLIMIT_MEMLOCK);
	bool may = current_proc()->cred.cap_effective & CAP_IPC_LOCK_BIT;
	int r;

	len = page_up(len + (start & ~PAGE_MASK));
	start = page_down(start);
	end = start + len;
	if (!limit && !may)
		return -EPERM;
	if (end < start)
		return -EINVAL;
	if (end == start)
		return 0;
	mutex_lock(&mm->lock);
	if (!may && mm->locked + len > limit) {
		u64 already = 0;

		for (struct vma *v = vma_find(mm, start); v && v->start < end; v = v->next)
			if (v->flags & VM_LOCKED)
				already += min(end, v->end) - max(start, v->start);
		if (mm->locked + len - already > limit) {
			mutex_unlock(&mm->lock);
			return -ENOMEM;
		}
	}
	r = change_flags(mm, start, end, VM_LOCKED, 0, fill);
	mutex_unlock(&mm->lock);
	return r;
}

long sys_mlock(u64 start, u64 len)
{
	return do_mlock(start, len, true);
}

long sys_mlock2(u64 start, u64 len, int flags)
{
	if (flags & ~1 /* MLOCK_ONFAULT */)
		return -EINVAL;
	return do_mlock(start, len, !flags);
}

long sys_munlock(u64 start, u64 len)
{
	struct mm *mm = current_proc()->mm;
	u64 end;
	int r;

	len = page_up(len + (start & ~PAGE_MASK));
	start = page_down(start);
	end = start + len;
	if (end < start)
		return -EINVAL;
	if (end == start)
		return 0;
	mutex_lock(&mm->lock);
	r = change_flags(mm, start, end, 0, VM_LOCKED, false);
	mutex_unlock(&mm->lock);
	return r;
}

long sys_mlockall(int flags)
{
	struct mm *mm = current_proc()->mm;
	u64 limit = rlimit_cur(RLIMIT_MEMLOCK);
	bool may = current_proc()->cred.cap_effective & CAP_IPC_LOCK_BIT;
	int r = 0;

	if (!flags || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) || flags == MCL_ONFAULT)
		return -EINVAL;
	if (!limit && !may)
		return -EPERM;
	mutex_lock(&mm->lock);
	if ((flags & MCL_CURRENT) && !may && mm->total > limit) {
		r = -ENOMEM;
	} else {
		mm->def_flags = flags & MCL_FUTURE ? VM_LOCKED : 0;
		if (flags & MCL_CURRENT)
			change_flags(mm, 0, USER_ADDR_MAX, VM_LOCKED, 0, !(flags & MCL_ONFAULT));
	}
	mutex_unlock(&mm->lock);
	return r;
}

long sys_munlockall(void)
{
	struct mm *mm = current_proc()->mm;

	mutex_lock(&mm->lock);
	mm->def_flags = 0;
	change_flags(mm, 0, USER_ADDR_MAX, 0, VM_LOCKED, false);
	mutex_unlock(&mm->lock);
	return 0;
}

/*
 * Which pages are in memory: all that are backed, since nothing is ever paged out. Pages that were not
 * touched yet count as present too (the host is not asked).
 */
long sys_mincore(u64 start, u64 len, u8 *vec)
{
	struct mm *mm = current_proc()->mm;
	u8 buf[256];
	u64 n;
	int r;

	if (start & ~PAGE_MASK)
		return -EINVAL;
	if (start > USER_ADDR_MAX || len > USER_ADDR_MAX - start)
		return -ENOMEM;
	n = page_up(len) >> PAGE_SHIFT;
	if (!access_ok((u64)vec, n))
		return -EFAULT;
	while (n) {
		u64 k = min(n, sizeof(buf));

		mutex_lock(&mm->lock);
		r = check_mapped(mm, start, start + (k << PAGE_SHIFT));
		if (!r) {
			struct vma *v = vma_find(mm, start);

			for (u64 i = 0; i < k; i++) {
				u64 a = start + (i << PAGE_SHIFT);

				while (a >= v->end)
					v = v->next;
				buf[i] = a < v->hole;
			}
		}
		mutex_unlock(&mm->lock);
		if (r < 0)
			return r;
		if (copy_to_user(vec, buf, k) < 0)
			return -EFAULT;
		vec += k;
		start += k << PAGE_SHIFT;
		n -= k;
	}
	return 0;
}

/* Shared mappings are the file's own pages, so there is nothing to write back. */
long sys_msync(u64 start, u64 len, int flags)
{
	struct mm *mm = current_proc()->mm;
	u64 end;
	int r;

	if ((flags & ~(MS_ASYNC | MS_SYNC | MS_INVALIDATE)) || (start & ~PAGE_MASK) ||
	    (flags & (MS_ASYNC | MS_SYNC)) == (MS_ASYNC | MS_SYNC))
		return -EINVAL;
	end = start + page_up(len);
	if (page_up(len) < len || end < start)
		return -ENOMEM;
	if (end == start)
		return 0;
	mutex_lock(&mm->lock);
	r = check_mapped(mm, start, end);
	if (flags & MS_INVALIDATE)
		for (struct vma *v = vma_find(mm, start); v && v->start < end; v = v->next)
			if (v->flags & VM_LOCKED)
				r = -EBUSY;
	mutex_unlock(&mm->lock);
	return r;
}
