/*
 * unpack.c - from the chunks of a sealed image to the flat form that instances map.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "builder/checked.h"
#include "builder/image.h"
#include "builder/manifest.h"

int image_read_tables(const struct image *img, uint8_t **out, uint64_t *len, struct err *e)
{
	uint64_t want = sizeof(struct jfs_super), have = 0, cap;
	uint8_t *fs = NULL, *grown;

	for (uint64_t i = 0; have < want; i++) {
		if (i == img->nr_chunks || want > JFS_MAX_TABLES) {
			free(fs);
			return err_set(e, "%s: malformed root file system: its tables are longer than itself; "
					  "rebuild the image", img->name);
		}
		cap = have + image_chunk_size(img, i);
		grown = realloc(fs, cap);
		if (!grown) {
			free(fs);
			return err_set(e, "%s: no memory for %llu bytes of tables", img->name,
				       (unsigned long long)cap);
		}
		fs = grown;
		if (image_read_chunk(img, i, fs + have, e)) {
			free(fs);
			return -1;
		}
		have = cap;
		if (i == 0) /* an absurd value ends at the last chunk or at jfs_check() */
			want = ((struct jfs_super *)fs)->data_off;
	}
	if (jfs_check(fs, have, img->header.rootfs_size, img->name, e)) {
		free(fs);
		return -1;
	}
	*out = fs;
	*len = have;
	return 0;
}

int image_check_content(const struct image *img, struct err *e)
{
	uint8_t *fs, *chunk;
	uint64_t len;
	int ret = -1;

	if (image_read_tables(img, &fs, &len, e))
		return -1;
	chunk = malloc(JIMG_CHUNK_SIZE);
	if (!chunk) {
		err_set(e, "%s: no memory", img->name);
		goto out;
	}
	for (uint64_t i = 0; i < img->nr_chunks; i++)
		if (image_read_chunk(img, i, chunk, e))
			goto out;
	ret = manifest_check(img, fs, e);
out:
	free(chunk);
	free(fs);
	return ret;
}

static int write_at(int fd, const void *buf, uint64_t len, uint64_t off, const struct image *img,
		    struct err *e)
{
	const uint8_t *p = buf;

	while (len) {
		ssize_t n = pwrite(fd, p, len, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(e, "%s: cannot unpack to the store", img->name);
		p += n;
		off += n;
		len -= n;
	}
	return 0;
}

/* Places everything page-aligned: header, record, segments, root file system. */
static void lay_out(const struct image *img, struct jstore_header *h)
{
	uint64_t off = JUNCTION_PAGE_SIZE;

	memset(h, 0, sizeof(*h));
	h->magic = JSTORE_MAGIC;
	h->version = JIMG_VERSION;
	h->nr_segments = img->nr_segments;
	memcpy(h->root, img->header.root, sizeof(h->root));
	h->entry = img->entry;
	h->record.off = off;
	h->record.len = img->header.record.len;
	off += page_up(h->record.len);
	for (uint32_t i = 0; i < img->nr_segments; i++) {
		h->segments[i] = img->segments[i];
		h->segments[i].off = off;
		off += page_up(h->segments[i].file_len);
	}
	h->rootfs.off = off;
	h->rootfs.len = img->header.rootfs_size;
	h->file_size = off + h->rootfs.len;
}

static int write_chunks(const struct image *img, int fd, uint64_t off, struct err *e)
{
	uint8_t *chunk = malloc(JIMG_CHUNK_SIZE);
	int ret = 0;

	if (!chunk)
		return err_set(e, "%s: no memory", img->name);
	for (uint64_t i = 0; i < img->nr_chunks && !ret; i++, off += JIMG_CHUNK_SIZE) {
		uint64_t len = image_chunk_size(img, i);

		ret = image_read_chunk(img, i, chunk, e);
		/* Leave a hole for zeroes: the file was just extended. */
		if (!ret && !(chunk[0] == 0 && !memcmp(chunk, chunk + 1, len - 1)))
			ret = write_at(fd, chunk, len, off, img, e);
	}
	free(chunk);
	return ret;
}

/* Checks the tables in the file that was just written; nobody else can write it. */
static int check_written(const struct image *img, int fd, const struct jstore_header *h, struct err *e)
{
	uint8_t *fs = mmap(NULL, h->rootfs.len, PROT_READ, MAP_SHARED, fd, h->rootfs.off);
	int ret;

	if (fs == MAP_FAILED)
		return err_errno(e, "%s: cannot map the unpacked image", img->name);
	ret = jfs_check(fs, h->rootfs.len, h->rootfs.len, img->name, e);
	munmap(fs, h->rootfs.len);
	return ret;
}

int image_unpack(const struct image *img, int fd, struct err *e)
{
	struct jstore_header h;

	lay_out(img, &h);
	if (ftruncate(fd, h.file_size))
		return err_errno(e, "%s: cannot make room for %llu unpacked bytes", img->name,
				 (unsigned long long)h.file_size);
	if (write_at(fd, &h, sizeof(h), 0, img, e) ||
	    write_at(fd, img->record, h.record.len, h.record.off, img, e))
		return -1;
	for (uint32_t i = 0; i < h.nr_segments; i++)
		if (write_at(fd, img->bytes + img->segments[i].off, img->segments[i].file_len,
			     h.segments[i].off, img, e))
			return -1;
	if (write_chunks(img, fd, h.rootfs.off, e))
		return -1;
	return check_written(img, fd, &h, e);
}
