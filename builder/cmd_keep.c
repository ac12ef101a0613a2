/*
 * cmd_keep.c - `junction keep`: holds images as sealed memfds for those who run them.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "builder/cmd.h"
#include "builder/keeper.h"
#include "builder/spec.h"
#include "builder/store.h"
#include "builder/store_dir.h"

const char cmd_keep_help[] = "Usage: junction keep [--limit SIZE] [IMAGE...]\n"
			     "\n"
			     "Holds unpacked images in memory, sealed so that nobody can write "
			     "them, until it is stopped (Ctrl-C).\n"
			     "While it runs, `junction run` maps what it holds instead of the file "
			     "in the store: all instances of an\n"
			     "image share the same sealed pages. Images named are taken in at "
			     "once, others when first run.\n"
			     "\n"
			     "  --limit SIZE  bytes of memory for images, such as 512M (default "
			     "4G); the longest unused go first\n";

/* An image named on the command line is taken in at once. */
static int take_in(struct keeper *k, const char *jimg, struct err *e)
{
	char hex[2 * JIMG_HASH_LEN + 1];
	struct store_image img;
	int ret;

	if (store_open_image(jimg, NULL, &img, e))
		return -1;
	store_root_hex(img.header->root, hex);
	ret = keeper_hold(k, hex, e);
	store_close_image(&img);
	return ret;
}

int cmd_keep(int argc, char **argv, struct err *e)
{
	char dir[PATH_MAX - 512];
	uint64_t limit = 4ull << 30;
	struct signalfd_siginfo info;
	struct keeper *k;
	struct pollfd p[2];
	sigset_t stop;
	int first = argc, ret;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--limit")) {
			if (++i == argc || parse_size(argv[i], &limit) || !limit)
				return cmd_usage(e, "keep", "--limit: needs a size such as 512M");
		} else if (argv[i][0] == '-') {
			return cmd_usage(e, "keep", "%s: not understood", argv[i]);
		} else {
			first = i;
			break;
		}
	}
	if (!store_dir_name(dir, sizeof(dir))) {
		err_set(e, "no place for a store; set JUNCTION_STORE");
		return CMD_FAILED;
	}
	ret = store_dir_make(dir, dir, e);
	if (ret) {
		if (ret > 0)
			err_set(e, "%s: there can be no store here; set JUNCTION_STORE", dir);
		return CMD_FAILED;
	}
	k = keeper_open(dir, limit, e);
	if (!k)
		return CMD_FAILED;
	sigemptyset(&stop);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGHUP);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	p[0] = (struct pollfd){.fd = keeper_fd(k), .events = POLLIN};
	p[1] = (struct pollfd){.fd = signalfd(-1, &stop, SFD_CLOEXEC), .events = POLLIN};
	for (int i = first; i < argc; i++)
		if (take_in(k, argv[i], e)) {
			keeper_close(k);
			return CMD_FAILED;
		}
	while (poll(p, 2, -1) >= 0 || errno == EINTR) {
		if (p[1].revents && read(p[1].fd, &info, sizeof(info)) > 0)
			break;
		if (p[0].revents)
			keeper_serve(k);
	}
	keeper_close(k);
	return 0;
}
