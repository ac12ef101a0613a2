/* pipes.c - pipes and FIFOs: capacity, partial writes, end of file, EPIPE, non-blocking, splice family. */
#include "t.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

static char buf[1 << 20];
static volatile int pipe_signals;

static void on_pipe(int sig)
{
	pipe_signals++;
}

static void basics(void)
{
	int p[2];
	struct stat st;

	HEAD("basics");
	R(pipe(p));
	R(write(p[1], "hello", 5));
	R(ioctl(p[0], FIONREAD, buf));
	V(*(int *)buf);
	R(read(p[0], buf, 2));
	R(read(p[0], buf, 100));
	say("%.3s", buf);
	R(write(p[0], "x", 1));
	R(read(p[1], buf, 1));
	R(lseek(p[0], 0, SEEK_SET));
	R(pread(p[0], buf, 1, 0));
	R(write(p[1], "", 0));
	R(read(p[0], buf, 0));
	fstat(p[0], &st);
	say("mode %o", st.st_mode);
	R(fcntl(p[0], F_GETPIPE_SZ));
	R(fcntl(p[1], F_SETPIPE_SZ, 4096));
	R(fcntl(p[0], F_GETPIPE_SZ));
	R(fcntl(p[0], F_GETFL));
	R(fcntl(p[1], F_GETFL));
	R(ftruncate(p[1], 0));
	R(fsync(p[1]));
	R(write(p[1], "last", 4));
	R(close(p[1]));
	R(read(p[0], buf, 100));
	R(read(p[0], buf, 100));
	R(close(p[0]));
	R(pipe2(p, O_CLOEXEC | O_NONBLOCK));
	R(fcntl(p[0], F_GETFD));
	R(fcntl(p[0], F_GETFL));
	R(read(p[0], buf, 1));
	R(close(p[0]));
	R(write(p[1], "x", 1));
	V(pipe_signals);
	R(write(p[1], "x", 0));
	R(close(p[1]));
	R(pipe2(p, 0x10000000));
}

static void capacity(void)
{
	int p[2];
	ssize_t n, total = 0;

	HEAD("capacity");
	R(pipe2(p, O_NONBLOCK));
	while ((n = write(p[1], buf, 4096)) > 0)
		total += n;
	T(n == -1 && errno == EAGAIN);
	V(total);
	R(write(p[1], buf, 1));
	R(read(p[0], buf, 4095));
	R(write(p[1], buf, 4096)); /* at most PIPE_BUF: whole or not at all */
	R(read(p[0], buf, 1));
	R(write(p[1], buf, 4096));
	R(write(p[1], buf, 4096));
	total = 0;
	while ((n = read(p[0], buf, sizeof(buf))) > 0)
		total += n;
	V(total);
	R(write(p[1], buf, 100000));
	R(write(p[1], buf, 100000));
	R(ioctl(p[0], FIONREAD, buf));
	V(*(int *)buf);
	close(p[0]);
	close(p[1]);
}

static int pp[2];

static void *big_writer(void *arg)
{
	R(write(pp[1], buf, 300000));
	close(pp[1]);
	return NULL;
}

static void blocking(void)
{
	static char in[4096];
	ssize_t n, total = 0;
	int good = 1;
	pthread_t t;

	HEAD("blocking");
	for (size_t i = 0; i < 300000; i++)
		buf[i] = (char)(i % 251);
	NEED(pipe(pp) == 0);
	t = spawn(big_writer, NULL);
	while ((n = read(pp[0], in, 1000)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			good &= in[i] == (char)((total + i) % 251);
		total += n;
	}
	pthread_join(t, NULL);
	V(total);
	T(good);
	close(pp[0]);
}

static void *late_close(void *arg)
{
	sleep_ms(10);
	close(*(int *)arg);
	return NULL;
}

static void wakeups(void)
{
	pthread_t t;
	ssize_t n;

	HEAD("wake-ups");
	NEED(pipe(pp) == 0);
	t = spawn(late_close, &pp[1]);
	R(read(pp[0], buf, 1)); /* the last writer goes: end of file */
	pthread_join(t, NULL);
	close(pp[0]);
	NEED(pipe(pp) == 0);
	while (fcntl(pp[1], F_SETFL, O_NONBLOCK) == 0 && (n = write(pp[1], buf, 65536)) > 0)
		;
	fcntl(pp[1], F_SETFL, 0);
	t = spawn(late_close, &pp[0]);
	R(write(pp[1], buf, 1)); /* the last reader goes: EPIPE */
	pthread_join(t, NULL);
	close(pp[1]);
	V(pipe_signals);
}

static void *fifo_writer(void *arg)
{
	int fd = open("fifo", O_WRONLY);

	NEED(write(fd, "through", 7) == 7);
	close(fd);
	return NULL;
}

static void fifos(void)
{
	pthread_t t;
	int fd, fd2;

	HEAD("fifo");
	R(mkfifo("fifo", 0644));
	R(mkfifo("fifo", 0644));
	R(open("fifo", O_WRONLY | O_NONBLOCK));
	fd = Z(open("fifo", O_RDONLY | O_NONBLOCK));
	R(read(fd, buf, 1));
	fd2 = Z(open("fifo", O_WRONLY | O_NONBLOCK));
	R(read(fd, buf, 1));
	R(write(fd2, "ab", 2));
	R(read(fd, buf, 10));
	close(fd2);
	R(read(fd, buf, 1));
	close(fd);
	fd = Z(open("fifo", O_RDWR));
	R(write(fd, "xy", 2));
	R(read(fd, buf, 10));
	close(fd);
	t = spawn(fifo_writer, NULL);
	fd = open("fifo", O_RDONLY); /* waits for the writer */
	T(fd >= 0);
	pthread_join(t, NULL);
	R(read(fd, buf, 100));
	R(read(fd, buf, 100));
	close(fd);
	R(unlink("fifo"));
}

static void splices(void)
{
	int p[2], q[2], fd;
	loff_t off = 2;
	struct iovec v[2] = { { "one", 3 }, { "two", 3 } };

	HEAD("splice");
	NEED(pipe2(p, O_NONBLOCK) == 0);
	NEED(pipe2(q, O_NONBLOCK) == 0);
	put_file("f", "0123456789");
	fd = open("f", O_RDWR);
	R(splice(fd, &off, p[1], NULL, 5, 0));
	V(off);
	R(tee(p[0], q[1], 3, 0));
	R(read(q[0], buf, 100));
	R(splice(p[0], NULL, q[1], NULL, 100, 0));
	R(read(q[0], buf, 100));
	say("%.5s", buf);
	R(vmsplice(p[1], v, 2, 0));
	off = 4;
	R(splice(p[0], NULL, fd, &off, 100, 0));
	show_file("f");
	R(splice(p[0], NULL, fd, &off, 100, SPLICE_F_NONBLOCK));
	R(splice(fd, NULL, fd, NULL, 1, 0));
	R(splice(p[0], &off, q[1], NULL, 1, 0));
	R(tee(fd, q[1], 1, 0));
	close(fd);
	R(fcntl(p[0], F_SETPIPE_SZ, 1 << 17));
	R(fcntl(p[0], F_SETPIPE_SZ, 0));
	close(p[0]);
	close(p[1]);
	close(q[0]);
	close(q[1]);
}

int main(void)
{
	signal(SIGPIPE, on_pipe);
	enter_scratch("pipes");
	basics();
	capacity();
	blocking();
	wakeups();
	fifos();
	splices();
	return 0;
}
