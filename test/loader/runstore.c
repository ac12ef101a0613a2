/*
 * runstore.c - runs an unpacked image under the supervisor, without builder and store.
 *
 *     runstore FILE CORES MEMORY_BYTES STATS [ARGS...]
 *
 * $RUNSTORE_NIC=BYTES gives the instance a NIC region of that size, behind which nothing is;
 * $RUNSTORE_NIC_SHORT=1 makes it a page shorter than is said.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/supervisor.h"

static void make_nic(struct loader_config *cfg)
{
	uint64_t size = strtoull(getenv("RUNSTORE_NIC"), NULL, 0);

	cfg->net.region_size = size;
	cfg->net.addr = (struct ctl_addr){.family = AF_INET, .prefix = 24, .bytes = {10, 1, 2, 3}};
	cfg->nic_fd = memfd_create("junction-nic", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (cfg->nic_fd == -1 || ftruncate(cfg->nic_fd, getenv("RUNSTORE_NIC_SHORT") ? size - 4096 : size) ||
	    fcntl(cfg->nic_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
		err(1, "NIC region");
}

int main(int argc, char **argv)
{
	struct supervisor_options opt = {.started_ns = loader_now_ns()};
	struct loader_error e = {};
	struct supervisor_streams streams;
	struct loader_config cfg = {};
	char *const env[] = {"A=b", NULL};
	struct stat st;
	char *base;
	int ret;

	supervisor_look_at_streams(&streams);
	if (argc < 5)
		errx(2, "usage: runstore FILE CORES MEMORY_BYTES STATS [ARGS...]");
	cfg.image_fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (cfg.image_fd == -1 || fstat(cfg.image_fd, &st) == -1)
		err(1, "%s", argv[1]);
	base = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, cfg.image_fd, 0);
	if (base == MAP_FAILED)
		err(1, "%s", argv[1]);
	cfg.header = (const struct jstore_header *)base;
	cfg.record = (const struct jimg_record *)(base + cfg.header->record.off);
	cfg.nr_kthreads = atoi(argv[2]);
	if (getenv("RUNSTORE_NIC"))
		make_nic(&cfg);
	opt.memory_limit = cfg.memory_limit = strtoull(argv[3], NULL, 0);
	opt.stats = atoi(argv[4]);
	opt.name = "toy";
	opt.opened_ns = loader_now_ns();
	argv[4] = "toy";
	cfg.argv = argv + 4;
	cfg.envp = env;
	ret = supervisor_run(&cfg, &streams, &opt, &e);
	if (e.text[0])
		fprintf(stderr, "runstore: %s\n", e.text);
	return ret;
}
