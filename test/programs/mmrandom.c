/*
 * mmrandom.c - random mmap, munmap, mprotect, mremap, madvise and ftruncate in one window of addresses; after each
 * the value, and what every page holds now. The random numbers are the same on Linux and inside.
 */
#include "t.h"

#define PG 4096ul
#define NR 48
#define WIN ((char *)0x200000000000ul)
#define ROUNDS 1500

static uint64_t seed = 88172645463325252ull;

static unsigned rnd(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 33) % n;
}

static int sink[2];

/* One character a page: '.' not readable, else from its first byte; upper case: writable. */
static char page_state(char *p)
{
	char c;
	ssize_t n;

	if (write(sink[1], p, 1) != 1)
		return '.';
	NEED(read(sink[0], &c, 1) == 1);
	/* Reading a byte from the pipe into the page tells whether it can be written. */
	NEED(write(sink[1], &c, 1) == 1);
	n = read(sink[0], p, 1);
	if (n != 1)
		NEED(read(sink[0], &c, 1) == 1);
	return (char)((n == 1 ? 'A' : 'a') + (unsigned char)c % 26);
}

static void show(const char *what, unsigned a, unsigned n, long r)
{
	int err = errno;
	char line[NR + 1];

	for (int i = 0; i < NR; i++)
		line[i] = page_state(WIN + i * PG);
	line[NR] = 0;
	if (r == -1)
		printf("%-10s %2u+%-2u %-8s %s\n", what, a, n, t_errname(err), line);
	else
		printf("%-10s %2u+%-2u %-8s %s\n", what, a, n, "ok", line);
}

static void fill(unsigned a, unsigned n)
{
	for (unsigned i = a; i < a + n && i < NR; i++) {
		char c = (char)rnd(250);

		NEED(write(sink[1], &c, 1) == 1);
		if (read(sink[0], WIN + i * PG, 1) != 1)
			NEED(read(sink[0], &c, 1) == 1);
	}
}

/*
 * A mapping to be moved. What mremap may be given in one piece depends on which areas the kernel has merged, so
 * only what was just made is.
 */
static void fresh(unsigned a, unsigned n, int fd, unsigned off)
{
	int kind = (int)rnd(4), prot = rnd(3) ? PROT_READ | PROT_WRITE : PROT_READ;

	NEED(mmap(WIN + a * PG, n * PG, prot,
		  (kind & 1 ? MAP_SHARED : MAP_PRIVATE) | (kind & 2 ? 0 : MAP_ANONYMOUS) | MAP_FIXED,
		  kind & 2 ? fd : -1, kind & 2 ? off * PG : 0) != MAP_FAILED);
	fill(a, n);
}

/* mmrandom [SEED] */
int main(int argc, char **argv)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE };
	int fd, pages = 20;

	if (argc > 1)
		seed += strtoull(argv[1], NULL, 0) << 20;
	enter_scratch("mmrandom");
	NEED(pipe(sink) == 0);
	fd = open("f", O_RDWR | O_CREAT, 0644);
	NEED(fd >= 0 && ftruncate(fd, pages * PG) == 0);
	for (int i = 0; i < ROUNDS; i++) {
		unsigned a = rnd(NR), n = 1 + rnd(NR - a < 12 ? NR - a : 12), b = rnd(NR), m = 1 + rnd(8);
		unsigned off = rnd(24);
		char *p = WIN + a * PG;
		long r;

		if (b + m > NR)
			m = NR - b;
		switch (rnd(12)) {
		case 0:
		case 1:
			r = (long)mmap(p, n * PG, prots[rnd(4)],
				       (rnd(4) ? MAP_PRIVATE : MAP_SHARED) | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			show("anon", a, n, r);
			break;
		case 2:
			r = (long)mmap(p, n * PG, prots[rnd(4)], MAP_SHARED | MAP_FIXED, fd, off * PG);
			show("shared", a, n, r);
			break;
		case 3:
			r = (long)mmap(p, n * PG, prots[rnd(4)], MAP_PRIVATE | MAP_FIXED, fd, off * PG);
			show("private", a, n, r);
			break;
		case 4:
			r = (long)mmap(p, n * PG, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
			show("noreplace", a, n, r);
			break;
		case 5:
			show("munmap", a, n, munmap(p, n * PG));
			break;
		case 6:
		case 7:
			show("mprotect", a, n, mprotect(p, n * PG, prots[rnd(4)]));
			break;
		case 8:
			fresh(a, n, fd, off);
			r = (long)mremap(p, n * PG, m * PG, MREMAP_MAYMOVE | MREMAP_FIXED, WIN + b * PG);
			show("mremap", a, n, r);
			break;
		case 9:
			fresh(a, n, fd, off);
			r = (long)mremap(p, n * PG, (n + rnd(4)) * PG, 0);
			show("grow", a, n, r);
			break;
		case 10:
			show("dontneed", a, n, madvise(p, n * PG, MADV_DONTNEED));
			break;
		case 11:
			if (rnd(2))
				pages = (int)rnd(24);
			show("ftruncate", 0, (unsigned)pages, ftruncate(fd, pages * PG));
			break;
		}
		fill(rnd(NR), 1 + rnd(6));
	}
	R(munmap(WIN, NR * PG));
	return 0;
}
