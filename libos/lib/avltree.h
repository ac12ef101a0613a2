/*
 * avltree.h - balanced binary tree with the node inside the element, and a value per subtree.
 *
 * The caller walks down to the place itself (it knows the order), then links. `augment`, if there is one,
 * recomputes what a node says about its subtree from itself and its children; it is called for
 * every node whose subtree changed, children first.
 */
#ifndef LIBOS_LIB_AVLTREE_H
#define LIBOS_LIB_AVLTREE_H

#include "libos/lib/types.h"

struct avl_node {
	struct avl_node *parent, *left, *right;
	int height;
};

struct avl_tree {
	struct avl_node *root;
	void (*augment)(struct avl_node *n);
};

/* Puts n where *link (a child pointer of parent, or &t->root) is NULL. */
void avl_insert(struct avl_tree *t, struct avl_node *n, struct avl_node *parent, struct avl_node **link);
void avl_remove(struct avl_tree *t, struct avl_node *n);
/* n's own value changed: brings the values above it up to date. */
void avl_augment_up(struct avl_tree *t, struct avl_node *n);

#endif
