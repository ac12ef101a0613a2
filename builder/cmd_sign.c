/*
 * cmd_sign.c - `junction sign`.
 */
#include "builder/cmd.h"

const char cmd_sign_help[] = "Usage: junction sign ...\n";

int cmd_sign(int argc, char **argv, struct err *e)
{
	err_set(e, "not there yet");
	return CMD_FAILED;
}
