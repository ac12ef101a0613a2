/* fileio.c - bytes: read, write, seek, positions, append, vectors, holes, truncation, sendfile. */
#include "t.h"

#include <sys/sendfile.h>
#include <sys/uio.h>

static char big[300000], back[300000];

static void pattern(void)
{
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 7 + i / 251);
}

static void positions(void)
{
	char buf[64] = "";
	int fd, fd2;

	HEAD("positions");
	fd = open("a", O_RDWR | O_CREAT, 0644);
	R(write(fd, "0123456789", 10));
	R(lseek(fd, 0, SEEK_CUR));
	R(lseek(fd, 3, SEEK_SET));
	R(read(fd, buf, 4));
	S(buf);
	R(lseek(fd, -2, SEEK_END));
	R(read(fd, buf, 10));
	R(read(fd, buf, 10));
	R(lseek(fd, -20, SEEK_CUR));
	R(lseek(fd, 0, 99));
	R(lseek(fd, 100, SEEK_SET));
	R(read(fd, buf, 1));
	R(write(fd, "x", 1));
	R(lseek(fd, 0, SEEK_END));
	R(pread(fd, buf, 5, 98));
	V(buf[0]);
	V(buf[2]);
	R(pread(fd, buf, 5, -1));
	R(pread(fd, buf, 5, 1000));
	R(pwrite(fd, "yy", 2, 4));
	R(pwrite(fd, "yy", 2, -4));
	R(lseek(fd, 0, SEEK_CUR));
	fd2 = dup(fd);
	R(lseek(fd2, 4, SEEK_SET));
	R(lseek(fd, 0, SEEK_CUR)); /* shared with the duplicate */
	close(fd2);
	fd2 = open("a", O_RDONLY);
	R(lseek(fd2, 0, SEEK_CUR)); /* not shared with another open */
	R(read(fd2, buf, 6));
	say("%.6s", buf);
	close(fd2);
	R(read(fd, buf, 0));
	R(write(fd, buf, 0));
	R(lseek(1000, 0, SEEK_SET));
	close(fd);

	HEAD("append");
	fd = open("b", O_WRONLY | O_CREAT | O_APPEND, 0644);
	fd2 = open("b", O_WRONLY | O_APPEND);
	R(write(fd, "aa", 2));
	R(write(fd2, "bb", 2));
	R(lseek(fd, 0, SEEK_SET));
	R(write(fd, "cc", 2));
	R(pwrite(fd, "dd", 2, 0)); /* Linux: O_APPEND appends whatever the offset */
	show_file("b");
	R(fcntl(fd, F_SETFL, 0));
	R(pwrite(fd, "EE", 2, 0));
	show_file("b");
	R(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK));
	R(fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK | O_ACCMODE));
	close(fd);
	close(fd2);
}

static void vectors(void)
{
	char x[4] = "", y[4] = "", z[16] = "";
	struct iovec w[3] = { { "ab", 2 }, { "", 0 }, { "cdef", 4 } };
	struct iovec r[3] = { { x, 2 }, { y, 3 }, { z, 10 } };
	struct iovec many[1025];
	int fd = open("v", O_RDWR | O_CREAT | O_TRUNC, 0644);

	HEAD("vectors");
	R(writev(fd, w, 3));
	R(writev(fd, w, 0));
	R(syscall(SYS_writev, fd, w, -1));
	R(lseek(fd, 0, SEEK_SET));
	R(readv(fd, r, 3));
	say("%.2s %.3s %s", x, y, z);
	R(pwritev(fd, w, 3, 10));
	R(preadv(fd, r, 3, 9));
	say("%d %.3s %s", x[0], y, z);
	R(preadv(fd, r, 3, -1));
	R(preadv2(fd, r, 3, 0, 0));
	R(preadv2(fd, r, 3, 0, 0x1000));
	for (int i = 0; i < 1025; i++)
		many[i] = (struct iovec){ z, 1 };
	R(writev(fd, many, 1024));
	R(writev(fd, many, 1025));
	w[1].iov_len = (size_t)-1;
	R(writev(fd, w, 3));
	close(fd);
}

