/*
 * cmd_verify.c - `junction verify`.
 */
#include "builder/cmd.h"

const char cmd_verify_help[] = "Usage: junction verify ...\n";

int cmd_verify(int argc, char **argv, struct err *e)
{
	err_set(e, "not there yet");
	return CMD_FAILED;
}
