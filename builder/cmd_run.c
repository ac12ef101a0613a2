/*
 * cmd_run.c - `junction run`: an image in the foreground.
 */
#include "builder/cmd.h"

const char cmd_run_help[] = "Usage: junction run IMAGE [--env K=V] [--cores N] [--memory SIZE] [--strace] [--stats]\n"
			    "                    [--workdir DIR] [--key PUB] [-- ARGS...]\n";

int cmd_run(int argc, char **argv, struct err *e)
{
	err_set(e, "not there yet");
	return CMD_FAILED;
}
