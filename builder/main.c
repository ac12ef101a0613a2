/*
 * main.c - the junction command line: finds the verb and runs it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "builder/cmd.h"

static const struct command commands[] = {
	{"build", "pack a program and the library OS into a sealed image", cmd_build_help, cmd_build},
	{"run", "run an image in the foreground", cmd_run_help, cmd_run},
	{"keep", "hold images as sealed memory for all who run them", cmd_keep_help, cmd_keep},
	{"top", "show what the scheduler and its instances do, live", cmd_top_help, cmd_top},
	{"inspect", "show what an image holds", cmd_inspect_help, cmd_inspect},
	{"verify", "check the seal, the signature and the content of an image", cmd_verify_help, cmd_verify},
	{"keygen", "make a key pair for signing", cmd_keygen_help, cmd_keygen},
	{"sign", "sign an image", cmd_sign_help, cmd_sign},
	{"rewrite", "rewrite the system calls of one ELF file", cmd_rewrite_help, cmd_rewrite},
};

/* Verbs that the design names and that have nothing behind them yet. */
static const char *const planned[] = {"deploy", "boot", "list", "remove", "scale", "logs", "invoke"};

#define NR(a) (sizeof(a) / sizeof((a)[0]))

int cmd_usage(struct err *e, const char *verb, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	err_set(e, "%s; see junction %s --help", what, verb);
	return CMD_USAGE;
}

static void print_help(FILE *f)
{
	fputs("junction - build, inspect and run sealed library-OS images\n\n"
	      "Usage: junction VERB [ARGUMENTS...]\n\nVerbs:\n", f);
	for (size_t i = 0; i < NR(commands); i++)
		fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].summary);
	fputs("  help       this text; `junction help VERB` or `junction VERB --help` for one verb\n\n"
	      "Options:\n  --version  print the version\n", f);
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < NR(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static int unknown(const char *name)
{
	for (size_t i = 0; i < NR(planned); i++)
		if (!strcmp(planned[i], name)) {
			fprintf(stderr, "junction %s: not there yet; see junction help\n", name);
			return CMD_FAILED;
		}
	fprintf(stderr, "junction: %s: no such verb; see junction help\n", name);
	return CMD_USAGE;
}

/* --help counts as ours only before a "--", behind which the arguments are the program's. */
static int wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	const struct command *cmd;
	struct err e = {0};
	int status;

	if (argc < 2) {
		print_help(stderr);
		return CMD_USAGE;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "version")) {
		puts("junction " JUNCTION_VERSION);
		return 0;
	}
	if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		if (argc < 3) {
			print_help(stdout);
			return 0;
		}
		cmd = find(argv[2]);
		if (!cmd)
			return unknown(argv[2]);
		fputs(cmd->help, stdout);
		return 0;
	}
	cmd = find(argv[1]);
	if (!cmd)
		return unknown(argv[1]);
	if (wants_help(argc - 1, argv + 1)) {
		fputs(cmd->help, stdout);
		return 0;
	}
	status = cmd->run(argc - 1, argv + 1, &e);
	if (e.text[0])
		fprintf(stderr, "junction %s: %s\n", cmd->name, e.text);
	return status;
}
