/*
 * cmd.h - the verbs of the junction command line.
 */
#ifndef JUNCTION_BUILDER_CMD_H
#define JUNCTION_BUILDER_CMD_H

#include "builder/err.h"

#define JUNCTION_VERSION "0.1.0"

/* Exit status of junction itself when it could not do what was asked (env(1) and docker use the same). */
#define CMD_FAILED 1
#define CMD_USAGE 2

struct command {
	const char *name;
	const char *summary; /* one line for `junction help` */
	const char *help; /* text for `junction VERB --help`, ends with a newline */
	/* argv[0] is the verb. Returns the exit status; with e->text set, main() prints the line. */
	int (*run)(int argc, char **argv, struct err *e);
};

int cmd_build(int argc, char **argv, struct err *e);
int cmd_run(int argc, char **argv, struct err *e);
int cmd_keep(int argc, char **argv, struct err *e);
int cmd_inspect(int argc, char **argv, struct err *e);
int cmd_verify(int argc, char **argv, struct err *e);
int cmd_keygen(int argc, char **argv, struct err *e);
int cmd_sign(int argc, char **argv, struct err *e);
int cmd_rewrite(int argc, char **argv, struct err *e);
int cmd_top(int argc, char **argv, struct err *e);

extern const char cmd_build_help[], cmd_run_help[], cmd_inspect_help[], cmd_verify_help[],
	cmd_keygen_help[], cmd_keep_help[], cmd_sign_help[], cmd_rewrite_help[], cmd_top_help[];

/* Sets "WHAT; see junction VERB --help" and returns CMD_USAGE. */
int cmd_usage(struct err *e, const char *verb, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
