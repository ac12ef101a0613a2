/*
 * keys.c - Ed25519 keys for signing images.
 */
#include "builder/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/strlist.h"

static const char public_word[] = "junction-public-key-1";
static const char secret_word[] = "junction-secret-key-1";

static int read_text(const char *path, struct stat *st, char *text, size_t size, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = -1;

	if (fd < 0)
		return err_errno(e, "%s", path);
	if (fstat(fd, st)) {
		err_errno(e, "%s", path);
	} else {
		n = read(fd, text, size - 1);
		if (n < 0)
			err_errno(e, "%s", path);
	}
	close(fd);
	if (n < 0)
		return -1;
	text[n] = 0;
	return 0;
}

/* WORD HEX, and white space only behind it. */
static int decode(const char *text, const char *word, uint8_t *out, size_t len)
{
	size_t n = strlen(word), got;
	const char *end;

	if (strncmp(text, word, n) || text[n] != ' ')
		return -1;
	text += n + 1;
	if (sodium_hex2bin(out, len, text, strlen(text), NULL, &got, &end) || got != len)
		return -1;
	return end[strspn(end, " \r\n")] ? -1 : 0;
}

int keys_read_public(const char *text, uint8_t out[KEYS_PUBLIC_LEN], struct err *e)
{
	struct stat st;
	char buf[256];
	size_t got;

	if (strlen(text) == 2 * KEYS_PUBLIC_LEN && access(text, F_OK) &&
	    !sodium_hex2bin(out, KEYS_PUBLIC_LEN, text, 2 * KEYS_PUBLIC_LEN, NULL, &got, NULL) &&
	    got == KEYS_PUBLIC_LEN)
		return 0;
	if (read_text(text, &st, buf, sizeof(buf), e))
		return -1;
	if (!strncmp(buf, secret_word, strlen(secret_word))) {
		sodium_memzero(buf, sizeof(buf));
		return err_set(e, "%s: a secret key where a public one is wanted; give the .pub file", text);
	}
	if (decode(buf, public_word, out, KEYS_PUBLIC_LEN))
		return err_set(e, "%s: not a public key; make a pair with junction keygen", text);
	return 0;
}

int keys_read_secret(const char *path, uint8_t out[KEYS_SECRET_LEN], struct err *e)
{
	uint8_t pub[KEYS_PUBLIC_LEN], again[KEYS_SECRET_LEN];
	struct stat st;
	char buf[512];
	int bad;

	if (read_text(path, &st, buf, sizeof(buf), e))
		return -1;
	if (!strncmp(buf, public_word, strlen(public_word)))
		return err_set(e, "%s: a public key where the secret one is wanted; give the .key file", path);
	bad = decode(buf, secret_word, out, KEYS_SECRET_LEN);
	sodium_memzero(buf, sizeof(buf));
	if (!bad) { /* both halves of the key belong together */
		crypto_sign_ed25519_seed_keypair(pub, again, out);
		bad = sodium_memcmp(again, out, KEYS_SECRET_LEN);
		sodium_memzero(again, sizeof(again));
	}
	if (!bad && (st.st_mode & 077)) {
		sodium_memzero(out, KEYS_SECRET_LEN);
		return err_set(e, "%s: others can read this secret key; chmod 600 it", path);
	}
	if (bad)
		return err_set(e, "%s: not a secret key; make a pair with junction keygen", path);
	return 0;
}

static int write_key(const char *path, mode_t mode, const char *word, const uint8_t *key, size_t len,
		     struct err *e)
{
	char hex[2 * KEYS_SECRET_LEN + 1];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode), ret;

	if (fd < 0) {
		if (errno == EEXIST)
			return err_set(e, "%s: exists already; choose another name", path);
		return err_errno(e, "%s", path);
	}
	sodium_bin2hex(hex, sizeof(hex), key, len);
	ret = dprintf(fd, "%s %s\n", word, hex);
	if (close(fd))
		ret = -1;
	sodium_memzero(hex, sizeof(hex));
	if (ret < 0) {
		err_errno(e, "%s", path);
		unlink(path);
		return -1;
	}
	return 0;
}

int keys_make(const char *path, struct err *e)
{
	uint8_t pub[KEYS_PUBLIC_LEN], sec[KEYS_SECRET_LEN];
	char secret_path[4096], public_path[4096];
	int ret;

	snprintf(secret_path, sizeof(secret_path), "%s.key", path);
	snprintf(public_path, sizeof(public_path), "%s.pub", path);
	if (sodium_init() < 0)
		return err_set(e, "%s: libsodium does not start", path);
	crypto_sign_ed25519_keypair(pub, sec);
	ret = write_key(secret_path, 0600, secret_word, sec, sizeof(sec), e);
	if (!ret && write_key(public_path, 0644, public_word, pub, sizeof(pub), e)) {
		unlink(secret_path);
		ret = -1;
	}
	sodium_memzero(sec, sizeof(sec));
	return ret;
}
