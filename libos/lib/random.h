/*
 * random.h - the random number generator of the library OS.
 */
#ifndef LIBOS_LIB_RANDOM_H
#define LIBOS_LIB_RANDOM_H

#include "libos/lib/types.h"

#define RANDOM_SEED_LEN 64

/*
 * The ChaCha20 block function (RFC 8439, 2.3) over a whole state: constants, key, counter, nonce.
 */
void chacha20_block(const u32 state[16], u8 out[64]);

/*
 * Keys the generator from `seed` and wipes it. At boot from the control region; after a restore from a
 * snapshot again, with fresh bytes, so that no two instances share a stream: what any kthread had
 * buffered is dropped, and the old key is mixed in.
 */
void random_reseed(u8 seed[RANDOM_SEED_LEN]);
/*
 * Blocks [first, first + n) of the key stream of a key that the caller had from random_bytes(), for requests of
 * many bytes. The caller wipes key and blocks.
 */
#define RANDOM_KEY_LEN 32
#define RANDOM_BLOCK 64
void random_stream(const u8 key[RANDOM_KEY_LEN], u32 first, u8 *out, u32 n);
/* n unpredictable bytes. Any context, takes one leaf lock at times; never fails. */
void random_bytes(void *buf, size_t n);

#endif
