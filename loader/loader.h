/*
 * loader.h - maps an unpacked image into an isolated host process and enters the library OS.
 *
 * loader_spawn() is the one entry: `junction run` calls it once, a zygote will call it for each
 * instance. It takes an open, verified, unpacked image (struct jstore_header) and opens no path but
 * those of /proc and /sys that describe the host.
 *
 *   caller                                   child (process 1 of its own pid namespace)
 *   memfds, control region, clone3  ------>  map segments, rootfs, control, arena, shm
 *   uid_map, gid_map, vDSO range             mount an empty root, rlimits, hostname
 *   "go" through a pipe             ------>  identity, capabilities, file descriptors
 *   returns                                  signal handlers, kthreads, timers, filter, libOS entry
 *
 * What goes wrong in the child is left in a page that both share; loader_explain() turns it into one
 * line when the child is seen to have died before it entered the libOS.
 */
#ifndef JUNCTION_LOADER_LOADER_H
#define JUNCTION_LOADER_LOADER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "libos/abi/control.h"
#include "libos/abi/image.h"

struct loader_error {
	char text[512]; /* what is wrong; what to do. No newline */
};

/* A file that is not of the image, such as a secret: made at boot, with the folders above it. */
struct loader_file {
	const char *path; /* absolute */
	const void *data;
	uint32_t len, mode; /* bytes; permission bits */
};

/* An arena made ahead of time, for one start of one image. fd -1: none. */
struct loader_arena {
	int fd;
	uint64_t size;
	uint8_t root[JIMG_HASH_LEN]; /* of the image */
};

struct loader_config {
	int image_fd; /* the unpacked image, opened read-only */
	const struct jstore_header *header; /* its page 0 */
	const struct jimg_record *record; /* header->record.len bytes, inside the image */
	char *const *argv, *const *envp; /* NULL-terminated; argv[0] included */
	uint32_t nr_kthreads; /* 1..CTL_MAX_KTHREADS */
	uint32_t flags; /* CTL_BOOT_* */
	uint64_t memory_limit; /* bytes; 0: the host's memory */
	const char *workdir; /* NULL: that of the record */
	const char *hostname; /* NULL: "junction" */
	uint32_t stream_kind[3]; /* enum ctl_stream_kind */
	struct ctl_winsize winsize;
	uint32_t umask;
	/*
	 * The NIC region (abi/nic.h), a memfd of net.region_size bytes that is sealed against resizing: the
	 * instance has it mapped at LIBOS_NIC_BASE, and as CTL_FD_NIC. Not looked at where net.region_size is 0.
	 */
	int nic_fd;
	struct ctl_net net; /* region_size 0: no network but loopback */
	const struct loader_file *files;
	uint32_t nr_files;
	/*
	 * The instance outlives the process that starts it. Whoever minds it then needs `pidfd` and `control_fd`
	 * of it. Only while it is being started does it die with its starter.
	 */
	bool detached;
	struct loader_arena *arena; /* NULL, or taken (fd -1 then) if it fits image and memory limit */
};

/* Shared with the child until it enters the libOS, which unmaps it. */
struct loader_report;

struct loader_instance {
	pid_t pid; /* on the host; not yet reaped */
	int pidfd;
	int arena_fd, shm_fd; /* memfds, for accounting */
	int control_fd; /* memfd of `control`, for whoever else must see it (the scheduler's START) */
	int go_write; /* the child sees by its closing that its starter has died; -1: detached */
	struct control *control; /* CTL_SIZE bytes; everything in it may be hostile */
	struct loader_report *report;
	uint64_t spawned_ns; /* CLOCK_MONOTONIC when the child had all that it needs */
};

/*
 * Starts an instance. Returns 0 with `inst` filled, or -1 with one line in `err` and nothing left
 * behind. On success the caller reaps inst->pid and gives back the rest with loader_release().
 *
 * Unless it is detached, the instance is killed when the thread that called this ends: call it from a thread
 * that lives as long as the instance may. SIGCHLD is sent to the caller when it dies.
 */
int loader_spawn(const struct loader_config *cfg, struct loader_instance *inst,
		 struct loader_error *err);

/*
 * True when the child died before it entered the libOS; then `err` says why. Call it after the child
 * was reaped. `wstatus` is from waitpid(2).
 */
bool loader_explain(const struct loader_instance *inst, int wstatus, struct loader_error *err);

/* Unmaps and closes. The process must have been reaped. */
void loader_release(struct loader_instance *inst);

/*
 * Makes the arena of a later start of the image ahead of time, as `like`, an instance of the same image and memory
 * limit, uses its own. -1: not possible now. What *a held before is closed.
 */
int loader_arena_prepare(struct loader_arena *a, const struct jstore_header *h, int image_fd,
			 const struct loader_instance *like);
void loader_arena_drop(struct loader_arena *a);

/* Bytes that the instance holds now: its private pages, arena and shm. 0: cannot be read. */
uint64_t loader_memory_used(const struct loader_instance *inst);

/* Kthreads for an instance that asks for `wanted` (0: no wish) where the record allows `max` (0: any). */
uint32_t loader_default_kthreads(uint32_t wanted, uint32_t max);

/* CLOCK_MONOTONIC, in ns. */
uint64_t loader_now_ns(void);

#endif
