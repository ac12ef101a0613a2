/*
 * store.c - the content-addressed store of unpacked images.
 *
 *   STORE/ROOTHEX.img      unpacked image, mode 0444; ROOTHEX is the root of the image's hash tree
 *   STORE/by-stat/KEY      symbolic link to ../ROOTHEX.img; KEY is device, inode, size, mtime and ctime
 *                          of a sealed file that was verified and had that root
 *   STORE/.new-RANDOM      being written; renamed to its final name when complete and on disk
 *
 * What makes the stat cache safe: an entry is only ever a verified image, so a stale link can at worst
 * start the content that the file had before. A link is made only for a file whose status change is
 * older than RACY_NS, so that a later change cannot carry the same time stamps (git's racy rule).
 */
#include "builder/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "builder/checked.h"
#include "builder/image.h"
#include "builder/keeper.h"
#include "builder/store_dir.h"
#include "builder/tmpfile.h"

#define RACY_NS 20000000ull

static int open_entry(const char *path, struct store_image *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (store_map(fd, out)) {
		close(fd);
		return -1;
	}
	return 0;
}

static void stat_link(const char *dir, const struct stat *st, char *out, size_t len)
{
	snprintf(out, len, "%s/by-stat/%llx-%llx-%llx-%llx.%lx-%llx.%lx", dir,
		 (unsigned long long)st->st_dev, (unsigned long long)st->st_ino,
		 (unsigned long long)st->st_size, (unsigned long long)st->st_mtim.tv_sec,
		 st->st_mtim.tv_nsec, (unsigned long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

/* With a key demanded, the sealed file's own header is looked at, cached or not. */
static int check_key(const char *jimg, const uint8_t *key, const struct store_image *img, struct err *e)
{
	struct jimg_header h;
	int fd = open(jimg, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return err_errno(e, "%s", jimg);
	n = pread(fd, &h, sizeof(h), JIMG_HEADER_OFFSET);
	close(fd);
	if (n != sizeof(h) || memcmp(h.magic, JIMG_MAGIC, sizeof(h.magic)) ||
	    memcmp(h.root, img->header->root, sizeof(h.root)))
		return err_set(e, "%s: changed while it was opened; try again", jimg);
	return image_check_header_key(&h, key, jimg, e);
}

static bool settled(const struct stat *st)
{
	struct timespec now;
	int64_t ns;

	clock_gettime(CLOCK_REALTIME, &now);
	ns = (now.tv_sec - st->st_ctim.tv_sec) * 1000000000ll + now.tv_nsec - st->st_ctim.tv_nsec;
	return ns > (int64_t)RACY_NS;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

void store_root_hex(const uint8_t *root, char out[2 * JIMG_HASH_LEN + 1])
{
	for (int i = 0; i < JIMG_HASH_LEN; i++)
		sprintf(out + 2 * i, "%02x", root[i]);
}

/* Unpacks into STORE/.new-RANDOM and gives it its name. Returns 0, -1 with e set. */
static int add_entry(const struct image *img, const char *dir, const char *entry, struct err *e)
{
	char tmp[PATH_MAX];
	int fd;

	snprintf(tmp, sizeof(tmp), "%s/.new-XXXXXX", dir);
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, "%s: cannot write to the store %s", img->name, dir);
	tmpfile_remember(tmp);
	if (image_unpack(img, fd, e))
		goto fail;
	if (fchmod(fd, 0444) || fdatasync(fd) || rename(tmp, entry)) {
		err_errno(e, "%s: cannot write to the store %s", img->name, dir);
		goto fail;
	}
	tmpfile_forget();
	close(fd);
	return 0;
fail:
	unlink(tmp);
	tmpfile_forget();
	close(fd);
	return -1;
}

static int seal_memfd(int fd, struct err *e)
{
	char path[64];
	int ro;

	if (fchmod(fd, 0444) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return err_errno(e, "cannot seal a memfd");
	/* Kernels before 6.7 refuse a shared mapping of a write-sealed memfd unless it is open read-only. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	if (ro < 0)
		return err_errno(e, "cannot reopen a memfd; is /proc mounted?");
	close(fd);
	return ro;
}

/* Without a store: unpack into memory of our own. */
static int unpack_to_memfd(const struct image *img, struct store_image *out, struct err *e)
{
	int fd = memfd_create("junction-image", MFD_CLOEXEC | MFD_ALLOW_SEALING), ro;

	if (fd < 0)
		return err_errno(e, "%s: cannot make a memfd", img->name);
	if (image_unpack(img, fd, e)) {
		close(fd);
		return -1;
	}
	ro = seal_memfd(fd, e);
	if (ro < 0) {
		close(fd);
		return -1;
	}
	if (store_map(ro, out)) {
		close(ro);
		return err_set(e, "%s: cannot map the unpacked image", img->name);
	}
	return 0;
}

static int verify_and_unpack(const char *jimg, const char *dir, struct store_image *out, struct err *e)
{
	char entry[PATH_MAX], link[PATH_MAX], target[80], hex[2 * JIMG_HASH_LEN + 1];
	struct stat before, after;
	struct image img;
	bool quiet;
	int fd, ret = -1;

	fd = open(jimg, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_errno(e, "%s", jimg);
	if (fstat(fd, &before)) {
		err_errno(e, "%s", jimg);
		goto out_close;
	}
	quiet = settled(&before);
	if (image_open_fd(fd, jimg, &img, e))
		goto out_close;

	ret = store_dir_make(dir, jimg, e);
	if (ret < 0)
		goto out_image;
	if (ret > 0) {
		ret = unpack_to_memfd(&img, out, e);
		goto out_image;
	}
	store_root_hex(img.header.root, hex);
	snprintf(entry, sizeof(entry), "%s/%s.img", dir, hex);
	ret = open_entry(entry, out);
	if (ret) {
		ret = add_entry(&img, dir, entry, e);
		if (ret)
			goto out_image;
		ret = open_entry(entry, out);
		if (ret) {
			err_set(e, "%s: the store %s lost the image just written; check that disk", jimg, dir);
			goto out_image;
		}
	}
	store_dir_trim(dir, hex);
	if (quiet && !fstat(fd, &after) && same_file(&before, &after)) {
		stat_link(dir, &before, link, sizeof(link));
		snprintf(target, sizeof(target), "../%s.img", hex);
		if (symlink(target, link) && errno == EEXIST) {
			unlink(link); /* it led nowhere, or we had not come here */
			if (symlink(target, link))
				errno = 0;
		}
	}
out_image:
	image_close(&img);
out_close:
	close(fd);
	return ret;
}

int store_open_root(const char *dir, const char *hex, struct store_image *out)
{
	char path[PATH_MAX];

	memset(out, 0, sizeof(*out));
	out->fd = -1;
	snprintf(path, sizeof(path), "%s/%s.img", dir, hex);
	return open_entry(path, out);
}

/* The keeper's memfd in place of the file, if it has one. */
static void use_kept(const char *dir, struct store_image *out)
{
	struct store_image kept = {.cached = out->cached, .kept = true};
	char hex[2 * JIMG_HASH_LEN + 1];
	int fd;

	store_root_hex(out->header->root, hex);
	fd = keeper_ask(dir, hex);
	if (fd < 0)
		return;
	if (store_map(fd, &kept)) {
		close(fd);
		return;
	}
	store_close_image(out);
	*out = kept;
}

int store_open_image(const char *jimg, const uint8_t *key, struct store_image *out, struct err *e)
{
	char dir[PATH_MAX - 512], link[PATH_MAX];
	struct stat st;
	int ret;

	memset(out, 0, sizeof(*out));
	out->fd = -1;
	if (stat(jimg, &st))
		return err_errno(e, "%s", jimg);
	if (store_dir_name(dir, sizeof(dir))) {
		stat_link(dir, &st, link, sizeof(link));
		out->cached = !open_entry(link, out);
	}
	if (!out->cached && verify_and_unpack(jimg, dir, out, e))
		return -1;
	if (dir[0])
		use_kept(dir, out);
	ret = key ? check_key(jimg, key, out, e) : 0;
	if (ret)
		store_close_image(out);
	return ret;
}

void store_wait_settled(const char *jimg)
{
	struct timespec pause = {0, RACY_NS / 10};
	struct stat st;

	/* A clock set back must not keep us: at most twice the time that is needed. */
	for (int i = 0; i < 20 && !stat(jimg, &st) && !settled(&st); i++)
		nanosleep(&pause, NULL);
}

int store_memfd(const struct store_image *img, struct err *e)
{
	int fd = memfd_create("junction-image", MFD_CLOEXEC | MFD_ALLOW_SEALING), ro;
	off_t off = 0;

	if (fd < 0)
		return err_errno(e, "cannot make a memfd");
	while ((uint64_t)off < img->size) {
		ssize_t n = sendfile(fd, img->fd, &off, img->size - off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			err_errno(e, "cannot copy the image into a memfd");
			close(fd);
			return -1;
		}
	}
	ro = seal_memfd(fd, e);
	if (ro < 0)
		close(fd);
	return ro;
}