static void sizes(void)
{
	struct stat st;
	char buf[8] = "";
	int fd = open("s", O_RDWR | O_CREAT | O_TRUNC, 0644);
	ssize_t n = 0;

	HEAD("sizes and holes");
	R(ftruncate(fd, 1 << 20));
	fstat(fd, &st);
	V(st.st_size);
	T(st.st_blocks == 0);
	R(pread(fd, buf, 4, 500000));
	V(buf[0]);
	R(pwrite(fd, "data", 4, 8192));
	R(lseek(fd, 0, SEEK_DATA));
	R(lseek(fd, 8192, SEEK_HOLE));
	R(lseek(fd, 0, SEEK_HOLE));
	R(lseek(fd, 12288, SEEK_DATA));
	R(lseek(fd, 2 << 20, SEEK_DATA));
	R(lseek(fd, 2 << 20, SEEK_HOLE));
	R(ftruncate(fd, 8194));
	R(ftruncate(fd, 8200));
	R(pread(fd, buf, 8, 8190));
	for (int i = 0; i < 8; i++)
		n = n * 10 + (buf[i] != 0);
	V(n);
	R(ftruncate(fd, -1));
	R(fallocate(fd, 0, 0, 20000));
	fstat(fd, &st);
	V(st.st_size);
	R(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 40000));
	fstat(fd, &st);
	V(st.st_size);
	R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 4096));
	R(pread(fd, buf, 4, 8192));
	V(buf[0]);
	R(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 8192, 4096));
	R(fallocate(fd, 0, -1, 10));
	R(fallocate(fd, 0, 0, 0));
	R(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
	R(posix_fadvise(fd, 0, 0, 77));
	R(fsync(fd));
	R(fdatasync(fd));
	R(fsync(1000));
	R(lseek(fd, 0, SEEK_SET));
	close(fd);
	fd = open("s", O_RDONLY);
	R(ftruncate(fd, 0));
	R(fallocate(fd, 0, 0, 10));
	close(fd);

	HEAD("big");
	fd = open("big", O_RDWR | O_CREAT | O_TRUNC, 0644);
	R(write(fd, big, sizeof(big)));
	R(pread(fd, back, sizeof(back), 0));
	T(!memcmp(big, back, sizeof(big)));
	R(pwrite(fd, big + 1, 5000, 4095));
	R(pread(fd, back, 5000, 4095));
	T(!memcmp(big + 1, back, 5000));
	R(pread(fd, back, sizeof(back), 4095 + 5000));
	T(!memcmp(big + 9095, back, sizeof(big) - 9095));
	close(fd);
}

static void copies(void)
{
	off_t off = 10;
	loff_t o1 = 0, o2 = 5;
	int in = open("big", O_RDONLY), out = open("copy", O_RDWR | O_CREAT | O_TRUNC, 0644);
	int p[2];

	HEAD("sendfile");
	R(sendfile(out, in, &off, 100));
	V(off);
	R(lseek(in, 0, SEEK_CUR));
	R(sendfile(out, in, NULL, 50));
	R(lseek(in, 0, SEEK_CUR));
	R(lseek(out, 0, SEEK_CUR));
	R(sendfile(out, in, NULL, sizeof(big)));
	R(sendfile(out, in, NULL, 10));
	R(sendfile(out, 1000, NULL, 10));
	R(sendfile(1000, in, NULL, 10));
	off = -1;
	R(sendfile(out, in, &off, 10));
	R(pread(out, back, 100, 0));
	pread(in, big, 100, 10);
	T(!memcmp(big, back, 100));
	NEED(pipe(p) == 0);
	off = 0;
	R(sendfile(p[1], in, &off, 1000));
	R(read(p[0], back, 2000));
	R(sendfile(out, p[0], NULL, 10));
	HEAD("copy_file_range");
	R(copy_file_range(in, &o1, out, &o2, 1000, 0));
	V(o1);
	V(o2);
	R(copy_file_range(in, NULL, out, NULL, 1000, 1));
	R(copy_file_range(in, &o1, in, &o1, 1000, 0));
	R(copy_file_range(p[0], NULL, out, NULL, 10, 0));
	close(p[0]);
	close(p[1]);
	close(in);
	close(out);
}

static void *append_lines(void *arg)
{
	int fd = open("log", O_WRONLY | O_APPEND);
	char line[17];

	memset(line, 'a' + (int)(long)arg, 16);
	line[15] = '\n';
	for (int i = 0; i < 200; i++)
		if (write(fd, line, 16) != 16)
			say("short append");
	close(fd);
	return NULL;
}

static void concurrent(void)
{
	pthread_t t[4];
	int fd, whole = 1;
	struct stat st;

	HEAD("concurrent append");
	put_file("log", "");
	for (long i = 0; i < 4; i++)
		t[i] = spawn(append_lines, (void *)i);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	stat("log", &st);
	V(st.st_size);
	fd = open("log", O_RDONLY);
	for (int i = 0; i < 800; i++) {
		char line[16];

		if (read(fd, line, 16) != 16)
			whole = 0;
		for (int k = 1; k < 15; k++)
			whole &= line[k] == line[0];
	}
	T(whole);
	close(fd);
}

/* A file stays readable and writable after its last name is gone. */
static void unlinked(void)
{
	int fd = open("gone", O_RDWR | O_CREAT, 0644);
	char buf[8] = "";
	struct stat st;

	HEAD("unlinked");
	R(unlink("gone"));
	R(write(fd, "still", 5));
	R(pread(fd, buf, 5, 0));
	S(buf);
	fstat(fd, &st);
	V(st.st_nlink);
	close(fd);
	R(access("gone", F_OK));
}

int main(void)
{
	enter_scratch("fileio");
	pattern();
	positions();
	vectors();
	sizes();
	copies();
	concurrent();
	unlinked();
	return 0;
}
