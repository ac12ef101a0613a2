/*
 * cmd_keygen.c - `junction keygen`: a key pair for signing images.
 */
#include <stdio.h>

#include "builder/cmd.h"
#include "builder/keys.h"

const char cmd_keygen_help[] =
	"Usage: junction keygen NAME\n"
	"\n"
	"Makes an Ed25519 key pair: NAME.key signs images (junction sign) and is readable by you alone;\n"
	"NAME.pub goes to whoever checks them (junction verify --key, junction run --key).\n"
	"Files that exist are never overwritten.\n";

int cmd_keygen(int argc, char **argv, struct err *e)
{
	if (argc != 2 || argv[1][0] == '-')
		return cmd_usage(e, "keygen", argc < 2 ? "no name for the key" : "one name for the key is wanted");
	if (keys_make(argv[1], e))
		return CMD_FAILED;
	printf("%s.key\n%s.pub\n", argv[1], argv[1]);
	return 0;
}
