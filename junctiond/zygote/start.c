/*
 * start.c - START: from an image to a process with a NIC.
 *
 * Made ahead of time are a connection to the scheduler, and the arena of a second instance of the image that was
 * started last, with the pages that the first one showed a start to need. test/bench/zygotebench.py says what
 * each step takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "builder/launch.h"
#include "builder/store.h"
#include "junctiond/zygote/zygote.h"
#include "loader/internal.h"

#define MAX_STRINGS 4096u
#define DEFAULT_UMASK 022

static int spare_conn = -1; /* connected to the scheduler, not used yet */
/* For the image that was started last. */
static struct loader_arena spare_arena = {.fd = -1};
static struct store_image last_image = {.fd = -1};
static uint64_t last_started; /* the instance */

/* What stands in the text of a START; the pointers lead into it. */
struct wishes {
	char **args, **env; /* NULL-terminated; args NULL: none were given */
	struct loader_file *files;
};

bool name_is_good(const char *name)
{
	size_t len = strnlen(name, ZY_NAME_MAX);
	const char *dot = len < ZY_NAME_MAX ? strrchr(name, '.') : NULL;

	if (!dot || dot == name || !dot[1] || name[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = name[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
		      c == '_' || c == '.'))
			return false;
	}
	return true;
}

/* The next NUL-terminated string; NULL: the text ends first. */
static char *next_string(char **at, const char *end)
{
	char *s = *at, *nul = memchr(s, '\0', (size_t)(end - s));

	if (!nul)
		return NULL;
	*at = nul + 1;
	return s;
}

static int parse_wishes(const struct zy_msg *msg, char *text, struct wishes *w, struct loader_error *err)
{
	char *at = text, *const end = text + msg->text_len;

	if (msg->nr_args > MAX_STRINGS || msg->nr_env > MAX_STRINGS || msg->nr_files > MAX_STRINGS)
		return loader_fail(err, "START: more than %u arguments, variables or files", MAX_STRINGS);
	if (msg->nr_kthreads > CTL_MAX_KTHREADS)
		return loader_fail(err, "START: an instance has at most %d cores", CTL_MAX_KTHREADS);
	w->args = calloc(msg->nr_args + 1, sizeof(*w->args));
	w->env = calloc(msg->nr_env + 1, sizeof(*w->env));
	w->files = calloc(msg->nr_files + 1, sizeof(*w->files));
	if (!w->args || !w->env || !w->files)
		return loader_fail(err, "out of memory");
	for (uint32_t i = 0; i < msg->nr_args; i++)
		if (!(w->args[i] = next_string(&at, end)))
			goto cut;
	for (uint32_t i = 0; i < msg->nr_env; i++) {
		if (!(w->env[i] = next_string(&at, end)))
			goto cut;
		if (w->env[i][0] == '=' || !strchr(w->env[i], '='))
			return loader_fail(err, "START: variable %.64s is not of the form NAME=VALUE", w->env[i]);
	}
	for (uint32_t i = 0; i < msg->nr_files; i++) {
		struct loader_file *f = &w->files[i];

		f->mode = 0600;
		f->path = next_string(&at, end);
		if (!f->path || end - at < (ptrdiff_t)sizeof(f->len))
			goto cut;
		memcpy(&f->len, at, sizeof(f->len));
		at += sizeof(f->len);
		if (f->len > (size_t)(end - at))
			goto cut;
		f->data = at;
		at += f->len;
	}
	if (at == end)
		return 0;
cut:
	return loader_fail(err, "START: the strings do not add up to the message's length");
}

static void free_wishes(struct wishes *w)
{
	free(w->args);
	free(w->env);
	free(w->files);
}

/* An image that nobody can change any more. Fills *image, which owns the descriptor then. */
static int open_image(int fd, struct store_image *image, struct loader_error *err)
{
	const int want = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals == -1 || (seals & want) != want)
		return loader_fail(err, "START: the image is not a sealed memfd");
	if (store_map(fd, image) == -1)
		return loader_fail(err, "START: the memfd is not an unpacked image of this version of junction");
	return 0;
}

void start_prepare(void)
{
	struct sched_error e;

	if (spare_conn == -1)
		spare_conn = sched_client_connect(config.scheduler, &e);
}

/* A NIC. The spare connection may be one to a scheduler that is gone: then once more with a new one. */
static int attach(struct instance *in, struct sched_msg *msg, struct loader_error *err)
{
	const struct sched_msg wish = *msg;
	bool was_spare = spare_conn != -1;
	struct sched_error e;

	for (;;) {
		int conn = was_spare ? spare_conn : sched_client_connect(config.scheduler, &e);

		spare_conn = -1;
		if (conn == -1)
			return loader_fail(err, "%s", e.text);
		*msg = wish;
		if (!sched_client_attach(conn, msg, &in->nic_fd, &e)) {
			in->sched_fd = conn;
			return 0;
		}
		close(conn);
		if (!was_spare)
			return loader_fail(err, "%s", e.text);
		was_spare = false;
	}
}

