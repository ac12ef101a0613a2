/*
 * seal.c - the hash tree over an image, and its signature.
 */
#include <errno.h>
#include <sodium.h>
#include <stddef.h>
#include <string.h>

#include "builder/checked.h"
#include "builder/image.h"

/* The seal cannot cover itself: these bytes of the header are read as zero. */
static void blank(struct jimg_header *h)
{
	h->flags = 0;
	memset(h->root, 0, sizeof(h->root));
	memset(h->public_key, 0, sizeof(h->public_key));
	memset(h->signature, 0, sizeof(h->signature));
}

static void hash(const void *p, size_t len, uint8_t out[JIMG_HASH_LEN])
{
	crypto_generichash_blake2b(out, JIMG_HASH_LEN, p, len, NULL, 0);
}

/* The leaf of block 0, which holds the header. `len` is at least header offset and size. */
static void hash_first(const uint8_t *bytes, size_t len, uint8_t out[JIMG_HASH_LEN])
{
	const size_t end = JIMG_HEADER_OFFSET + sizeof(struct jimg_header);
	crypto_generichash_blake2b_state st;
	struct jimg_header h;

	memcpy(&h, bytes + JIMG_HEADER_OFFSET, sizeof(h));
	blank(&h);
	crypto_generichash_blake2b_init(&st, NULL, 0, JIMG_HASH_LEN);
	crypto_generichash_blake2b_update(&st, bytes, JIMG_HEADER_OFFSET);
	crypto_generichash_blake2b_update(&st, (const uint8_t *)&h, sizeof(h));
	crypto_generichash_blake2b_update(&st, bytes + end, len - end);
	crypto_generichash_blake2b_final(&st, out, JIMG_HASH_LEN);
}

void image_compute_seal(const uint8_t *bytes, const struct jimg_header *h, uint8_t *leaves,
			uint8_t root[JIMG_HASH_LEN])
{
	for (uint64_t off = 0, i = 0; off < h->tree.off; off += JIMG_HASH_BLOCK, i++) {
		uint64_t len = h->tree.off - off;

		if (len > JIMG_HASH_BLOCK)
			len = JIMG_HASH_BLOCK;
		if (i == 0)
			hash_first(bytes, len, leaves);
		else
			hash(bytes + off, len, leaves + i * JIMG_HASH_LEN);
	}
	hash(leaves, h->tree.len, root);
}

void image_signed_message(const uint8_t root[JIMG_HASH_LEN], uint8_t out[IMAGE_SIGNED_LEN])
{
	memcpy(out, JIMG_SIGN_CONTEXT, 16);
	memcpy(out + 16, root, JIMG_HASH_LEN);
}

static bool signature_holds(const struct jimg_header *h)
{
	uint8_t msg[IMAGE_SIGNED_LEN];

	image_signed_message(h->root, msg);
	return !crypto_sign_ed25519_verify_detached(h->signature, msg, sizeof(msg), h->public_key);
}

int image_check_header_key(const struct jimg_header *h, const uint8_t *key, const char *name,
			   struct err *e)
{
	if (!(h->flags & JIMG_SIGNED))
		return err_set(e, "%s: not signed, but a key is demanded; sign it with junction sign", name);
	if (memcmp(h->public_key, key, sizeof(h->public_key)))
		return err_set(e, "%s: signed by another key than the one demanded; "
				  "get the image from the owner of that key", name);
	if (!signature_holds(h))
		return err_set(e, "%s: the signature is wrong (file damaged or changed); sign it again", name);
	return 0;
}

int image_check_key(const struct image *img, const uint8_t *key, struct err *e)
{
	return image_check_header_key(&img->header, key, img->name, e);
}

/* What must hold before the tree can be found, from the header alone. */
static int check_header(const struct jimg_header *h, uint64_t size, const char *name, struct err *e)
{
	uint64_t blocks;

	if (h->version != JIMG_VERSION)
		return err_set(e, "%s: image format version %u, this junction reads version %u; "
				  "rebuild it with this junction", name, h->version, JIMG_VERSION);
	if (h->flags & ~JIMG_SIGNED)
		return err_set(e, "%s: unknown flags %#x in the header (file damaged or changed); "
				  "rebuild it", name, h->flags);
	if (h->file_size != size)
		return err_set(e, "%s: file is %llu bytes, its header says %llu (truncated or damaged); "
				  "copy or rebuild it", name, (unsigned long long)size,
			       (unsigned long long)h->file_size);
	/* size is bounded by JIMG_MAX_FILE, so nothing below overflows. */
	blocks = h->tree.off > size ? 0 : (h->tree.off + JIMG_HASH_BLOCK - 1) / JIMG_HASH_BLOCK;
	if (h->tree.off > size || h->tree.off < JUNCTION_PAGE_SIZE ||
	    h->tree.len != size - h->tree.off || h->tree.len != blocks * JIMG_HASH_LEN)
		return err_set(e, "%s: the hash tree is not where it must be (file damaged or changed); "
				  "rebuild it", name);
	return 0;
}

int image_check_seal(const uint8_t *bytes, uint64_t size, const char *name, struct jimg_header *h,
		     struct err *e)
{
	uint8_t leaf[JIMG_HASH_LEN];
	uint64_t blocks;

	if (size < JUNCTION_PAGE_SIZE ||
	    memcmp(bytes + JIMG_HEADER_OFFSET, JIMG_MAGIC, sizeof(h->magic)))
		return err_set(e, "%s: not a Junction image%s; make one with junction build", name,
			       size < JUNCTION_PAGE_SIZE ? " (too short)" : "");
	if (size > JIMG_MAX_FILE)
		return err_set(e, "%s: larger than an image may be (%llu bytes)", name,
			       (unsigned long long)JIMG_MAX_FILE);
	memcpy(h, bytes + JIMG_HEADER_OFFSET, sizeof(*h));
	if (check_header(h, size, name, e))
		return -1;

	/* The tree first: a leaf that the root does not vouch for says nothing about its block. */
	hash(bytes + h->tree.off, h->tree.len, leaf);
	if (memcmp(leaf, h->root, JIMG_HASH_LEN))
		return err_set(e, "%s: seal does not match: the hash tree is not the one that was sealed "
				  "(file damaged or changed); rebuild it", name);
	blocks = h->tree.len / JIMG_HASH_LEN;
	for (uint64_t i = 0; i < blocks; i++) {
		uint64_t off = i * JIMG_HASH_BLOCK, len = h->tree.off - off;

		if (len > JIMG_HASH_BLOCK)
			len = JIMG_HASH_BLOCK;
		if (i == 0)
			hash_first(bytes, len, leaf);
		else
			hash(bytes + off, len, leaf);
		if (memcmp(leaf, bytes + h->tree.off + i * JIMG_HASH_LEN, JIMG_HASH_LEN))
			return err_set(e, "%s: seal does not match at block %llu of %llu "
					  "(file damaged or changed); rebuild it", name,
				       (unsigned long long)i + 1, (unsigned long long)blocks);
	}

	/* What the leaves do not cover: the flags are known, so either all of these count or none. */
	if (h->flags & JIMG_SIGNED) {
		if (!signature_holds(h))
			return err_set(e, "%s: the signature is wrong (file damaged or changed); sign it again",
				       name);
	} else if (!all_zero(h->public_key, sizeof(h->public_key)) ||
		   !all_zero(h->signature, sizeof(h->signature))) {
		return err_set(e, "%s: carries a signature but is not marked as signed "
				  "(file damaged or changed); sign it again", name);
	}
	return 0;
}
