/*
 * cmd_inspect.c - `junction inspect`.
 */
#include "builder/cmd.h"

const char cmd_inspect_help[] = "Usage: junction inspect ...\n";

int cmd_inspect(int argc, char **argv, struct err *e)
{
	err_set(e, "not there yet");
	return CMD_FAILED;
}
