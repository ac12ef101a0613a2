/*
 * cmd_run.c - `junction run`: an image in the foreground.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/cmd.h"
#include "builder/keys.h"
#include "builder/launch.h"
#include "builder/run_net.h"
#include "builder/spec.h"
#include "builder/store.h"
#include "loader/supervisor.h"

const char cmd_run_help[] =
	"Usage: junction run IMAGE [--env K=V]... [--cores N] [--memory SIZE] [--strace] [--stats[=json]]\n"
	"                    [--workdir DIR] [--key PUB]\n"
	"                    [--net [--ip ADDR] [--publish [ADDR:]PORT:PORT]... [--dns ADDR]\n"
	"                     [--scheduler SOCKET] [--publish-remote]]\n"
	"                    [-- ARGS...]\n"
	"\n"
	"Runs a sealed image in the foreground, in an isolated process on its own library OS. Standard\n"
	"streams are connected, signals are passed on, and the exit status is the program's.\n"
	"\n"
	"  --env K=V       set a variable; --env K takes the value that it has here\n"
	"  --cores N       host threads of the instance; otherwise the image's limit, or 2\n"
	"  --memory SIZE   limit, as 64M or 2G; the instance is killed above it\n"
	"  --strace        write a line for each system call to standard error\n"
	"  --stats[=json]  print counters and times to standard error at the end\n"
	"  --workdir DIR   the program's working directory inside the image\n"
	"  --key PUB       run only if signed by this public key\n"
	"  --net           a network: a NIC from the scheduler that runs, or else from a private one\n"
	"  --ip ADDR       the instance's address; otherwise the scheduler chooses\n"
	"  --publish HOST:PORT:PORT\n"
	"                  make a TCP port of the instance (the last) reachable at an address and port of this\n"
	"                  host, as 127.0.0.1:8080:80; without HOST: 127.0.0.1. May be said several times\n"
	"  --publish-remote\n"
	"                  allow --publish on addresses that other hosts can reach\n"
	"  --dns ADDR      name server that /etc/resolv.conf names, instead of the scheduler's\n"
	"  --scheduler SOCKET\n"
	"                  join the scheduler that listens there; otherwise $JUNCTION_SCHEDULER, then\n"
	"                  /run/junction/scheduler.sock (root) or $XDG_RUNTIME_DIR/junction/scheduler.sock\n"
	"  ARGS            arguments of the program instead of the image's default ones\n"
	"\n"
	"Without --net there is no network but the loopback inside.\n"
	"\n"
	"Exit status: the program's; 128+N when signal N killed it; 125 when the library OS failed, 126\n"
	"when the instance could not be started, 1 when the image could not be opened or output was lost.\n";

struct options {
	const char *image, *workdir, *key;
	char **env; /* of this command line, NULL-terminated */
	int nr_env;
	char **args; /* behind "--"; NULL: the image's own */
	uint32_t cores;
	uint64_t memory;
	bool strace;
	enum supervisor_stats stats;
	struct run_net net;
};

static int parse_cores(const char *s, uint32_t *cores)
{
	char *end;
	unsigned long v = strtoul(s, &end, 10);

	if (*s < '0' || *s > '9' || *end || v < 1 || v > CTL_MAX_KTHREADS)
		return -1;
	*cores = v;
	return 0;
}

/* "K=V" stays; "K" becomes this process's own K=V, or nothing where it is not set. */
static int add_env(struct options *o, char *arg, struct err *e)
{
	const char *value;
	char *both;

	if (!*arg || *arg == '=')
		return cmd_usage(e, "run", "--env %s: the variable has no name", arg);
	if (strchr(arg, '=')) {
		o->env[o->nr_env++] = arg;
		return 0;
	}
	value = getenv(arg);
	if (!value)
		return 0;
	if (asprintf(&both, "%s=%s", arg, value) == -1) {
		err_set(e, "out of memory");
		return CMD_FAILED;
	}
	o->env[o->nr_env++] = both;
	return 0;
}

