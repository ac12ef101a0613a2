/*
 * process_vm.c - process_vm_readv and process_vm_writev, within the caller's own process.
 */
#include "libos/fs/iov.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"

#define CHUNK 2048

/* Copies from one cursor to the other until one ends; bytes, or -EFAULT if there was none. */
static ssize_t copy_between(struct iov_iter *from, struct iov_iter *to)
{
	u8 buf[CHUNK];
	ssize_t done = 0;

	while (from->count && to->count) {
		size_t n = min(min(from->count, to->count), sizeof(buf)), got, put;

		got = iov_copy_from(from, buf, n);
		put = iov_copy_to(to, buf, got);
		done += put;
		if (put < n)
			return done ? done : -EFAULT;
	}
	return done;
}

static long process_vm(int pid, u64 ulocal, u64 nr_local, u64 uremote, u64 nr_remote, u64 flags, bool write)
{
	struct iovec_k small_l[8], small_r[8], *heap_l = NULL, *heap_r = NULL;
	struct iov_iter local, remote;
	struct uthread *ut;
	long r;

	if (flags)
		return -EINVAL;
	r = iov_iter_import(&local, ulocal, nr_local, small_l, &heap_l);
	if (r)
		return r;
	if (!local.count) {
		iov_iter_free(heap_l, nr_local);
		return 0;
	}
	r = iov_iter_import(&remote, uremote, nr_remote, small_r, &heap_r);
	if (r)
		goto out;
	ut = uthread_find(pid);
	if (!ut)
		r = -ESRCH;
	else if (ut->proc != current_proc())
		r = -EPERM;
	else
		r = write ? copy_between(&local, &remote) : copy_between(&remote, &local);
	if (ut)
		uthread_put(ut);
	iov_iter_free(heap_r, nr_remote);
out:
	iov_iter_free(heap_l, nr_local);
	return r;
}

long sys_process_vm_readv(int pid, u64 ulocal, u64 nr_local, u64 uremote, u64 nr_remote, u64 flags)
{
	return process_vm(pid, ulocal, nr_local, uremote, nr_remote, flags, false);
}

long sys_process_vm_writev(int pid, u64 ulocal, u64 nr_local, u64 uremote, u64 nr_remote, u64 flags)
{
	return process_vm(pid, ulocal, nr_local, uremote, nr_remote, flags, true);
}
