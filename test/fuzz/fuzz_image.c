/*
 * fuzz_image.c - libFuzzer target: the image reader and unpacker.
 *
 * The seal would stop nearly every input at once, so most runs seal the input first: that is an
 * attacker who can make images of his own. The last byte of the input says which way it goes.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "builder/checked.h"
#include "builder/image.h"

#define MAX_ROOTFS (4u << 20) /* an input that unpacks to more only costs time */

/* Puts size, tree and root right, so that only the meaning of the bytes can be wrong. */
static size_t seal(uint8_t *b, size_t size)
{
	struct jimg_header h;
	size_t tree_off = size & ~(JUNCTION_PAGE_SIZE - 1);

	memcpy(&h, b + JIMG_HEADER_OFFSET, sizeof(h));
	memcpy(h.magic, JIMG_MAGIC, sizeof(h.magic));
	h.version = JIMG_VERSION;
	h.flags = 0;
	memset(h.public_key, 0, sizeof(h.public_key));
	memset(h.signature, 0, sizeof(h.signature));
	h.tree.off = tree_off;
	h.tree.len = (tree_off + JIMG_HASH_BLOCK - 1) / JIMG_HASH_BLOCK * JIMG_HASH_LEN;
	h.file_size = h.tree.off + h.tree.len;
	memcpy(b + JIMG_HEADER_OFFSET, &h, sizeof(h));
	image_compute_seal(b, &h, b + h.tree.off, h.root);
	memcpy(b + JIMG_HEADER_OFFSET, &h, sizeof(h));
	return h.file_size;
}

static void read_image(uint8_t *b, size_t size)
{
	struct image img;
	struct err e = {0};
	int fd;

	if (image_parse(b, size, "fuzz", &img, &e)) {
		if (!e.text[0])
			abort(); /* refused without a word */
		return;
	}
	if (img.header.rootfs_size > MAX_ROOTFS)
		return;
	image_check_content(&img, &e);
	fd = memfd_create("fuzz", 0);
	image_unpack(&img, fd, &e);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = {0};
	uint8_t *b;
	int way;

	if (!size)
		return 0;
	way = data[--size] & 3;
	/* Room for the tree of what is then sealed. */
	b = aligned_alloc(16, (size + size / 1024 + 8192) & ~15ul);
	memcpy(b, data, size);
	if (way == 0)
		read_image(b, size);
	else if (way == 1)
		jfs_check(b, size, page_up(size), "fuzz", &e);
	else if (way == 2)
		record_check(b, size, "fuzz", &e);
	else if (size >= 2 * JUNCTION_PAGE_SIZE)
		read_image(b, seal(b, size));
	free(b);
	return 0;
}
