/*
 * unix_name.c - names of AF_UNIX sockets: files, abstract names, and who is behind them.
 *
 * A socket that is bound to a path holds the dentry, so its inode stays the same as long as the socket
 * lives, whatever becomes of the name: the inode is what a look-up finds the socket by.
 */
#include <asm/fcntl.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "libos/fs/change.h"
#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/net/unix.h"
#include "libos/proc/proc.h"

#define NAME_BUCKETS 256u
#define AUTOBIND_NAMES 0x100000u /* five hexadecimal digits: unix(7) */

/* Bound sockets, under unix_lock: by abstract name and type, and by inode. */
static struct unix_sock *by_name[NAME_BUCKETS], *by_inode[NAME_BUCKETS];

static u32 name_hash(const u8 *p, u32 n, int type)
{
	u32 h = 2166136261u ^ (u32)type;

	while (n--)
		h = (h ^ *p++) * 16777619u;
	return (h ^ h >> 16) % NAME_BUCKETS;
}

static u32 inode_hash(const struct inode *i)
{
	return (u32)((u64)i >> 6 ^ (u64)i >> 14) % NAME_BUCKETS;
}

void unix_name_put(struct unix_name *n)
{
	if (n && __atomic_fetch_sub(&n->refs, 1, __ATOMIC_ACQ_REL) == 1)
		kfree(n, sizeof(*n));
}

static struct unix_name *name_new(const void *addr, u32 len)
{
	struct unix_name *n = kzalloc(sizeof(*n));

	if (n) {
		n->refs = 1;
		n->len = len;
		memcpy(n->addr, addr, len);
	}
	return n;
}

int unix_check_addr(const void *addr, u32 len)
{
	u16 family;

	if (len <= sizeof(family) || len > UNIX_ADDR_MAX)
		return -EINVAL;
	memcpy(&family, addr, sizeof(family));
	return family == AF_UNIX ? 0 : -EINVAL;
}

/* The abstract name in addr is taken by a socket of that type. unix_lock held. */
static struct unix_sock *find_abstract(const void *addr, u32 len, int type)
{
	struct unix_sock *u = by_name[name_hash(addr, len, type)];

	while (u && (u->sock.type != type || u->name->len != len || memcmp(u->name->addr, addr, len)))
		u = u->hash_next;
	return u;
}

static void enter(struct unix_sock *u, struct unix_name *n, struct dentry *d)
{
	struct unix_sock **head =
		d ? &by_inode[inode_hash(d->inode)] : &by_name[name_hash(n->addr, n->len, u->sock.type)];

	u->dentry = d;
	__atomic_store_n(&u->name, n, __ATOMIC_RELEASE);
	u->hash_next = *head;
	*head = u;
}

void unix_unbind(struct unix_sock *u)
{
	struct unix_sock **p;
	struct dentry *d;

	spin_lock(&unix_lock);
	d = u->dentry;
	/* An accepted socket shares the name, but is not entered under it. */
	if (u->name) {
		p = d ? &by_inode[inode_hash(d->inode)] :
			&by_name[name_hash(u->name->addr, u->name->len, u->sock.type)];
		while (*p && *p != u)
			p = &(*p)->hash_next;
		if (*p)
			*p = u->hash_next;
	}
	u->dentry = NULL;
	spin_unlock(&unix_lock);
	dput(d);
}

static int bind_abstract(struct unix_sock *u, struct unix_name *n)
{
	int err = 0;

	spin_lock(&unix_lock);
	if (find_abstract(n->addr, n->len, u->sock.type))
		err = -EADDRINUSE;
	else
		enter(u, n, NULL);
	spin_unlock(&unix_lock);
	return err;
}

static int bind_path(struct unix_sock *u, struct unix_name *n)
{
	struct dentry *d = make_socket_node((char *)n->addr + 2);

	if (is_err(d))
		return ptr_err(d) == -EEXIST ? -EADDRINUSE : (int)ptr_err(d);
	spin_lock(&unix_lock);
	enter(u, n, d);
	spin_unlock(&unix_lock);
	return 0;
}

