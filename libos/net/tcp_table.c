/*
 * tcp_table.c - the tables in which segments find their connection: pairs of endpoints, and
 * listeners by port.
 *
 * Buckets have locks of their own, leaves: nothing else is locked under them. A look-up returns
 * with a reference.
 */
#include "libos/net/tcp_internal.h"

#include "libos/lib/random.h"
#include "libos/mm/alloc.h"

#define NR_BUCKETS 8192u
#define NR_LBUCKETS 256u

struct bucket {
	spinlock_t lock;
	struct tcp_hnode *first;
};
struct lbucket {
	spinlock_t lock;
	struct tcp_sock *first;
};

static u32 nr_hashed; /* in all buckets */
static struct bucket *table;
static struct lbucket *ltable;
static u64 hash_key[2];

int tcp_table_init(void)
{
	table = alloc_untouched(NR_BUCKETS * sizeof(*table));
	ltable = kzalloc(NR_LBUCKETS * sizeof(*ltable));
	if (!table || !ltable)
		return -ENOMEM;
	random_bytes(hash_key, sizeof(hash_key));
	return 0;
}

/* Folded product: one multiplication mixes 128 bits. */
static u64 mix(u64 a, u64 b)
{
	unsigned __int128 m = (unsigned __int128)a * b;

	return (u64)m ^ (u64)(m >> 64);
}

static u64 addr_word(const struct netaddr *a, u32 i)
{
	u64 w;

	memcpy(&w, a->b + i * 8, 8);
	return w;
}

/* Keyed, so that nobody can choose ports that fall into one bucket. */
static u32 pair_hash(const struct endpoint *l, const struct endpoint *r)
{
	u64 ports = (u64)l->port << 16 | r->port | (u64)l->addr.family << 32;
	u64 h = mix(addr_word(&r->addr, 0) ^ hash_key[0], addr_word(&l->addr, 0) ^ hash_key[1]);

	h = mix(h ^ addr_word(&r->addr, 1) ^ ports,
		addr_word(&l->addr, 1) ^ hash_key[0] ^ 0x9e3779b97f4a7c15);
	return h ^ h >> 32;
}

static bool same_ends(const struct tcp_hnode *n, const struct endpoint *l, const struct endpoint *r)
{
	return n->local.port == l->port && n->remote.port == r->port &&
	       netaddr_equal(&n->remote.addr, &r->addr) && netaddr_equal(&n->local.addr, &l->addr);
}

struct tcp_hnode *tcp_lookup(const struct endpoint *local, const struct endpoint *remote)
{
	u32 h = pair_hash(local, remote);
	struct bucket *b = &table[h & (NR_BUCKETS - 1)];
	struct tcp_hnode *n;

	if (unlikely(!table)) /* no stream socket was ever made */
		return NULL;
	spin_lock(&b->lock);
	for (n = b->first; n; n = n->next)
		if (n->hash == h && same_ends(n, local, remote)) {
			tcp_node_get(n);
			break;
		}
	spin_unlock(&b->lock);
	return n;
}

int tcp_hash_insert(struct tcp_hnode *node)
{
	u32 h = pair_hash(&node->local, &node->remote);
	struct bucket *b = &table[h & (NR_BUCKETS - 1)];
	struct tcp_hnode *n;

	spin_lock(&b->lock);
	for (n = b->first; n; n = n->next)
		if (n->hash == h && same_ends(n, &node->local, &node->remote)) {
			spin_unlock(&b->lock);
			return -EADDRNOTAVAIL;
		}
	node->hash = h;
	node->next = b->first;
	b->first = node;
	node->hashed = true;
	tcp_node_get(node);
	spin_unlock(&b->lock);
	__atomic_fetch_add(&nr_hashed, 1, __ATOMIC_RELAXED);
	return 0;
}

bool tcp_hash_replace(struct tcp_hnode *old, struct tcp_hnode *node)
{
	struct bucket *b = &table[old->hash & (NR_BUCKETS - 1)];
	bool found = false;

	spin_lock(&b->lock);
	for (struct tcp_hnode **p = &b->first; *p; p = &(*p)->next)
		if (*p == old) {
			node->hash = old->hash;
			node->next = old->next;
			node->hashed = true;
			tcp_node_get(node);
			*p = node;
			old->hashed = false;
			found = true;
			break;
		}
	spin_unlock(&b->lock);
	if (found)
		tcp_node_put(old);
	return found;
}

void tcp_hash_remove(struct tcp_hnode *node)
{
	struct bucket *b = &table[node->hash & (NR_BUCKETS - 1)];
	bool found = false;

	spin_lock(&b->lock);
	if (node->hashed)
		for (struct tcp_hnode **p = &b->first; *p; p = &(*p)->next)
			if (*p == node) {
				*p = node->next;
				node->hashed = false;
				found = true;
				break;
			}
	spin_unlock(&b->lock);
	if (found) {
		__atomic_fetch_sub(&nr_hashed, 1, __ATOMIC_RELAXED);
		tcp_node_put(node);
	}
}