static void kill_and_reap(struct instance *in)
{
	syscall(SYS_pidfd_send_signal, in->proc.pidfd, SIGKILL, NULL, 0);
	while (waitpid(in->proc.pid, NULL, 0) == -1 && errno == EINTR)
		;
}

/* NIC, process, and the scheduler told of it. */
static int launch(struct instance *in, const struct zy_msg *msg, const struct store_image *image,
		  const struct wishes *w, struct loader_error *err)
{
	const struct jimg_record *rec = image->record;
	char hostname[ZY_NAME_MAX];
	struct sched_msg nic = {
		.addr = msg->addr,
		.guaranteed_cores = msg->guaranteed_cores,
	};
	struct loader_config cfg = {
		.image_fd = image->fd,
		.header = image->header,
		.record = rec,
		.nr_kthreads = loader_default_kthreads(msg->nr_kthreads, rec->max_cores),
		.memory_limit = msg->memory ? msg->memory : rec->memory_limit,
		.hostname = hostname,
		.stream_kind = {CTL_STREAM_NULL, CTL_STREAM_PIPE, CTL_STREAM_PIPE},
		.umask = DEFAULT_UMASK,
		.files = w->files,
		.nr_files = msg->nr_files,
		.detached = true,
		.arena = &spare_arena,
	};
	struct sched_error e;
	int ret = -1;

	nic.nr_pairs = nic.max_cores = cfg.nr_kthreads;
	snprintf(nic.name, sizeof(nic.name), "%.*s", (int)sizeof(nic.name) - 1, msg->name);
	snprintf(hostname, sizeof(hostname), "%.*s", (int)(strrchr(msg->name, '.') - msg->name), msg->name);
	hostname[sizeof(((struct control_boot *)0)->hostname) - 1] = '\0';
	cfg.argv = launch_argv(rec, msg->nr_args ? w->args : NULL);
	cfg.envp = launch_env(rec, w->env, msg->nr_env);
	if (!cfg.argv || !cfg.envp) {
		loader_fail(err, "out of memory");
		goto out;
	}
	if (attach(in, &nic, err))
		goto out;
	in->about.attached_ns = loader_now_ns();
	cfg.nic_fd = in->nic_fd;
	cfg.net = (struct ctl_net){.region_size = nic.region_size, .addr = nic.addr, .gateway = nic.gateway,
				   .dns = nic.dns};
	if (loader_spawn(&cfg, &in->proc, err))
		goto out;
	in->about.cloned_ns = in->proc.spawned_ns;
	if (sched_client_start(in->sched_fd, in->proc.control_fd, in->proc.pidfd, &e)) {
		loader_fail(err, "%s", e.text);
		kill_and_reap(in);
		goto out;
	}
	/* Mappings of ours that later children must not get: each costs their clone time. */
	madvise(in->proc.control, CTL_SIZE, MADV_DONTFORK);
	madvise(in->proc.report, LOADER_REPORT_SIZE, MADV_DONTFORK);
	in->memory_limit = cfg.memory_limit;
	in->about.memory = cfg.memory_limit;
	in->about.nr_kthreads = cfg.nr_kthreads;
	in->about.addr = nic.addr;
	in->about.pid = in->proc.pid;
	ret = 0;
out:
	free((void *)cfg.argv);
	free((void *)cfg.envp);
	return ret;
}

struct instance *start_instance(const struct zy_msg *msg, char *text, int image_fd, struct loader_error *err)
{
	struct store_image image = {.fd = -1};
	uint64_t now = loader_now_ns();
	struct instance *in = NULL;
	struct wishes w = {0};

	if (parse_wishes(msg, text, &w, err) || open_image(image_fd, &image, err)) {
		close(image_fd);
		free_wishes(&w);
		return NULL;
	}
	in = instance_new(msg->instance, msg->name, err);
	if (in) {
		in->about.guaranteed_cores = msg->guaranteed_cores;
		in->about.asked_ns = msg->asked_ns && msg->asked_ns < now ? msg->asked_ns : now;
		if (launch(in, msg, &image, &w, err)) {
			instance_free(in);
			in = NULL;
		} else if (instance_watch(in, err)) {
			kill_and_reap(in);
			instance_free(in);
			in = NULL;
		}
	}
	free_wishes(&w);
	if (!in) {
		store_close_image(&image);
		return NULL;
	}
	store_close_image(&last_image);
	last_image = image;
	madvise((void *)last_image.header, last_image.size, MADV_DONTFORK);
	last_started = in->number;
	return in;
}

void start_learn(const struct instance *in)
{
	if (last_image.fd == -1 || in->number != last_started || in->adopted)
		return;
	if (spare_arena.fd == -1 || memcmp(spare_arena.root, last_image.header->root, sizeof(spare_arena.root)))
		loader_arena_prepare(&spare_arena, last_image.header, last_image.fd, &in->proc);
}
