/*
 * cmd_keygen.c - `junction keygen`.
 */
#include "builder/cmd.h"

const char cmd_keygen_help[] = "Usage: junction keygen ...\n";

int cmd_keygen(int argc, char **argv, struct err *e)
{
	err_set(e, "not there yet");
	return CMD_FAILED;
}
