/*
 * test_store.c - the store: unpacked once, remembered, never trusted blindly.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/image_write.h"
#include "builder/store.h"
#include "test/unit/small_image.h"

static uint8_t *bytes;
static size_t len;
static char jimg[4096];

static void setup(void)
{
	bytes = small_image(&len);
	strcpy(jimg, small_file("t.jimg", bytes, len, 0644));
	store_wait_settled(jimg);
}

static void teardown(void)
{
	free(bytes);
	small_cleanup();
}

TestSuite(store, .init = setup, .fini = teardown, .timeout = 60);

static void open_ok(const uint8_t *key, struct store_image *img)
{
	struct err e = {0};

	cr_assert(!store_open_image(jimg, key, img, &e), "%s", e.text);
	cr_assert_eq(img->header->magic, JSTORE_MAGIC);
	cr_assert_str_eq(store_record_string(img->record, img->record->entry, 0), "/prog");
}

static void open_fails(const uint8_t *key, const char *why)
{
	struct store_image img;
	struct err e = {0};

	cr_assert(store_open_image(jimg, key, &img, &e), "opened in spite of: %s", why);
	cr_assert(strstr(e.text, why), "%s", e.text);
	cr_assert_eq(img.fd, -1);
}

static int entries(void)
{
	DIR *d = opendir(small_path("store"));
	struct dirent *de;
	int n = 0;

	while ((de = readdir(d)))
		n += strstr(de->d_name, ".img") != NULL;
	closedir(d);
	return n;
}

Test(store, second_open_is_cached)
{
	struct store_image img;
	struct stat st;

	open_ok(NULL, &img);
	cr_assert(!img.cached);
	cr_assert(!fstat(img.fd, &st));
	cr_assert_eq(st.st_mode & 0777, 0444);
	cr_assert_eq((uint64_t)st.st_size, img.size);
	store_close_image(&img);
	open_ok(NULL, &img);
	cr_assert(img.cached);
	store_close_image(&img);
	cr_assert_eq(entries(), 1);
	cr_assert(!stat(small_path("store"), &st));
	cr_assert_eq(st.st_mode & 0777, 0700);
}

Test(store, changed_file_is_verified_again)
{
	struct store_image img;

	open_ok(NULL, &img);
	store_close_image(&img);
	bytes[len - 1] ^= 1;
	small_file("t.jimg", bytes, len, 0644);
	open_fails(NULL, "seal does not match");
	bytes[len - 1] ^= 1;
	small_file("t.jimg", bytes, len, 0644);
	open_ok(NULL, &img);
	cr_assert(!img.cached);
	store_close_image(&img);
	cr_assert_eq(entries(), 1);
}

Test(store, just_written_file_is_not_remembered)
{
	struct store_image img;

	small_file("t.jimg", bytes, len, 0644);
	open_ok(NULL, &img);
	store_close_image(&img);
	open_ok(NULL, &img);
	cr_assert(!img.cached);
	store_close_image(&img);
}

Test(store, damaged_entry_is_made_again)
{
	struct store_image img;
	char path[4096], hex[65];

	open_ok(NULL, &img);
	sodium_bin2hex(hex, sizeof(hex), img.header->root, 32);
	store_close_image(&img);
	snprintf(path, sizeof(path), "%s/%s.img", small_path("store"), hex);
	chmod(path, 0644);
	cr_assert(!truncate(path, 8192 + 4096));
	open_ok(NULL, &img);
	cr_assert(!img.cached);
	store_close_image(&img);
}

Test(store, key)
{
	uint8_t pub[32], sec[64], other[32];
	struct store_image img;

	crypto_sign_ed25519_keypair(other, sec);
	crypto_sign_ed25519_keypair(pub, sec);
	open_fails(pub, "not signed");
	image_sign(bytes, sec);
	small_file("t.jimg", bytes, len, 0644);
	store_wait_settled(jimg);
	open_ok(pub, &img);
	store_close_image(&img);
	open_ok(pub, &img);
	cr_assert(img.cached);
	store_close_image(&img);
	open_fails(other, "another key");
}

Test(store, store_that_others_can_write_is_refused)
{
	mkdir(small_path("store"), 0700);
	chmod(small_path("store"), 0777);
	open_fails(NULL, "can be written by other users");
}

Test(store, without_a_place_a_sealed_memfd)
{
	struct store_image img;

	setenv("JUNCTION_STORE", "/proc/no/store", 1);
	open_ok(NULL, &img);
	cr_assert(fcntl(img.fd, F_GET_SEALS) & F_SEAL_WRITE);
	cr_assert(!img.cached);
	store_close_image(&img);
}

Test(store, memfd)
{
	struct store_image img;
	struct err e = {0};
	uint8_t *copy;
	int fd;

	open_ok(NULL, &img);
	fd = store_memfd(&img, &e);
	cr_assert(fd >= 0, "%s", e.text);
	cr_assert_eq(fcntl(fd, F_GET_SEALS), F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	copy = mmap(NULL, img.size, PROT_READ, MAP_SHARED, fd, 0);
	cr_assert(copy != MAP_FAILED);
	cr_assert(!memcmp(copy, img.header, img.size));
	cr_assert(write(fd, "x", 1) < 0);
	store_close_image(&img);
}
