/*
 * internal.h - what the files of the loader share with each other.
 */
#ifndef JUNCTION_LOADER_INTERNAL_H
#define JUNCTION_LOADER_INTERNAL_H

#include <signal.h>
#include <stddef.h>

#include "loader/loader.h"

#define LOADER_STUB_SIZE 4096

/*
 * Where the child stands, for the error line. The text of each step is in explain.c.
 */
#define LOADER_STEPS(STEP) \
	STEP(NONE, "start") \
	STEP(PARENT_DIED, "the process that started it has died") \
	STEP(MAP_SEGMENT, "map the library OS") \
	STEP(MAP_ARENA, "map the arena") \
	STEP(MAP_ROOTFS, "map the root file system") \
	STEP(MAP_CONTROL, "map the control region") \
	STEP(MAP_SHM, "map the page store") \
	STEP(MAP_NIC, "map the queue pairs of its NIC") \
	STEP(MAP_STUB, "map the entry code") \
	STEP(LIBOS_HEADER, "use the library OS of this image, which is of another version of junction, so build the image again") \
	STEP(ROOT, "make an empty root") \
	STEP(HOSTNAME, "set the host name") \
	STEP(RLIMIT, "set resource limits") \
	STEP(IDENTITY, "take its user identity") \
	STEP(CAPABILITIES, "drop capabilities") \
	STEP(NO_NEW_PRIVS, "set no_new_privs") \
	STEP(DEATHSIG, "tie its life to its supervisor") \
	STEP(FDS, "arrange file descriptors") \
	STEP(SIGNALS, "install signal handlers") \
	STEP(RSEQ, "leave restartable sequences") \
	STEP(KTHREADS, "start its kthreads") \
	STEP(TIMERS, "make its timers") \
	STEP(FILTER, "install the seccomp filter")

enum loader_step {
#define STEP(name, text) LOADER_STEP_##name,
	LOADER_STEPS(STEP)
#undef STEP
};

/* One kthread, for the entry stub, which knows the offsets. */
struct loader_kthread {
	stack_t altstack;
	uint64_t index;
	uint64_t entry;
	uint64_t stack_top;
	uint64_t gs_base;
	uint32_t arrived; /* 1: it executes nothing of the loader's memory any more; main thread: entered */
	int32_t error; /* -errno of the stub */
	uint32_t *park; /* its park word in the control region: it waits here until the libOS wakes it */
};
_Static_assert(sizeof(stack_t) == 24 && sizeof(struct loader_kthread) == 72 &&
		       offsetof(struct loader_kthread, park) == 64 &&
		       offsetof(struct loader_kthread, arrived) == 56 && LIBOS_FS_LOST == 0x48c000000000,
	       "stub.S knows this");

struct loader_report {
	uint32_t step; /* enum loader_step: where the child is, or failed */
	int32_t error; /* errno */
	struct loader_kthread kthreads[CTL_MAX_KTHREADS];
};
#define LOADER_REPORT_SIZE 8192
_Static_assert(LIBOS_CONTROL_BASE + CTL_SIZE <= LOADER_STUB_BASE &&
		       LOADER_STUB_BASE + LOADER_STUB_SIZE <= LIBOS_ARENA_BASE,
	       "control, stub and arena stand one behind the other");
_Static_assert(sizeof(struct loader_report) <= LOADER_REPORT_SIZE, "the report is two pages");

/* Everything the child needs; prepared before the clone, so that the child allocates nothing. */
struct loader_plan {
	const struct loader_config *cfg;
	struct loader_report *report;
	struct control *control; /* the caller's mapping */
	uint64_t arena_size, shm_size;
	int last_fd; /* CTL_FD_NIC, or without a network CTL_FD_SHM: the highest descriptor that it has */
	int control_fd, arena_fd, shm_fd;
	int go_read, go_write; /* one byte: the id maps are written and the boot record is complete */
	bool arena_filled; /* the image is in the arena already */
	bool set_identity; /* become LOADER_INNER_ID; else the only mapped id is ours already */
};

/* The one user and group id that the instance's user namespace knows. */
#define LOADER_INNER_ID 65534u

/* child.c: the child's side. Never returns. */
_Noreturn void loader_child(const struct loader_plan *plan);

/* spawn.c: a memfd of fixed size: nobody can make the other side fault by shrinking it. -1 with errno. */
int loader_memfd(const char *name, uint64_t size);

/* host.c: what the host offers. 0, or -1 with a line in err. */
int loader_probe_cpu(struct loader_error *err);
int loader_find_vdso(struct control_boot *boot, struct loader_error *err);
int loader_probe_clock(struct loader_error *err);
uint64_t loader_host_memory(void);

/* explain.c */
int loader_fail(struct loader_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* As loader_fail(), followed by ": " and the text of errno `code`. */
int loader_fail_errno(struct loader_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* What to do about a failed clone3, by errno. */
int loader_fail_clone(struct loader_error *err, int code);

/* stub.S: one page of position-independent code that the child moves to LOADER_STUB_BASE. */
extern const char loader_stub_start[], loader_stub_end[];
extern const char loader_stub_clone[], loader_stub_enter[];

#endif
