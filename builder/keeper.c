/*
 * keeper.c - holds the images of a store as sealed memfds and hands them out.
 */
#include "builder/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "builder/store.h"
#include "builder/store_dir.h"
#include "libos/abi/image.h"

#define HEX_LEN (2 * JIMG_HASH_LEN)
#define WANTED_SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define CLIENT_MS 100 /* a client that says nothing for so long is left */
#define ASK_MS 2000   /* a keeper may first have to copy the image */

struct kept {
	struct kept *next; /* used last comes first */
	char hex[HEX_LEN + 1];
	int fd;
	uint64_t size;
};

struct keeper {
	char dir[PATH_MAX - 512];
	struct sockaddr_un sa;
	int fd;
	struct kept *list;
	uint64_t size, limit; /* bytes */
};

static bool address(const char *dir, struct sockaddr_un *sa)
{
	sa->sun_family = AF_UNIX;
	return snprintf(sa->sun_path, sizeof(sa->sun_path), "%s/keeper.sock", dir) <
	       (int)sizeof(sa->sun_path);
}

static int dial(const struct sockaddr_un *sa)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)sa, sizeof(*sa))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

/* Who is at the other end may use this store: its owner, or root. */
static bool trusted(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) &&
	       (cred.uid == geteuid() || cred.uid == 0);
}

int keeper_ask(const char *dir, const char *hex)
{
	char control[CMSG_SPACE(sizeof(int))], text[256];
	struct iovec iov = {.iov_base = text, .iov_len = sizeof(text)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct sockaddr_un sa;
	struct cmsghdr *c;
	int sock, fd = -1;

	if (!address(dir, &sa) || (sock = dial(&sa)) < 0)
		return -1;
	if (trusted(sock) && send(sock, hex, HEX_LEN, MSG_NOSIGNAL) == HEX_LEN &&
	    readable(sock, ASK_MS) && recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) > 0 &&
	    (c = CMSG_FIRSTHDR(&msg)) && c->cmsg_level == SOL_SOCKET &&
	    c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(fd)))
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	close(sock);
	if (fd >= 0 && (fcntl(fd, F_GET_SEALS) & WANTED_SEALS) != WANTED_SEALS) {
		close(fd);
		fd = -1;
	}
	return fd;
}

struct keeper *keeper_open(const char *dir, uint64_t limit, struct err *e)
{
	struct keeper *k = calloc(1, sizeof(*k));
	int fd;

	if (!k) {
		err_set(e, "out of memory");
		return NULL;
	}
	k->fd = -1;
	k->limit = limit;
	snprintf(k->dir, sizeof(k->dir), "%s", dir);
	if (!address(dir, &k->sa)) {
		err_set(e, "%s: too long a path for a socket; set JUNCTION_STORE to a shorter one",
			dir);
		goto fail;
	}
	fd = dial(&k->sa);
	if (fd >= 0) {
		close(fd);
		err_set(e, "%s: another keeper serves this store; stop it first", dir);
		goto fail;
	}
	unlink(k->sa.sun_path);
	k->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (k->fd < 0 || bind(k->fd, (struct sockaddr *)&k->sa, sizeof(k->sa)) ||
	    chmod(k->sa.sun_path, 0600) || listen(k->fd, 64)) {
		err_errno(e, "%s", k->sa.sun_path);
		goto fail;
	}
	return k;
fail:
	if (k->fd >= 0)
		close(k->fd);
	free(k);
	return NULL;
}

int keeper_fd(const struct keeper *k)
{
	return k->fd;
}

/* Lets go of what was used longest ago, but never of the first. Instances keep what they have
 * mapped. */
static void trim(struct keeper *k)
{
	while (k->size > k->limit && k->list && k->list->next) {
		struct kept **p = &k->list, *last;

		while ((*p)->next)
			p = &(*p)->next;
		last = *p;
		*p = NULL;
		k->size -= last->size;
		close(last->fd);
		free(last);
	}
}

static bool is_hex(const char *s, ssize_t n)
{
	if (n != HEX_LEN)
		return false;
	for (int i = 0; i < HEX_LEN; i++)
		if (!strchr("0123456789abcdef", s[i]) || !s[i])
			return false;
	return true;
}

/* The entry for that root, now at the front of the list; NULL with e set. */
static struct kept *find(struct keeper *k, const char *hex, struct err *e)
{
	struct store_image img;
	struct kept **p, *found;

	for (p = &k->list; *p && strcmp((*p)->hex, hex); p = &(*p)->next)
		;
	found = *p;
	if (found) {
		*p = found->next;
	} else {
		if (store_open_root(k->dir, hex, &img)) {
			err_set(e, "no such image in the store");
			return NULL;
		}
		found = calloc(1, sizeof(*found));
		if (!found)
			err_set(e, "out of memory");
		else if ((found->fd = store_memfd(&img, e)) < 0) {
			free(found);
			found = NULL;
		} else {
			memcpy(found->hex, hex, HEX_LEN);
			found->size = img.size;
			k->size += img.size;
		}
		store_close_image(&img);
		if (!found)
			return NULL;
	}
	found->next = k->list;
	k->list = found;
	trim(k);
	return found;
}

int keeper_hold(struct keeper *k, const char *hex, struct err *e)
{
	return find(k, hex, e) ? 0 : -1;
}

static void answer(int sock, int fd, const char *text)
{
	char control[CMSG_SPACE(sizeof(int))] = {}, line[256];
	struct iovec iov = {.iov_base = line};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	line[0] = fd < 0;
	iov.iov_len = 1 + snprintf(line + 1, sizeof(line) - 1, "%.200s", text);
	if (fd >= 0) {
		struct cmsghdr *c = (struct cmsghdr *)control;

		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void keeper_serve(struct keeper *k)
{
	char hex[HEX_LEN + 2] = {};
	struct err e = {};
	struct kept *kept;
	int sock = accept4(k->fd, NULL, NULL, SOCK_CLOEXEC);

	if (sock < 0)
		return;
	if (trusted(sock) && readable(sock, CLIENT_MS)) {
		if (!is_hex(hex, recv(sock, hex, sizeof(hex) - 1, MSG_DONTWAIT))) {
			answer(sock, -1, "not the root of an image");
		} else {
			kept = find(k, hex, &e);
			answer(sock, kept ? kept->fd : -1, kept ? "" : e.text);
		}
	}
	close(sock);
}

void keeper_close(struct keeper *k)
{
	struct kept *next;

	unlink(k->sa.sun_path);
	close(k->fd);
	for (struct kept *p = k->list; p; p = next) {
		next = p->next;
		close(p->fd);
		free(p);
	}
	free(k);
}