int unix_autobind(struct unix_sock *u)
{
	static u32 next;
	u8 addr[2 + 1 + 8] = { AF_UNIX };
	struct unix_name *n;
	int err = -ENOSPC;

	mutex_lock(&u->bind_lock);
	if (u->name) {
		mutex_unlock(&u->bind_lock);
		return 0;
	}
	n = name_new(addr, 2 + 6);
	if (!n)
		err = -ENOMEM;
	for (u32 i = 0; n && err && i < AUTOBIND_NAMES; i++) {
		snprintf((char *)n->addr + 3, 6, "%05x",
			 __atomic_add_fetch(&next, 1, __ATOMIC_RELAXED) % AUTOBIND_NAMES);
		err = bind_abstract(u, n);
	}
	mutex_unlock(&u->bind_lock);
	if (err)
		unix_name_put(n);
	return err;
}

static bool path_exists(const char *path)
{
	struct dentry *d = NULL;
	struct file *f = NULL;

	if (path_lookup(AT_FDCWD, path, 0, &d, &f))
		return false;
	dput(d);
	if (f)
		file_put(f);
	return true;
}

int unix_bind(struct socket *s, const void *addr, u32 len)
{
	struct unix_sock *u = unix_of(s);
	struct unix_name *n;
	int err;
	u16 family = 0;

	if (len >= sizeof(family))
		memcpy(&family, addr, sizeof(family));
	if (len == sizeof(family) && family == AF_UNIX)
		return unix_autobind(u);
	err = unix_check_addr(addr, len);
	if (err)
		return err;
	n = name_new(addr, len);
	if (!n)
		return -ENOMEM;
	if (n->addr[2])
		n->len = 2 + (u32)strlen((char *)n->addr + 2) + 1;
	mutex_lock(&u->bind_lock);
	if (u->name)
		err = n->addr[2] && path_exists((char *)n->addr + 2) ? -EADDRINUSE : -EINVAL;
	else
		err = n->addr[2] ? bind_path(u, n) : bind_abstract(u, n);
	mutex_unlock(&u->bind_lock);
	if (err)
		unix_name_put(n);
	return err;
}

int unix_getname(struct socket *s, void *addr, u32 *len, bool peer)
{
	struct unix_sock *u = unix_of(s), *of = u;
	const u16 family = AF_UNIX;
	struct unix_name *n;

	if (peer) {
		of = unix_peer_get(u);
		if (!of)
			return -ENOTCONN;
	}
	n = __atomic_load_n(&of->name, __ATOMIC_ACQUIRE);
	if (n) {
		memcpy(addr, n->addr, n->len);
		*len = n->len;
	} else {
		memcpy(addr, &family, sizeof(family));
		*len = sizeof(family);
	}
	if (peer)
		unix_put(of);
	return 0;
}

static struct unix_sock *find_path(const char *path, int type)
{
	struct unix_sock *u = NULL;
	struct dentry *d = NULL;
	struct file *f = NULL;
	int err = path_lookup(AT_FDCWD, path, WALK_FOLLOW, &d, &f);

	if (err)
		return err_ptr(err);
	if (f) {
		file_put(f);
		return err_ptr(-ECONNREFUSED);
	}
	err = inode_permission(d->inode, MAY_WRITE);
	if (!err && !S_ISSOCK(d->inode->mode))
		err = -ECONNREFUSED;
	if (!err) {
		spin_lock(&unix_lock);
		for (u = by_inode[inode_hash(d->inode)]; u && u->dentry->inode != d->inode;)
			u = u->hash_next;
		if (!u)
			err = -ECONNREFUSED;
		else if (u->sock.type != type)
			err = -EPROTOTYPE;
		else
			unix_get(u);
		spin_unlock(&unix_lock);
	}
	dput(d);
	return err ? err_ptr(err) : u;
}

struct unix_sock *unix_find(const void *addr, u32 len, int type)
{
	char path[UNIX_PATH_MAX + 1] = "";
	struct unix_sock *u;

	memcpy(path, (const u8 *)addr + 2, len - 2);
	if (path[0])
		return find_path(path, type);
	spin_lock(&unix_lock);
	u = find_abstract(addr, len, type);
	if (u)
		unix_get(u);
	spin_unlock(&unix_lock);
	return u ?: err_ptr(-ECONNREFUSED);
}
