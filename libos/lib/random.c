/*
 * random.c - a ChaCha20 generator with fast key erasure.
 *
 * A root key, keyed from the host's getrandom(2) through the boot record, hands each kthread a key of its
 * own. A kthread fills its buffer with key stream and at once overwrites its key with the first 32 bytes of
 * it, and zeroes what it gives out: whoever reads the arena later learns nothing of the past.
 * A generation number tells kthreads that the root was keyed anew. The library OS is not preempted, so
 * a kthread's own state needs no lock; the root has one, a leaf.
 */
#include "libos/lib/random.h"

#include "libos/lib/spinlock.h"
#include "libos/lib/string.h"
#ifdef LIBOS_HOSTED
#define NR_POOLS 1
#define this_pool() 0
#else
#include "libos/sched/uthread.h"
#define NR_POOLS CTL_MAX_KTHREADS
#define this_pool() (this_kthread()->id)
#endif

#define KEY_LEN RANDOM_KEY_LEN
#define POOL_BLOCKS 8

struct pool {
	u8 key[KEY_LEN];
	u32 generation; /* of the root when `key` was taken from it; 0: never */
	u32 left; /* unused bytes, at the end of buf */
	u8 buf[POOL_BLOCKS * 64];
} cacheline_aligned;

static struct {
	spinlock_t lock;
	u32 generation;
	u8 key[KEY_LEN];
} root;
static struct pool pools[NR_POOLS] __cold_data;

/* As memset, but never optimised away. */
static void wipe(void *p, size_t n)
{
	memset(p, 0, n);
	__asm__ volatile("" : : "r"(p) : "memory");
}

static inline u32 rotl(u32 x, int n)
{
	return x << n | x >> (32 - n);
}

#define QUARTER(a, b, c, d) \
	do { \
		a += b, d = rotl(d ^ a, 16); \
		c += d, b = rotl(b ^ c, 12); \
		a += b, d = rotl(d ^ a, 8); \
		c += d, b = rotl(b ^ c, 7); \
	} while (0)

void chacha20_block(const u32 state[16], u8 out[64])
{
	u32 x[16];

	memcpy(x, state, sizeof(x));
	for (int i = 0; i < 10; i++) {
		QUARTER(x[0], x[4], x[8], x[12]);
		QUARTER(x[1], x[5], x[9], x[13]);
		QUARTER(x[2], x[6], x[10], x[14]);
		QUARTER(x[3], x[7], x[11], x[15]);
		QUARTER(x[0], x[5], x[10], x[15]);
		QUARTER(x[1], x[6], x[11], x[12]);
		QUARTER(x[2], x[7], x[8], x[13]);
		QUARTER(x[3], x[4], x[9], x[14]);
	}
	for (int i = 0; i < 16; i++)
		x[i] += state[i];
	memcpy(out, x, sizeof(x)); /* x86 is little-endian, as the RFC wants it */
}

/* `n` blocks of the key stream of `key`, with `input` where counter and nonce stand (or zero). */
static void chacha20_stream(const u8 key[KEY_LEN], const u8 input[16], u8 *out, u32 n)
{
	u32 state[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };

	memcpy(&state[4], key, KEY_LEN);
	if (input)
		memcpy(&state[12], input, 16);
	for (u32 i = 0; i < n; i++, out += 64) {
		chacha20_block(state, out);
		state[12]++;
	}
	wipe(state, sizeof(state));
}

void random_stream(const u8 key[RANDOM_KEY_LEN], u32 first, u8 *out, u32 n)
{
	u32 input[4] = { first };

	chacha20_stream(key, (u8 *)input, out, n);
}

void random_reseed(u8 seed[RANDOM_SEED_LEN])
{
	u8 block[64];

	spin_lock(&root.lock);
	for (int i = 0; i < KEY_LEN; i++)
		root.key[i] ^= seed[i];
	for (int i = KEY_LEN; i < RANDOM_SEED_LEN; i += 16) {
		chacha20_stream(root.key, seed + i, block, 1);
		memcpy(root.key, block, KEY_LEN);
	}
	__atomic_store_n(&root.generation, root.generation + 1 ?: 1, __ATOMIC_RELEASE);
	spin_unlock(&root.lock);
	wipe(block, sizeof(block));
	wipe(seed, RANDOM_SEED_LEN);
}

static void pool_rekey(struct pool *p)
{
	u8 block[64];

	spin_lock(&root.lock);
	chacha20_stream(root.key, NULL, block, 1);
	memcpy(root.key, block, KEY_LEN);
	memcpy(p->key, block + KEY_LEN, KEY_LEN);
	p->generation = root.generation;
	spin_unlock(&root.lock);
	p->left = 0;
	wipe(block, sizeof(block));
}

static void pool_fill(struct pool *p)
{
	chacha20_stream(p->key, NULL, p->buf, POOL_BLOCKS);
	memcpy(p->key, p->buf, KEY_LEN);
	wipe(p->buf, KEY_LEN);
	p->left = sizeof(p->buf) - KEY_LEN;
}

void random_bytes(void *buf, size_t n)
{
	struct pool *p = &pools[this_pool()];
	u8 *out = buf;

	if (unlikely(p->generation != __atomic_load_n(&root.generation, __ATOMIC_ACQUIRE)))
		pool_rekey(p);
	while (n) {
		size_t k;
		u8 *src;

		if (!p->left)
			pool_fill(p);
		k = min(n, (size_t)p->left);
		src = p->buf + sizeof(p->buf) - p->left;
		memcpy(out, src, k);
		wipe(src, k);
		p->left -= k;
		out += k;
		n -= k;
	}
}
