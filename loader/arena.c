/*
 * arena.c - an arena made ahead of the start that will use it.
 *
 * Half of a start is fresh pages: each takes the host two microseconds to find and clear. Which ones a start writes is the
 * same each time for one image, and an instance that runs shows it: those pages of its arena that exist.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/internal.h"

#define PF_W 2u
#define MAX_BYTES (2u << 20) /* more than any start needs; the rest comes when it is touched */

/* Zeros at [from, to) of a fresh memfd, so that the pages are there. */
static int make_pages(int fd, off_t from, off_t to)
{
	static const char zeros[16 * JUNCTION_PAGE_SIZE];

	while (from < to) {
		size_t n = to - from < (off_t)sizeof(zeros) ? (size_t)(to - from) : sizeof(zeros);
		ssize_t done = pwrite(fd, zeros, n, from);

		if (done <= 0)
			return -1;
		from += done;
	}
	return 0;
}

static int copy_segments(int fd, const struct jstore_header *h, int image_fd)
{
	for (uint32_t i = 0; i < h->nr_segments; i++) {
		const struct jstore_segment *s = &h->segments[i];
		off_t from = (off_t)s->off;
		size_t left = s->file_len;

		if (!(s->flags & PF_W) || !left)
			continue;
		if (lseek(fd, (off_t)(s->vaddr - LIBOS_ARENA_BASE), SEEK_SET) == -1)
			return -1;
		while (left) {
			ssize_t n = sendfile(fd, image_fd, &from, left);

			if (n <= 0)
				return -1;
			left -= (size_t)n;
		}
	}
	return 0;
}

int loader_arena_prepare(struct loader_arena *a, const struct jstore_header *h, int image_fd,
			 const struct loader_instance *like)
{
	off_t at = 0, end, total = 0;
	struct stat st;

	loader_arena_drop(a);
	if (fstat(like->arena_fd, &st) == -1)
		return -1;
	a->fd = loader_memfd("junction-arena", (uint64_t)st.st_size);
	if (a->fd == -1)
		return -1;
	while (total < MAX_BYTES && (at = lseek(like->arena_fd, at, SEEK_DATA)) != -1) {
		end = lseek(like->arena_fd, at, SEEK_HOLE);
		if (end == -1)
			break;
		if (end - at > (off_t)MAX_BYTES - total)
			end = at + (off_t)MAX_BYTES - total;
		if (make_pages(a->fd, at, end) == -1)
			goto fail;
		total += end - at;
		at = end;
	}
	if (copy_segments(a->fd, h, image_fd) == -1)
		goto fail;
	a->size = (uint64_t)st.st_size;
	memcpy(a->root, h->root, sizeof(a->root));
	return 0;
fail:
	loader_arena_drop(a);
	return -1;
}

void loader_arena_drop(struct loader_arena *a)
{
	if (a->fd != -1)
		close(a->fd);
	*a = (struct loader_arena){.fd = -1};
}
