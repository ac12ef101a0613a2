/* mm.c - mmap and its family: placement, sharing, protection, mremap, madvise, memfd, brk. */
#include "t.h"

#include <setjmp.h>

#define PG 4096ul
#define FIXED ((char *)0x200000000000ul)

static sigjmp_buf jump;
static volatile int fault_code;

static void on_fault(int sig, siginfo_t *si, void *uc)
{
	fault_code = sig * 100 + si->si_code;
	siglongjmp(jump, 1);
}

/* Touches a byte: 0 if that works, else signal * 100 + si_code. */
static int touch(volatile char *p, int write)
{
	fault_code = 0;
	if (sigsetjmp(jump, 1) == 0) {
		if (write)
			*p = 7;
		else
			(void)*p;
	}
	return fault_code;
}

static void placement(void)
{
	char *p, *q;

	HEAD("placement");
	R(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	R(mmap(NULL, PG, PROT_READ, MAP_ANONYMOUS, -1, 0));
	R(mmap(NULL, PG, PROT_READ, MAP_PRIVATE, -1, 0));
	R(mmap(NULL, PG, PROT_READ, MAP_PRIVATE, 100, 0));
	R(mmap(NULL, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 100));
	R(mmap((void *)1, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	R(mmap(NULL, 1ul << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	R(mmap((void *)(1ul << 50), PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	p = mmap(FIXED, 4 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T(p == FIXED);
	q = mmap(FIXED, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T(q != FIXED && q != MAP_FAILED);
	R(munmap(q, PG));
	R(mmap(FIXED + PG, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	R(mmap(FIXED - PG, 2 * PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
	       0));
	q = mmap(FIXED + 4 * PG, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		 -1, 0);
	T(q == FIXED + 4 * PG);
	p[PG] = 5;
	q = mmap(FIXED + PG, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0);
	T(q == FIXED + PG);
	V(p[PG]);
	R(munmap(FIXED + PG, PG));
	V(touch(p, 1));
	V(touch(p + PG, 0));
	V(touch(p + 2 * PG, 0));
	R(munmap(FIXED + 1, PG));
	R(munmap(FIXED, 0));
	R(munmap(FIXED, 5 * PG));
	R(munmap(FIXED, 5 * PG));
	V(touch(p, 0));
	p = mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	T(p != MAP_FAILED && *p == 0);
	R(munmap(p, PG));
	p = mmap(NULL, 2 * PG, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	T(p != MAP_FAILED);
	R(munmap(p, 2 * PG));
	p = mmap(NULL, 1ul << 36, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	T(p != MAP_FAILED);
	R(munmap(p, 1ul << 36));
	p = mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	T(p != MAP_FAILED && (uintptr_t)p < 1ul << 31);
	R(munmap(p, PG));
}

static void protection(void)
{
	char *p = mmap(NULL, 4 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	HEAD("protection");
	memset(p, 1, 4 * PG);
	R(mprotect(p + PG, PG, PROT_READ));
	V(touch(p + PG, 0));
	V(touch(p + PG, 1));
	V(touch(p + 2 * PG, 1));
	R(mprotect(p + PG, 2 * PG, PROT_NONE));
	V(touch(p + PG, 0));
	V(touch(p + 2 * PG, 0));
	V(touch(p + 3 * PG, 1));
	R(mprotect(p, 4 * PG, PROT_READ | PROT_WRITE));
	V(p[PG]);
	R(syscall(SYS_mprotect, p + 1, PG, PROT_READ)); /* musl's mprotect() rounds */
	R(mprotect(p, 0, PROT_READ));
	R(mprotect(p, PG, 0x100));
	R(munmap(p + 2 * PG, PG));
	R(mprotect(p, 4 * PG, PROT_READ));
	V(touch(p, 1));
	R(munmap(p, 4 * PG));
	R(mprotect(p, PG, PROT_READ));

	p = mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(p, "\xb8\x2a\x00\x00\x00\xc3", 6); /* mov $42, %eax; ret */
	R(mprotect(p, PG, PROT_READ | PROT_EXEC));
	V(((int (*)(void))(void *)p)());
	R(munmap(p, PG));
	p = mmap(NULL, PG, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T(p != MAP_FAILED);
	memcpy(p, "\xb8\x2b\x00\x00\x00\xc3", 6);
	V(((int (*)(void))(void *)p)());
	R(munmap(p, PG));
}

static void remap(void)
{
	char *p, *q;

	HEAD("mremap");
	p = mmap(FIXED, 2 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p[0] = 1;
	p[PG] = 2;
	q = mremap(p, 2 * PG, 4 * PG, 0);
	T(q == p);
	V(q[PG]);
	V(q[3 * PG]);
	q = mremap(p, 4 * PG, 2 * PG, 0);
	T(q == p);
	V(touch(p + 2 * PG, 0));
	q = mmap(FIXED + 2 * PG, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T(q == FIXED + 2 * PG);
	R(mremap(p, 2 * PG, 4 * PG, 0));
	q = mremap(p, 2 * PG, 8 * PG, MREMAP_MAYMOVE);
	T(q != MAP_FAILED && q != p);
	V(q[0]);
	V(q[PG]);
	V(touch(q + 7 * PG, 1));
	V(touch(p, 0));
	p = mremap(q, 8 * PG, 8 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, FIXED + 16 * PG);
	T(p == FIXED + 16 * PG);
	V(p[PG]);
	V(touch(q, 0));
	q = mremap(p, 2 * PG, 2 * PG, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
	T(q != MAP_FAILED && q != p);
	V(q[PG]);
	V(p[PG]);
	R(munmap(q, 2 * PG));
	R(mremap(p + 1, PG, PG, MREMAP_MAYMOVE));
	R(mremap(p, PG, 0, MREMAP_MAYMOVE));
	R(mremap(p, PG, PG, 0x80));
	R(mremap(p, 2 * PG, 2 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, p + PG));
	R(mremap(p, 2 * PG, 2 * PG, MREMAP_FIXED, FIXED));
	R(munmap(FIXED, 64 * PG));
	R(mremap(p, PG, 2 * PG, MREMAP_MAYMOVE));
}

static void *store_seven(void *p)
{
	*(char *)p = 7;
	return NULL;
}

static void sharing(void)
{
	char *p, *q, *r;
	int fd;

	HEAD("shared anonymous");
	p = mmap(NULL, 2 * PG, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	T(p != MAP_FAILED);
	pthread_join(spawn(store_seven, p), NULL);
	V(p[0]);
	q = mremap(p, 0, 2 * PG, MREMAP_MAYMOVE); /* a second view of a shared mapping */
	T(q != MAP_FAILED && q != p);
	q[PG] = 9;
	V(p[PG]);
	R(munmap(p, 2 * PG));
	V(q[PG]);
	R(munmap(q, 2 * PG));

	HEAD("memfd");
	fd = Z(memfd_create("shared", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	R(fcntl(fd, F_GETFD));
	R(ftruncate(fd, 3 * PG));
	p = mmap(NULL, 3 * PG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	q = mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PG);
	r = mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, PG);
	T(p != MAP_FAILED && q != MAP_FAILED && r != MAP_FAILED);
	p[PG] = 3;
	V(q[0]);
	V(r[0]);
	r[0] = 4;
	V(q[0]);
	q[1] = 5;
	R(pread(fd, p, 2, PG));
	V(p[0]);
	V(p[1]);
	R(pwrite(fd, "xy", 2, PG + 8));
	V(q[9]);
	R(ftruncate(fd, PG));
	V(touch(q, 0));
	R(ftruncate(fd, 3 * PG));
	V(q[0]);
	R(mmap(NULL, PG, PROT_READ, MAP_SHARED, fd, 1));
	R(fcntl(fd, F_GET_SEALS));
	R(munmap(p, 3 * PG));
	R(munmap(q, PG));
	R(munmap(r, PG));
	R(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
	R(fcntl(fd, F_GET_SEALS));
	R(ftruncate(fd, 4 * PG));
	R(ftruncate(fd, PG));
	R(pwrite(fd, "x", 1, 0));
	R(mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	R(close(fd));
	R(memfd_create("x", 0x1000));
	fd = Z(memfd_create("plain", 0));
	R(fcntl(fd, F_GET_SEALS));
	R(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	R(close(fd));
}

static void file_mappings(void)
{
	char *p, *q;
	int fd, ro;

	HEAD("file mappings");
	put_file("f", "0123456789");
	fd = open("f", O_RDWR);
	ro = open("f", O_RDONLY);
	p = mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	q = mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE, ro, 0);
	T(p != MAP_FAILED && q != MAP_FAILED);
	p[0] = 'A';
	V(q[0]);
	q[1] = 'B';
	V(p[1]);
	V(p[10]);
	show_file("f");
	R(mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0));
	close(ro);
	ro = open("f", O_WRONLY);
	R(mmap(NULL, PG, PROT_READ, MAP_SHARED, ro, 0));
	R(msync(p, PG, MS_SYNC));
	R(msync(p, PG, MS_ASYNC | MS_SYNC));
	R(msync(p + 1, PG, MS_SYNC));
	R(unlink("f"));
	R(close(fd));
	V(p[0]);
	R(munmap(p, PG));
	R(munmap(q, PG));
	fd = open("/proc/self/exe", O_RDONLY);
	p = mmap(NULL, PG, PROT_READ, MAP_PRIVATE, fd, 0);
	T(p != MAP_FAILED && !memcmp(p, "\177ELF", 4));
	R(mprotect(p, PG, PROT_READ | PROT_WRITE));
	V(touch(p, 1));
	R(munmap(p, PG));
	fd = open("/dev/zero", O_RDWR);
	p = mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	T(p != MAP_FAILED && p[0] == 0);
	R(munmap(p, PG));
	close(fd);
}

static void advice(void)
{
	char *p = mmap(NULL, 4 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	HEAD("madvise");
	memset(p, 1, 4 * PG);
	R(madvise(p + PG, PG, MADV_DONTNEED));
	V(p[0]);
	V(p[PG]);
	V(p[2 * PG]);
	R(madvise(p, 4 * PG, MADV_WILLNEED));
	R(madvise(p, 4 * PG, MADV_NORMAL));
	R(madvise(p, 4 * PG, MADV_RANDOM));
	R(madvise(p, 4 * PG, MADV_SEQUENTIAL));
	R(madvise(p, 4 * PG, MADV_NOHUGEPAGE));
	R(madvise(p, 4 * PG, MADV_DONTFORK));
	R(madvise(p, 4 * PG, MADV_DODUMP));
	R(madvise(p, 4 * PG, MADV_FREE));
	R(madvise(p + 1, PG, MADV_DONTNEED));
	R(madvise(p, 4 * PG, 9999));
	R(madvise(p, 0, MADV_DONTNEED));
	R(munmap(p + PG, PG));
	R(madvise(p, 4 * PG, MADV_DONTNEED));
	V(p[2 * PG]);
	R(munmap(p, 4 * PG));
	R(madvise(p, PG, MADV_DONTNEED));
	p = mmap(NULL, 2 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	R(mlock(p, 2 * PG));
	R(munlock(p, 2 * PG));
	R(munmap(p, 2 * PG));
	p = mmap(NULL, 4 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p[0] = p[2 * PG] = 1;
	{
		unsigned char vec[4] = { 0 };

		R(mincore(p, 4 * PG, vec));
		V(vec[0] & 1);
		R(munmap(p, 4 * PG));
		R(mincore(p, 4 * PG, vec));
	}
}

static void heap(void)
{
	char *b0 = (char *)syscall(SYS_brk, 0), *b1;

	HEAD("brk");
	T(b0 != NULL);
	b1 = (char *)syscall(SYS_brk, b0 + 8 * PG);
	T(b1 == b0 + 8 * PG);
	V(touch(b1 - 1, 1));
	V(b1[-2]);
	T((char *)syscall(SYS_brk, b0 + 4 * PG) == b0 + 4 * PG);
	V(touch(b0 + 8 * PG - 1, 0));
	T((char *)syscall(SYS_brk, b0 + 8 * PG) == b0 + 8 * PG);
	V(b1[-1]);
	T((char *)syscall(SYS_brk, 1) == b0 + 8 * PG);
	T((char *)syscall(SYS_brk, b0) == b0);
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	enter_scratch("mm");
	placement();
	protection();
	remap();
	sharing();
	file_mappings();
	advice();
	heap();
	return 0;
}
