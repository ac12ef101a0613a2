/*
 * tcp_isn.c - numbers that a stranger must not guess: initial sequence numbers (RFC 6528),
 * timestamp offsets (RFC 7323, 5.4).
 *
 * The keyed hash is SipHash-2-4 (Aumasson, Bernstein 2012), each purpose with a key of its own.
 * Keys are drawn again after a restore from a snapshot only if tcp_keys_init() is called again:
 * connections then keep what they have.
 */
#include "libos/net/tcp_internal.h"

#include "libos/lib/random.h"

#define NR_KEYS 4
#define KEY_ISN 0
#define KEY_TS 1

static u64 keys[NR_KEYS][2];

void tcp_keys_init(void)
{
	random_bytes(keys, sizeof(keys));
}

static u64 rotl64(u64 x, int n)
{
	return x << n | x >> (64 - n);
}

static void sip_round(u64 v[4])
{
	v[0] += v[1], v[1] = rotl64(v[1], 13) ^ v[0], v[0] = rotl64(v[0], 32);
	v[2] += v[3], v[3] = rotl64(v[3], 16) ^ v[2];
	v[0] += v[3], v[3] = rotl64(v[3], 21) ^ v[0];
	v[2] += v[1], v[1] = rotl64(v[1], 17) ^ v[2], v[2] = rotl64(v[2], 32);
}

u64 tcp_siphash(u32 which, const void *data, size_t n)
{
	const u64 *k = keys[which];
	u64 v[4] = {k[0] ^ 0x736f6d6570736575, k[1] ^ 0x646f72616e646f6d, k[0] ^ 0x6c7967656e657261,
		    k[1] ^ 0x7465646279746573};
	const u8 *p = data;
	u64 m, last = (u64)n << 56;

	for (; n >= 8; n -= 8, p += 8) {
		memcpy(&m, p, 8);
		v[3] ^= m;
		sip_round(v);
		sip_round(v);
		v[0] ^= m;
	}
	for (size_t i = 0; i < n; i++)
		last |= (u64)p[i] << 8 * i;
	v[3] ^= last;
	sip_round(v);
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* RFC 6528: a clock of 4 us (RFC 9293, 3.4.1) and a secret offset for each pair of ends. */
u32 tcp_isn(const struct endpoint *local, const struct endpoint *remote, u64 now)
{
	struct {
		struct netaddr l, r;
		u16 lp, rp;
	} in = {local->addr, remote->addr, local->port, remote->port};

	_Static_assert(sizeof(in) == 44, "no padding is hashed");
	return (u32)tcp_siphash(KEY_ISN, &in, sizeof(in)) + (u32)(now >> 12);
}

/* Without ports: a later connection between the same hosts goes on with the clock of the former
 * (RFC 6191). */
u32 tcp_ts_offset(const struct netaddr *local, const struct netaddr *remote)
{
	struct netaddr in[2] = {*local, *remote};

	return (u32)tcp_siphash(KEY_TS, in, sizeof(in));
}
