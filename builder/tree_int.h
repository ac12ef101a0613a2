/*
 * tree_int.h - between tree.c and tree_host.c; for nobody else.
 */
#ifndef JUNCTION_BUILDER_TREE_INT_H
#define JUNCTION_BUILDER_TREE_INT_H

#include "builder/tree.h"

/*
 * The node at `path` in the tree, its parents made as needed. *fresh says whether it is new (of the
 * given mode, still without content) or stood there before.
 */
struct node *tree_claim(struct tree *t, const char *path, uint32_t mode, bool *fresh, struct err *e);

void blobs_free(struct tree *t);

#endif
