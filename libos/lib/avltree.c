/*
 * avltree.c - balanced binary tree: insertion and removal with one walk to the root.
 */
#include "libos/lib/avltree.h"

static inline int height(const struct avl_node *n)
{
	return n ? n->height : 0;
}

static void update(struct avl_tree *t, struct avl_node *n)
{
	n->height = 1 + max(height(n->left), height(n->right));
	if (t->augment)
		t->augment(n);
}

/* Makes `to` the child of n's parent in the place of n. */
static void replace(struct avl_tree *t, struct avl_node *n, struct avl_node *to)
{
	struct avl_node *parent = n->parent;

	if (!parent)
		t->root = to;
	else if (parent->left == n)
		parent->left = to;
	else
		parent->right = to;
	if (to)
		to->parent = parent;
}

/* Lifts n's right child into its place. */
static struct avl_node *rotate_left(struct avl_tree *t, struct avl_node *n)
{
	struct avl_node *r = n->right;

	replace(t, n, r);
	n->right = r->left;
	if (n->right)
		n->right->parent = n;
	r->left = n;
	n->parent = r;
	update(t, n);
	update(t, r);
	return r;
}

static struct avl_node *rotate_right(struct avl_tree *t, struct avl_node *n)
{
	struct avl_node *l = n->left;

	replace(t, n, l);
	n->left = l->right;
	if (n->left)
		n->left->parent = n;
	l->right = n;
	n->parent = l;
	update(t, n);
	update(t, l);
	return l;
}

/* From n to the root: heights, values, and a rotation wherever one side is two deeper. */
static void rebalance(struct avl_tree *t, struct avl_node *n)
{
	for (; n; n = n->parent) {
		int d = height(n->left) - height(n->right);

		if (d > 1) {
			if (height(n->left->left) < height(n->left->right))
				rotate_left(t, n->left);
			n = rotate_right(t, n);
		} else if (d < -1) {
			if (height(n->right->right) < height(n->right->left))
				rotate_right(t, n->right);
			n = rotate_left(t, n);
		} else {
			update(t, n);
		}
	}
}

void avl_insert(struct avl_tree *t, struct avl_node *n, struct avl_node *parent, struct avl_node **link)
{
	n->parent = parent;
	n->left = n->right = NULL;
	*link = n;
	rebalance(t, n);
}

void avl_remove(struct avl_tree *t, struct avl_node *n)
{
	struct avl_node *start, *s;

	if (!n->left || !n->right) {
		start = n->parent;
		replace(t, n, n->left ? n->left : n->right);
	} else {
		for (s = n->right; s->left; s = s->left)
			;
		start = s;
		if (s->parent != n) {
			start = s->parent;
			start->left = s->right;
			if (s->right)
				s->right->parent = start;
			s->right = n->right;
			s->right->parent = s;
		}
		s->left = n->left;
		s->left->parent = s;
		replace(t, n, s);
	}
	rebalance(t, start);
}

void avl_augment_up(struct avl_tree *t, struct avl_node *n)
{
	for (; n; n = n->parent)
		t->augment(n);
}
