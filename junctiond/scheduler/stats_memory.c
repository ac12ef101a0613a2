/*
 * stats_memory.c - the counters' memory: a memory file that others map, and only we may ever write.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "junctiond/scheduler/scheduler.h"
#include "junctiond/scheduler/stats_memory.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

struct sstats *sstats;
static int fd = -1;

int stats_init(void)
{
	fd = memfd_create("junction-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd == -1 || ftruncate(fd, sizeof(*sstats)) == -1)
		return -1;
	sstats = mmap(NULL, sizeof(*sstats), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (sstats == MAP_FAILED)
		return -1;
	/* After this no mapping can be made writable but ours, whatever the descriptor is opened
	 * anew for. */
	if (fcntl(fd, F_ADD_SEALS,
		  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == -1)
		return -1;
	sstats->version = SSTATS_VERSION;
	sstats->max_instances = SSTATS_MAX_INSTANCES;
	sstats->pid = getpid();
	sstats->poll_mode = config.dedicated;
	sstats->nr_cores = config.nr_cores;
	if (config.uplink)
		strncpy(sstats->uplink, config.uplink, sizeof(sstats->uplink) - 1);
	sstats->started_ns = sstats->updated_ns = now_ns();
	sstats->magic = SSTATS_MAGIC;
	return 0;
}

int stats_fd(void)
{
	return fd;
}
