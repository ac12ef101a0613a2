/*
 * t.h - what the test programs share: each result becomes one line of text that must be the same on
 * Linux and inside an instance. The program holds no expectations; native Linux is the expectation.
 *
 *   R(call)  prints the call, its value, and the errno's name if it is -1
 *   Z(call)  the same for a value that varies (an fd, a pid): prints "ok" or the errno's name
 *   T(cond)  prints true or false
 *   V(expr)  prints an integer
 *   S(expr)  prints a string
 */
#ifndef TEST_PROGRAMS_T_H
#define TEST_PROGRAMS_T_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#ifndef __GLIBC__ /* what musl 1.2.3 lacks; values from the kernel's uapi headers */
#include <sys/uio.h>
#define RENAME_NOREPLACE 1u
#define RENAME_EXCHANGE 2u
#define renameat2(d1, p1, d2, p2, f) syscall(SYS_renameat2, d1, p1, d2, p2, f)
#define preadv2(fd, v, n, off, f) syscall(SYS_preadv2, fd, v, n, off, 0, f)
#define STATX_SIZE 0x200u
#define STATX_BASIC_STATS 0x7ffu
struct statx {
	uint32_t stx_mask, stx_blksize;
	uint64_t stx_attributes;
	uint32_t stx_nlink, stx_uid, stx_gid;
	uint16_t stx_mode, pad0;
	uint64_t stx_ino, stx_size, stx_blocks, stx_attributes_mask;
	uint64_t rest[24];
};
#define statx(d, p, f, m, b) syscall(SYS_statx, d, p, f, m, b)
#endif

#define NS_PER_MS 1000000L
#define NS_PER_S 1000000000L

#define T_UNUSED __attribute__((unused))

static T_UNUSED const char *t_errname(int e)
{
	static const struct {
		int e;
		const char *name;
	} names[] = {
#define N(x) { x, #x }
		N(EPERM), N(ENOENT), N(ESRCH), N(EINTR), N(EIO), N(ENXIO), N(E2BIG), N(ENOEXEC),
		N(EBADF), N(ECHILD), N(EAGAIN), N(ENOMEM), N(EACCES), N(EFAULT), N(ENOTBLK),
		N(EBUSY), N(EEXIST), N(EXDEV), N(ENODEV), N(ENOTDIR), N(EISDIR), N(EINVAL),
		N(ENFILE), N(EMFILE), N(ENOTTY), N(ETXTBSY), N(EFBIG), N(ENOSPC), N(ESPIPE),
		N(EROFS), N(EMLINK), N(EPIPE), N(EDOM), N(ERANGE), N(EDEADLK), N(ENAMETOOLONG),
		N(ENOLCK), N(ENOSYS), N(ENOTEMPTY), N(ELOOP), N(ENODATA), N(ETIME), N(EOVERFLOW),
		N(ENOTSOCK), N(EDESTADDRREQ), N(EMSGSIZE), N(EPROTOTYPE), N(ENOPROTOOPT),
		N(EPROTONOSUPPORT), N(EOPNOTSUPP), N(EAFNOSUPPORT), N(EISCONN), N(ENOTCONN),
		N(ETIMEDOUT), N(ECONNREFUSED), N(ECONNRESET), N(EALREADY), N(EINPROGRESS),
		N(ESTALE), N(EDQUOT), N(ECANCELED), N(EOWNERDEAD), N(ENOTRECOVERABLE),
#undef N
	};
	static __thread char other[32];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].e == e)
			return names[i].name;
	snprintf(other, sizeof(other), "errno %d", e);
	return other;
}

/* One write a line, so that lines of threads do not mix and nothing is lost when the program dies. */
static T_UNUSED __attribute__((format(printf, 1, 2))) void say(const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if ((size_t)n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	if (write(1, line, n) != n)
		_exit(99);
}

static T_UNUSED long t_report(const char *what, long r, int e, int exact)
{
	if (r == -1 && e)
		say("%s = -1 %s", what, t_errname(e));
	else if (exact)
		say("%s = %ld", what, r);
	else
		say("%s ok", what);
	return r;
}

#define R(call) ({ errno = 0; long r_ = (long)(call); t_report(#call, r_, errno, 1); })
#define Z(call) ({ errno = 0; long r_ = (long)(call); t_report(#call, r_, errno, 0); })
#define T(cond) say("%s: %s", #cond, (cond) ? "true" : "false")
#define V(expr) say("%s: %lld", #expr, (long long)(expr))
#define S(expr) say("%s: %s", #expr, (expr))
/* For calls that return an error number (pthread_*, posix_*). */
#define E(call) ({ int e_ = (call); say("%s = %s", #call, e_ ? t_errname(e_) : "0"); e_; })
#define HEAD(text) say("-- %s", text)

/* Stops the program where going on makes no sense. */
#define NEED(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			say("%s:%d: need %s (%s)", __FILE__, __LINE__, #cond, t_errname(errno));   \
			exit(98);                                                                  \
		}                                                                                  \
	} while (0)

static T_UNUSED long now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static T_UNUSED struct timespec ts_ns(long ns)
{
	return (struct timespec){ ns / NS_PER_S, ns % NS_PER_S };
}

static T_UNUSED void sleep_ms(long ms)
{
	struct timespec ts = ts_ns(ms * NS_PER_MS);

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static T_UNUSED pid_t gettid_raw(void)
{
	return syscall(SYS_gettid);
}

/* Goes to an empty directory of the program's own: below $T_DIR, or /tmp. */
static T_UNUSED void enter_scratch(const char *name)
{
	const char *base = getenv("T_DIR");
	char path[256];

	if (!base) {
		base = "/tmp";
		mkdir(base, 01777);
	}
	snprintf(path, sizeof(path), "%s/%s", base, name);
	umask(022);
	NEED(mkdir(path, 0755) == 0);
	NEED(chdir(path) == 0);
}

/* Creates or replaces a file. */
static T_UNUSED void put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	NEED(fd >= 0);
	NEED(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* Prints what a file holds, on one line. */
static T_UNUSED void show_file(const char *path)
{
	char buf[512];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0) {
		say("%s: %s", path, t_errname(errno));
		return;
	}
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	buf[n > 0 ? n : 0] = 0;
	say("%s holds %zd: \"%s\"", path, n, buf);
}

static T_UNUSED pthread_t spawn(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	NEED(pthread_create(&t, NULL, fn, arg) == 0);
	return t;
}

#endif