/* Returns 0, or the exit status with a line in `e`. */
static int parse(int argc, char **argv, struct options *o, struct err *e)
{
	/* Options with a value, for "--name VALUE" and "--name=VALUE". */
	static const char *const valued[] = {"--env", "--cores",   "--memory", "--workdir",  "--key",
					     "--ip",  "--publish", "--dns",    "--scheduler"};

	o->env = calloc(argc + 1, sizeof(*o->env));
	if (!o->env) {
		err_set(e, "out of memory");
		return CMD_FAILED;
	}
	for (int i = 1; i < argc; i++) {
		char *a = argv[i], *value = NULL;
		int which = -1, ret;

		if (!strcmp(a, "--")) {
			o->args = argv + i + 1;
			break;
		}
		if (!strcmp(a, "--strace")) {
			o->strace = true;
			continue;
		}
		if (!strcmp(a, "--net")) {
			o->net.wanted = true;
			continue;
		}
		if (!strcmp(a, "--publish-remote")) {
			o->net.publish_remote = true;
			continue;
		}
		if (!strcmp(a, "--stats") || !strcmp(a, "--stats=text")) {
			o->stats = SUPERVISOR_STATS_TEXT;
			continue;
		}
		if (!strcmp(a, "--stats=json")) {
			o->stats = SUPERVISOR_STATS_JSON;
			continue;
		}
		if (*a != '-') {
			if (o->image)
				return cmd_usage(e, "run", "%s: only one image; arguments of the program "
						 "go behind --", a);
			o->image = a;
			continue;
		}
		for (int v = 0; v < 9; v++) {
			size_t len = strlen(valued[v]);

			if (strncmp(a, valued[v], len) || (a[len] && a[len] != '='))
				continue;
			which = v;
			value = a[len] ? a + len + 1 : argv[++i];
		}
		if (which == -1)
			return cmd_usage(e, "run", "%s: no such option", a);
		if (!value)
			return cmd_usage(e, "run", "%s: needs a value", a);
		switch (which) {
		case 0:
			ret = add_env(o, value, e);
			if (ret)
				return ret;
			break;
		case 1:
			if (parse_cores(value, &o->cores) == -1)
				return cmd_usage(e, "run", "--cores %s: not a number from 1 to %d", value,
						 CTL_MAX_KTHREADS);
			break;
		case 2:
			if (parse_size(value, &o->memory) == -1)
				return cmd_usage(e, "run", "--memory %s: not a size such as 64M or 2G",
						 value);
			break;
		case 3:
			o->workdir = value;
			if (*value != '/')
				return cmd_usage(e, "run", "--workdir %s: not an absolute path", value);
			break;
		case 4:
			o->key = value;
			break;
		case 5:
			if (run_net_parse_addr("--ip", value, &o->net.ip, e) == -1)
				return CMD_USAGE;
			break;
		case 6:
			if (o->net.nr_publish == PUBLISH_MAX)
				return cmd_usage(e, "run", "--publish %s: one too many, at most %d", value, PUBLISH_MAX);
			o->net.publish[o->net.nr_publish++] = value;
			break;
		case 7:
			if (run_net_parse_addr("--dns", value, &o->net.dns, e) == -1)
				return CMD_USAGE;
			break;
		case 8:
			o->net.scheduler = value;
			break;
		}
	}
	if (run_net_check(&o->net, e) == -1)
		return CMD_USAGE;
	if (!o->image)
		return cmd_usage(e, "run", "which image?");
	return 0;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static uint32_t current_umask(void)
{
	mode_t mask = umask(0);

	umask(mask);
	return mask;
}

int cmd_run(int argc, char **argv, struct err *e)
{
	struct supervisor_options opt = {.started_ns = loader_now_ns()};
	struct store_image image = {.fd = -1};
	struct loader_error loader_err = {};
	struct loader_config cfg = {};
	struct supervisor_streams streams;
	static struct options o; /* zeros that cost nothing where --net is not said */
	uint8_t key[32];
	int ret;

	supervisor_look_at_streams(&streams);
	ret = parse(argc, argv, &o, e);
	if (ret)
		return ret;
	if (o.key && keys_read_public(o.key, key, e) == -1)
		return CMD_FAILED;
	if (store_open_image(o.image, o.key ? key : NULL, &image, e) == -1)
		return CMD_FAILED;
	opt.opened_ns = loader_now_ns();
	opt.name = o.image;
	opt.stats = o.stats;
	opt.memory_limit = o.memory ? o.memory : image.record->memory_limit;

	cfg.image_fd = image.fd;
	cfg.header = image.header;
	cfg.record = image.record;
	cfg.argv = launch_argv(image.record, o.args);
	cfg.envp = launch_env(image.record, o.env, o.nr_env);
	if (!cfg.argv || !cfg.envp) {
		err_set(e, "out of memory");
		return CMD_FAILED;
	}
	cfg.nr_kthreads = loader_default_kthreads(o.cores, image.record->max_cores);
	cfg.flags = o.strace ? CTL_BOOT_STRACE : 0;
	cfg.memory_limit = opt.memory_limit;
	cfg.workdir = o.workdir;
	cfg.hostname = store_record_string(image.record, image.record->name, 0);
	if (!cfg.hostname || !*cfg.hostname)
		cfg.hostname = base_name(o.image);
	cfg.umask = current_umask();
	if (o.net.wanted && run_net_join(&o.net, cfg.hostname, &cfg, &opt.net, e) == -1)
		return SUPERVISOR_CANNOT_START;
	ret = supervisor_run(&cfg, &streams, &opt, &loader_err);
	if (loader_err.text[0]) {
		err_set(e, "%s", loader_err.text);
		return ret;
	}
	/* Nothing is left to clean up: leaving without exit handlers saves page faults on the way out. */
	fflush(NULL);
	_exit(ret);
}
