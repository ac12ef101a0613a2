/*
 * store_map.c - an unpacked image, mapped: what every starter of instances needs, and nothing of sealed files.
 */
#include "builder/store.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/checked.h"

int store_map(int fd, struct store_image *out)
{
	const struct jstore_header *h;
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size < (off_t)(2 * JUNCTION_PAGE_SIZE))
		return -1;
	/* Ours alone: nobody else could have written it. */
	if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022))
		return -1;
	h = mmap(NULL, st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (h == MAP_FAILED)
		return -1;
	if (h->magic != JSTORE_MAGIC || h->version != JIMG_VERSION || h->file_size != (uint64_t)st.st_size ||
	    h->nr_segments > JSTORE_MAX_SEGMENTS ||
	    !range_inside(h->record.off, h->record.len, h->file_size) ||
	    h->record.len < sizeof(struct jimg_record) ||
	    !range_inside(h->rootfs.off, h->rootfs.len, h->file_size)) {
		munmap((void *)h, st.st_size);
		return -1;
	}
	out->fd = fd;
	out->size = st.st_size;
	out->header = h;
	out->record = (const struct jimg_record *)((const char *)h + h->record.off);
	return 0;
}

void store_close_image(struct store_image *img)
{
	if (img->header)
		munmap((void *)img->header, img->size);
	if (img->fd >= 0)
		close(img->fd);
	memset(img, 0, sizeof(*img));
	img->fd = -1;
}

const char *store_record_string(const struct jimg_record *rec, struct jrec_strings list, uint32_t i)
{
	const char *s = (const char *)rec + list.off;

	if (i >= list.count)
		return NULL;
	while (i--)
		s += strlen(s) + 1;
	return s;
}
