/*
 * cmd_verify.c - `junction verify`: seal, signature and content of an image.
 */
#include <stdio.h>
#include <string.h>

#include "builder/cmd.h"
#include "builder/image.h"
#include "builder/keys.h"

const char cmd_verify_help[] =
	"Usage: junction verify IMAGE [--key PUB]\n"
	"\n"
	"Checks the seal over every byte of the file, the signature if there is one, and that all content\n"
	"unpacks and is well formed. Exit status 0 if so; otherwise 1 and one line that says why.\n"
	"\n"
	"  --key PUB  the image must be signed by this key (a file made by junction keygen, or 64 hex digits)\n";

int cmd_verify(int argc, char **argv, struct err *e)
{
	const char *path = NULL, *key = NULL;
	uint8_t pub[32];
	struct image img;
	int status = CMD_FAILED;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--key") && i + 1 < argc)
			key = argv[++i];
		else if (argv[i][0] == '-' || path)
			return cmd_usage(e, "verify", "%s: not understood", argv[i]);
		else
			path = argv[i];
	}
	if (!path)
		return cmd_usage(e, "verify", "no image named");
	if (key && keys_read_public(key, pub, e))
		return CMD_FAILED;
	if (image_open(path, &img, e))
		return CMD_FAILED;
	if (!(key && image_check_key(&img, pub, e)) && !image_check_content(&img, e)) {
		printf("%s: good, %s\n", path,
		       img.header.flags & JIMG_SIGNED ? key ? "signed by that key" : "signed" : "not signed");
		status = 0;
	}
	image_close(&img);
	return status;
}
