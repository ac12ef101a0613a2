/*
 * pagetree.c - the pages of a file: a radix tree of 64-way nodes.
 */
#include "libos/fs/pagetree.h"

#include "libos/mm/alloc.h"

struct node {
	u64 slot[PAGETREE_FANOUT]; /* struct node *, or page number + 1 on the lowest level */
};

static inline u32 slot_of(u64 idx, u32 level)
{
	return idx >> (level * PAGETREE_BITS) & (PAGETREE_FANOUT - 1);
}

static inline bool in_range(const struct pagetree *t, u64 idx)
{
	u32 bits = t->height * PAGETREE_BITS;

	return t->height && (bits >= 64 || !(idx >> bits));
}

s64 pagetree_get(const struct pagetree *t, u64 idx)
{
	const struct node *n = t->root;

	if (!in_range(t, idx))
		return -1;
	for (u32 level = t->height - 1; level; level--) {
		n = (const struct node *)n->slot[slot_of(idx, level)];
		if (!n)
			return -1;
	}
	return (s64)n->slot[slot_of(idx, 0)] - 1;
}

int pagetree_set(struct pagetree *t, u64 idx, u64 page)
{
	struct node *n;

	while (!in_range(t, idx)) {
		n = kzalloc(sizeof(*n));
		if (!n)
			return -ENOMEM;
		n->slot[0] = (u64)t->root;
		t->root = n;
		t->height++;
	}
	n = t->root;
	for (u32 level = t->height - 1; level; level--) {
		u64 *s = &n->slot[slot_of(idx, level)];

		if (!*s) {
			*s = (u64)kzalloc(sizeof(*n));
			if (!*s)
				return -ENOMEM;
		}
		n = (struct node *)*s;
	}
	if (!n->slot[slot_of(idx, 0)])
		t->nr_pages++;
	n->slot[slot_of(idx, 0)] = page + 1;
	return 0;
}

static u64 next_in(const struct node *n, u32 level, u64 base, u64 idx, u64 *page)
{
	u64 span = 1ull << (level * PAGETREE_BITS);

	for (u32 i = idx > base ? slot_of(idx, level) : 0; i < PAGETREE_FANOUT; i++) {
		u64 at = base + i * span, found;

		if (!n->slot[i])
			continue;
		if (!level) {
			*page = n->slot[i] - 1;
			return at;
		}
		found = next_in((const struct node *)n->slot[i], level - 1, at, idx, page);
		if (found != UINT64_MAX)
			return found;
	}
	return UINT64_MAX;
}

u64 pagetree_next(const struct pagetree *t, u64 idx, u64 *page)
{
	if (!in_range(t, idx))
		return UINT64_MAX;
	return next_in(t->root, t->height - 1, 0, idx, page);
}

u32 pagetree_take(struct pagetree *t, u64 *from, u64 to, u64 *pages, u32 n)
{
	u32 got = 0;

	while (got < n) {
		u64 page, idx = pagetree_next(t, *from, &page);
		struct node *leaf = t->root;

		if (idx >= to)
			break;
		for (u32 level = t->height - 1; level; level--)
			leaf = (struct node *)leaf->slot[slot_of(idx, level)];
		leaf->slot[slot_of(idx, 0)] = 0;
		t->nr_pages--;
		pages[got++] = page;
		*from = idx + 1;
	}
	return got;
}

static void free_node(struct node *n, u32 level)
{
	for (u32 i = 0; level && i < PAGETREE_FANOUT; i++)
		if (n->slot[i])
			free_node((struct node *)n->slot[i], level - 1);
	kfree(n, sizeof(*n));
}

void pagetree_free(struct pagetree *t)
{
	if (t->height)
		free_node(t->root, t->height - 1);
	t->root = NULL;
	t->height = 0;
}