void tcp_node_put(struct tcp_hnode *n)
{
	if (__atomic_sub_fetch(&n->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (n->kind == TCP_KIND_SOCK)
		tcp_free_sock(container_of(n, struct tcp_sock, node));
	else if (n->kind == TCP_KIND_REQ)
		tcp_req_free(container_of(n, struct tcp_req, node));
	else
		tcp_tw_free(container_of(n, struct tcp_tw, node));
}

void tcp_listen_insert(struct tcp_sock *tp)
{
	struct lbucket *b = &ltable[tp->node.local.port & (NR_LBUCKETS - 1)];

	spin_lock(&b->lock);
	tp->lnext = b->first;
	b->first = tp;
	tp->in_ltable = true;
	tcp_get(tp);
	spin_unlock(&b->lock);
}

void tcp_listen_remove(struct tcp_sock *tp)
{
	struct lbucket *b = &ltable[tp->node.local.port & (NR_LBUCKETS - 1)];
	bool found = false;

	spin_lock(&b->lock);
	for (struct tcp_sock **p = &b->first; *p; p = &(*p)->lnext)
		if (*p == tp) {
			*p = tp->lnext;
			tp->in_ltable = false;
			found = true;
			break;
		}
	spin_unlock(&b->lock);
	if (found)
		tcp_put(tp);
}

/* 0: not for it; an exact address beats "any". */
static u32 listen_score(const struct tcp_sock *tp, const struct endpoint *local)
{
	if (tp->node.local.port != local->port || tp->family != local->addr.family)
		return 0;
	if (netaddr_is_any(&tp->node.local.addr))
		return 1;
	return netaddr_equal(&tp->node.local.addr, &local->addr) ? 2 : 0;
}

struct tcp_sock *tcp_listen_lookup(const struct endpoint *local, const struct endpoint *remote)
{
	struct lbucket *b = &ltable[local->port & (NR_LBUCKETS - 1)];
	struct tcp_sock *best = NULL;
	u32 score = 0, nr = 0;

	if (unlikely(!ltable))
		return NULL;
	spin_lock(&b->lock);
	for (struct tcp_sock *tp = b->first; tp; tp = tp->lnext) {
		u32 s = listen_score(tp, local);

		if (s > score) {
			best = tp;
			score = s;
			nr = 1;
		} else if (s && s == score) {
			nr++;
		}
	}
	/* SO_REUSEPORT: connections are spread over the listeners by their hash */
	if (nr > 1) {
		u32 pick = (u64)pair_hash(local, remote) * nr >> 32;

		for (struct tcp_sock *tp = b->first; tp; tp = tp->lnext)
			if (listen_score(tp, local) == score && !pick--) {
				best = tp;
				break;
			}
	}
	if (best)
		tcp_get(best);
	spin_unlock(&b->lock);
	return best;
}

/* Up to max references from a bucket, and which buckets there are: for tcp_for_each(). */
static u32 collect(u32 i, struct tcp_hnode **v, u32 max)
{
	u32 n = 0;

	if (i < NR_BUCKETS) {
		if (!READ_ONCE(table[i].first))
			return 0;
		spin_lock(&table[i].lock);
		for (struct tcp_hnode *h = table[i].first; h && n < max; h = h->next) {
			tcp_node_get(h);
			v[n++] = h;
		}
		spin_unlock(&table[i].lock);
	} else {
		i -= NR_BUCKETS;
		spin_lock(&ltable[i].lock);
		for (struct tcp_sock *tp = ltable[i].first; tp && n < max; tp = tp->lnext) {
			tcp_get(tp);
			v[n++] = &tp->node;
		}
		spin_unlock(&ltable[i].lock);
	}
	return n;
}

/*
 * Half-open connections and those in TIME_WAIT are shown as a tcp_sock that is not one: `fake`
 * carries their ends. A bucket longer than 64 is shown in part.
 */
void tcp_for_each(void (*fn)(struct tcp_sock *tp, void *arg), void *arg)
{
	struct tcp_hnode *v[64];
	struct tcp_sock *fake;

	if (!table)
		return;
	fake = kzalloc(sizeof(*fake));
	/* An empty table is not even read: its pages were never touched. */
	for (u32 i = NR_BUCKETS + NR_LBUCKETS, end = READ_ONCE(nr_hashed) ? 0 : NR_BUCKETS; i-- > end;) {
		u32 n = collect(i, v, ARRAY_SIZE(v));

		for (u32 j = 0; j < n; j++) {
			if (v[j]->kind == TCP_KIND_SOCK) {
				struct tcp_sock *tp = container_of(v[j], struct tcp_sock, node);

				spin_lock(&tp->lock);
				fn(tp, arg);
				tcp_unlock(tp);
			} else if (fake) {
				fake->node.local = v[j]->local;
				fake->node.remote = v[j]->remote;
				fake->family = v[j]->local.addr.family;
				fake->state =
					v[j]->kind == TCP_KIND_TW ? TCP_TIME_WAIT : TCP_SYN_RECV;
				fn(fake, arg);
			}
			tcp_node_put(v[j]);
		}
	}
	if (fake)
		kfree(fake, sizeof(*fake));
}
