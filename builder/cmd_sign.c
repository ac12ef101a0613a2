/*
 * cmd_sign.c - `junction sign`: put a signature into an image.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/cmd.h"
#include "builder/image.h"
#include "builder/image_write.h"
#include "builder/keys.h"
#include "builder/strlist.h"

const char cmd_sign_help[] =
	"Usage: junction sign IMAGE --key NAME.key [-o OUT]\n"
	"\n"
	"Signs the seal of an image with Ed25519. The content does not change, nor does its place in the store.\n"
	"A signature that is there already is replaced.\n"
	"\n"
	"  --key NAME.key  secret key, made by junction keygen\n"
	"  -o OUT          write the signed image there; otherwise IMAGE itself is replaced\n";

static int write_all(int fd, const uint8_t *p, uint64_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= n;
	}
	return 0;
}

static int write_image(const char *out, const struct image *img, mode_t mode, struct err *e)
{
	char *tmp = format("%s.new-XXXXXX", out);
	int fd = mkostemp(tmp, O_CLOEXEC), ret = -1;

	if (fd < 0) {
		err_errno(e, "%s: cannot write there", out);
	} else if (write_all(fd, img->bytes, img->size) || fchmod(fd, mode & 0777) || rename(tmp, out)) {
		err_errno(e, "%s: cannot write there", out);
		unlink(tmp);
	} else {
		ret = 0;
	}
	if (fd >= 0)
		close(fd);
	free(tmp);
	return ret;
}

int cmd_sign(int argc, char **argv, struct err *e)
{
	const char *path = NULL, *key = NULL, *out = NULL;
	uint8_t secret[KEYS_SECRET_LEN];
	struct image img;
	struct stat st;
	int status = CMD_FAILED;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--key") && i + 1 < argc)
			key = argv[++i];
		else if (!strcmp(argv[i], "-o") && i + 1 < argc)
			out = argv[++i];
		else if (argv[i][0] == '-' || path)
			return cmd_usage(e, "sign", "%s: not understood", argv[i]);
		else
			path = argv[i];
	}
	if (!path || !key)
		return cmd_usage(e, "sign", path ? "no key given" : "no image named");
	if (stat(path, &st)) {
		err_errno(e, "%s", path);
		return CMD_FAILED;
	}
	if (image_open(path, &img, e))
		return CMD_FAILED;
	if (!keys_read_secret(key, secret, e)) {
		/* The file's bytes are our own copy. */
		image_sign((uint8_t *)img.bytes, secret);
		status = write_image(out ? out : path, &img, st.st_mode, e) ? CMD_FAILED : 0;
		sodium_memzero(secret, sizeof(secret));
	}
	image_close(&img);
	return status;
}
