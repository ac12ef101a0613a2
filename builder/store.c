/*
 * store.c - the content-addressed store of unpacked images.
 */
#include "builder/store.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int store_open_image(const char *jimg, const uint8_t *key, struct store_image *out, struct err *e)
{
	return err_set(e, "%s: not there yet", jimg);
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

int store_memfd(const struct store_image *img, struct err *e)
{
	return err_set(e, "not there yet");
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
