/* locks.c - record locks: traditional (per process), open file description, flock. */
#include "t.h"

#include <sys/file.h>

static struct flock span(short type, off_t start, off_t len)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
}

static void query(int fd, int cmd, off_t start, off_t len)
{
	struct flock l = span(F_WRLCK, start, len);
	int r = fcntl(fd, cmd, &l);

	if (r)
		say("query %ld+%ld: %s", (long)start, (long)len, t_errname(errno));
	else if (l.l_type == F_UNLCK)
		say("query %ld+%ld: free", (long)start, (long)len);
	else
		say("query %ld+%ld: type %d %ld+%ld pid %s", (long)start, (long)len, l.l_type,
		    (long)l.l_start, (long)l.l_len, l.l_pid == -1 ? "-1" : "some");
}

static int lock(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock l = span(type, start, len);

	return fcntl(fd, cmd, &l);
}

static int fd1, fd2;

static void *waiter(void *arg)
{
	/* Set before and read after the lock is had: the unlocker must have been first. */
	R(lock(fd2, F_OFD_SETLKW, F_WRLCK, 0, 10));
	V(*(volatile int *)arg);
	R(lock(fd2, F_OFD_SETLK, F_UNLCK, 0, 0));
	return NULL;
}

static void *flock_waiter(void *arg)
{
	R(flock(fd2, LOCK_EX));
	V(*(volatile int *)arg);
	return NULL;
}

int main(void)
{
	static volatile int released;
	struct flock l;
	pthread_t t;

	enter_scratch("locks");
	put_file("f", "0123456789");
	fd1 = open("f", O_RDWR);
	fd2 = open("f", O_RDWR);

	HEAD("traditional: own locks never conflict");
	R(lock(fd1, F_SETLK, F_WRLCK, 0, 5));
	R(lock(fd2, F_SETLK, F_WRLCK, 0, 5));
	query(fd1, F_GETLK, 0, 5);
	query(fd2, F_GETLK, 0, 0);
	query(fd2, F_OFD_GETLK, 0, 0);
	R(lock(fd2, F_OFD_SETLK, F_RDLCK, 4, 1));
	R(lock(fd1, F_SETLK, F_UNLCK, 0, 0));
	query(fd2, F_OFD_GETLK, 0, 0);
	R(lock(fd1, F_SETLK, F_RDLCK, 0, 5));
	R(lock(fd2, F_OFD_SETLK, F_RDLCK, 0, 5));
	R(lock(fd2, F_OFD_SETLK, F_WRLCK, 0, 5));
	R(lock(fd2, F_OFD_SETLK, F_UNLCK, 0, 0));
	{
		int fd3 = open("f", O_RDONLY);

		R(lock(fd3, F_SETLK, F_WRLCK, 0, 1));
		R(close(fd3)); /* closing any descriptor of the file drops the process's locks */
	}
	query(fd2, F_OFD_GETLK, 0, 0);

	HEAD("open file description");
	R(lock(fd1, F_OFD_SETLK, F_WRLCK, 0, 5));
	R(lock(fd2, F_OFD_SETLK, F_WRLCK, 4, 2));
	R(lock(fd2, F_OFD_SETLK, F_WRLCK, 5, 2));
	query(fd2, F_OFD_GETLK, 0, 5);
	query(fd1, F_OFD_GETLK, 0, 100);
	R(lock(fd1, F_OFD_SETLK, F_RDLCK, 1, 3)); /* splits: W 0-0, R 1-3, W 4-4 */
	query(fd2, F_OFD_GETLK, 0, 1);
	query(fd2, F_OFD_GETLK, 1, 1);
	query(fd2, F_OFD_GETLK, 4, 1);
	R(lock(fd2, F_OFD_SETLK, F_RDLCK, 2, 1));
	R(lock(fd1, F_OFD_SETLK, F_WRLCK, 1, 3));
	R(lock(fd2, F_OFD_SETLK, F_UNLCK, 0, 0));
	R(lock(fd1, F_OFD_SETLK, F_WRLCK, 1, 3));
	R(lock(fd1, F_OFD_SETLK, F_UNLCK, 2, 1));
	query(fd2, F_OFD_GETLK, 0, 2);
	query(fd2, F_OFD_GETLK, 2, 1);
	query(fd2, F_OFD_GETLK, 2, 10);
	R(lock(fd1, F_OFD_SETLK, F_UNLCK, 0, 0));
	{
		int d = dup(fd1);

		R(lock(fd1, F_OFD_SETLK, F_WRLCK, 0, 0));
		R(close(d)); /* not the last descriptor: the lock stays */
		query(fd2, F_OFD_GETLK, 0, 1);
	}

	HEAD("waiting");
	t = spawn(waiter, (void *)&released);
	sleep_ms(20);
	released = 1;
	lock(fd1, F_OFD_SETLK, F_UNLCK, 0, 0);
	pthread_join(t, NULL);

	HEAD("bad arguments");
	R(lock(fd1, F_SETLK, 77, 0, 1));
	R(lock(1000, F_SETLK, F_WRLCK, 0, 1));
	R(lock(fd1, F_SETLK, F_WRLCK, -5, 1));
	l = span(F_WRLCK, 0, 1);
	l.l_whence = 9;
	R(fcntl(fd1, F_SETLK, &l));
	l = span(F_WRLCK, 0, 1);
	l.l_pid = 5;
	R(fcntl(fd1, F_OFD_SETLK, &l));
	l = span(F_WRLCK, -2, 2);
	l.l_whence = SEEK_END;
	R(fcntl(fd1, F_OFD_SETLK, &l));
	query(fd2, F_OFD_GETLK, 0, 0);
	R(lock(fd1, F_OFD_SETLK, F_UNLCK, 0, 0));
	R(lock(fd1, F_OFD_SETLK, F_WRLCK, 10, -4));
	query(fd2, F_OFD_GETLK, 0, 0);
	R(lock(fd1, F_OFD_SETLK, F_UNLCK, 0, 0));

	HEAD("flock");
	released = 0;
	R(flock(fd1, LOCK_EX));
	R(flock(fd2, LOCK_EX | LOCK_NB));
	R(flock(fd2, LOCK_SH | LOCK_NB));
	R(flock(fd1, LOCK_SH));
	R(flock(fd2, LOCK_SH | LOCK_NB));
	R(flock(fd1, LOCK_EX | LOCK_NB));
	R(flock(fd1, LOCK_UN));
	R(flock(fd2, LOCK_UN));
	R(flock(fd1, LOCK_EX));
	t = spawn(flock_waiter, (void *)&released);
	sleep_ms(20);
	released = 1;
	close(fd1);
	pthread_join(t, NULL);
	return 0;
}
