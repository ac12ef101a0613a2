/*
 * keeper.h - images held as sealed memfds by a process that outlives the instances (`junction keep`).
 *
 * A sealed memfd can be written by nobody, not even root or its maker, but it lives only as long as
 * somebody holds it. The keeper does: it listens at STORE/keeper.sock, and whoever may use the store
 * gets from it the one memfd of an image, which all instances then map. Without a keeper, instances map
 * the file of the store, which its owner could change.
 *
 * One request a connection (SOCK_SEQPACKET): the 64 hex digits of the image's root. The answer is one byte,
 * 0 with the descriptor, or 1 with one line of text behind it.
 */
#ifndef JUNCTION_BUILDER_KEEPER_H
#define JUNCTION_BUILDER_KEEPER_H

#include <stdint.h>

#include "builder/err.h"

/*
 * The memfd of the image with that root from the keeper of the store `dir`: O_RDONLY | O_CLOEXEC, and seen to be
 * sealed. -1: no keeper, or it does not have it; that is no error.
 */
int keeper_ask(const char *dir, const char *hex);

struct keeper;

/* Listens for the store `dir`. NULL with e set, also when another keeper serves it. */
struct keeper *keeper_open(const char *dir, uint64_t limit, struct err *e);
/* Takes in the image of the store with that root. -1 with e set. */
int keeper_hold(struct keeper *k, const char *hex, struct err *e);
/* For poll(2): readable when keeper_serve() has work. */
int keeper_fd(const struct keeper *k);
/* Answers one request, if there is one; never blocks for long on a client. */
void keeper_serve(struct keeper *k);
void keeper_close(struct keeper *k);

#endif
