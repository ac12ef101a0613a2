/*
 * logfile.c - what an instance writes, as lines in a bounded file.
 *
 * Lines that are complete go out with one write a piece of input (at most BATCH bytes). An unfinished line waits
 * in a buffer of its stream that exists only as long.
 */
#include "junctiond/zygote/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BATCH 65536u
#define HEAD 64u /* more than time, stream and blanks take */

static const char *const stream_names[] = {"stdout", "stderr", "libos", "junction"};
#define NOTE LOG_NR_STREAMS

/* The lines of one call; one thread writes. */
static struct batch {
	struct logfile *log;
	char stamp[40];
	size_t len;
	char bytes[BATCH];
} batch;

void logfile_init(struct logfile *l, const char *path)
{
	*l = (struct logfile){.fd = -1};
	if (strlen(path) + 3 <= sizeof(l->path))
		strcpy(l->path, path);
}

static int make_folders(const char *path)
{
	char dir[LOGFILE_PATH];

	strcpy(dir, path);
	for (char *p = strchr(dir + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (mkdir(dir, 0700) == -1 && errno != EEXIST)
			return -1;
		*p = '/';
	}
	return 0;
}

static bool open_file(struct logfile *l)
{
	struct stat st;

	if (l->fd != -1)
		return true;
	if (!l->path[0])
		return false;
	for (int i = 0; i < 2 && l->fd == -1; i++) {
		l->fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
		if (l->fd == -1 && (errno != ENOENT || make_folders(l->path) == -1))
			return false;
	}
	if (l->fd == -1)
		return false;
	if (fstat(l->fd, &st) == -1 || !S_ISREG(st.st_mode)) {
		close(l->fd);
		l->fd = -1;
		return false;
	}
	l->size = (uint64_t)st.st_size;
	return true;
}

static void rotate(struct logfile *l)
{
	char old[LOGFILE_PATH + 2];

	close(l->fd);
	l->fd = -1;
	snprintf(old, sizeof(old), "%s.1", l->path);
	if (rename(l->path, old) == -1)
		unlink(l->path); /* rather lose it than grow without bound */
}

static void put(struct logfile *l, const char *bytes, size_t len)
{
	if (open_file(l) && l->size && l->size + len > LOGFILE_MAX)
		rotate(l);
	while (len && open_file(l)) {
		ssize_t n = write(l->fd, bytes, len);

		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		l->size += (size_t)n;
		bytes += n;
		len -= (size_t)n;
	}
	l->dropped += len;
}

static void batch_flush(struct batch *b)
{
	if (b->len)
		put(b->log, b->bytes, b->len);
	b->len = 0;
}

static void batch_line(struct batch *b, unsigned stream, bool goes_on, const char *text, size_t len)
{
	if (b->len + HEAD + len + 1 > BATCH)
		batch_flush(b);
	b->len += (size_t)snprintf(b->bytes + b->len, HEAD, "%s %s%s ", b->stamp, stream_names[stream],
				   goes_on ? "+" : "");
	if (len)
		memcpy(b->bytes + b->len, text, len);
	b->len += len;
	b->bytes[b->len++] = '\n';
}

static void batch_begin(struct batch *b, struct logfile *l)
{
	struct timespec ts;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = strftime(b->stamp, sizeof(b->stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(b->stamp + n, sizeof(b->stamp) - n, ".%06ldZ", ts.tv_nsec / 1000);
	b->log = l;
	b->len = 0;
}

static void end_part(struct batch *b, struct log_part *p, unsigned stream, bool goes_on)
{
	batch_line(b, stream, goes_on, p->bytes, p->len);
	free(p->bytes);
	*p = (struct log_part){0};
}

/* What has no end yet: at most LOGFILE_LINE bytes, together with what is there already. */
static void keep_part(struct batch *b, struct log_part *p, unsigned stream, const char *text, size_t len)
{
	if (!p->bytes) {
		p->bytes = malloc(LOGFILE_LINE);
		p->len = 0;
	}
	if (!p->bytes) {
		batch_line(b, stream, true, text, len);
		return;
	}
	memcpy(p->bytes + p->len, text, len);
	p->len += len;
}

void logfile_write(struct logfile *l, enum log_stream stream, const void *data, size_t len)
{
	struct log_part *p = &l->parts[stream];
	const char *at = data, *end = at + len;

	if (!len)
		return;
	batch_begin(&batch, l);
	while (at < end) {
		size_t room = LOGFILE_LINE - p->len, left = (size_t)(end - at);
		size_t look = left < room ? left : room;
		const char *nl = memchr(at, '\n', look);
		size_t n = nl ? (size_t)(nl - at) : look;

		if (nl && !p->bytes) {
			batch_line(&batch, stream, false, at, n);
		} else if (nl) {
			keep_part(&batch, p, stream, at, n);
			end_part(&batch, p, stream, false);
		} else if (n == room && !p->bytes) {
			batch_line(&batch, stream, true, at, n);
		} else {
			keep_part(&batch, p, stream, at, n);
			if (p->bytes && p->len == LOGFILE_LINE)
				end_part(&batch, p, stream, true);
		}
		at += n + (nl != NULL);
	}
	batch_flush(&batch);
}

bool logfile_has_part(const struct logfile *l)
{
	for (int i = 0; i < LOG_NR_STREAMS; i++)
		if (l->parts[i].bytes)
			return true;
	return false;
}

void logfile_flush(struct logfile *l, bool at_end)
{
	if (!logfile_has_part(l))
		return;
	batch_begin(&batch, l);
	for (unsigned i = 0; i < LOG_NR_STREAMS; i++)
		if (l->parts[i].bytes)
			end_part(&batch, &l->parts[i], i, !at_end);
	batch_flush(&batch);
}

void logfile_note(struct logfile *l, const char *text)
{
	batch_begin(&batch, l);
	batch_line(&batch, NOTE, false, text, strnlen(text, LOGFILE_LINE));
	batch_flush(&batch);
}

void logfile_close(struct logfile *l)
{
	logfile_flush(l, true);
	if (l->fd != -1)
		close(l->fd);
	l->fd = -1;
}
