/*
 * logfile.h - what an instance writes, as lines in a bounded file.
 *
 *     2026-11-24T09:52:04.123456Z stdout GET /index.html
 *     2026-11-24T09:52:04.123970Z stderr+ the first part of a line that is too long, or came without an end for a while
 *     2026-11-24T09:52:04.123971Z stderr and its rest
 *
 * UTC time at which the line's end was seen, the stream (stdout, stderr; libos: what the library OS says; junction:
 * what became of the instance), and the bytes of the line as they were: only '\n' ends one. A "+" behind the
 * stream says that the line goes on in the next one of that stream. At LOGFILE_MAX bytes the file is renamed to
 * NAME.1, whose predecessor goes, and a new one begins.
 *
 * Files: LOGDIR/NAMESPACE/FUNCTION/INSTANCE.log, mode 0600 in folders of mode 0700, made at the first line.
 * Where it cannot be written (disk full), bytes are dropped and counted; the instance notices nothing.
 */
#ifndef JUNCTIOND_ZYGOTE_LOGFILE_H
#define JUNCTIOND_ZYGOTE_LOGFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOGFILE_MAX (1u << 20)
#define LOGFILE_LINE 8192u /* longest piece of a line */
#define LOGFILE_PATH 512u

enum log_stream { LOG_STDOUT, LOG_STDERR, LOG_LIBOS, LOG_NR_STREAMS };

struct logfile {
	char path[LOGFILE_PATH]; /* empty: nothing is kept */
	int fd; /* -1: not open */
	uint64_t size; /* bytes in the file */
	uint64_t dropped; /* bytes that could not be written */
	struct log_part {
		char *bytes; /* LOGFILE_LINE of them; NULL while no line is unfinished */
		size_t len;
	} parts[LOG_NR_STREAMS];
};

/* path: at most LOGFILE_PATH - 3 bytes; the folders above it are made when needed. Opens nothing yet. */
void logfile_init(struct logfile *l, const char *path);

/* Bytes that came from a stream. */
void logfile_write(struct logfile *l, enum log_stream stream, const void *data, size_t len);

/* Writes out lines that have no end yet: it has been a while, or nothing more will come. */
void logfile_flush(struct logfile *l, bool at_end);

/* Is there a line without an end? */
bool logfile_has_part(const struct logfile *l);

/* A line of our own, under the stream "junction". */
void logfile_note(struct logfile *l, const char *text);

/* Flushes and closes. */
void logfile_close(struct logfile *l);

#endif
