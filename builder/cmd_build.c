/*
 * cmd_build.c - `junction build`.
 */
#include "builder/cmd.h"

const char cmd_build_help[] = "Usage: junction build ...\n";

int cmd_build(int argc, char **argv, struct err *e)
{
	err_set(e, "not there yet");
	return CMD_FAILED;
}
