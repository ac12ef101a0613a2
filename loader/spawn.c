/*
 * spawn.c - the caller's side of a start: memfds, control region, namespaces, identity.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libos/abi/nic.h"
#include "loader/internal.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif
#define PF_W 2u
#define MAX_GROUPS 65536
/* Arena and shm are sparse; below this an image with a tiny limit could not even keep its tables. */
#define MIN_REGION (256ull << 20)

uint64_t loader_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

uint32_t loader_default_kthreads(uint32_t wanted, uint32_t max)
{
	cpu_set_t set;
	uint32_t n = wanted;

	if (!n) {
		n = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
		if (max ? n > max : n > 2)
			n = max ? max : 2;
	}
	return n < 1 ? 1 : n > CTL_MAX_KTHREADS ? CTL_MAX_KTHREADS : n;
}

int loader_memfd(const char *name, uint64_t size)
{
	int fd, saved;

	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd == -1 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd == -1)
		return -1;
	if (ftruncate(fd, size) == -1 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == -1) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

static bool in_file(struct jimg_range r, uint64_t size)
{
	return r.len <= size && r.off <= size - r.len;
}

/* The seal says that the image is what was built; this says that this loader can map it. */
static int check_header(const struct jstore_header *h, uint64_t size, struct loader_error *err)
{
	const uint64_t page = JUNCTION_PAGE_SIZE - 1;

	if (h->magic != JSTORE_MAGIC || h->version != JIMG_VERSION || h->file_size != size)
		return loader_fail(err, "not an unpacked image of this version; remove it from the store");
	if (!h->nr_segments || h->nr_segments > JSTORE_MAX_SEGMENTS || !in_file(h->record, size) ||
	    h->record.len < sizeof(struct jimg_record) || !in_file(h->rootfs, size) ||
	    h->rootfs.off & page || h->rootfs.len > LIBOS_SHM_BASE - LIBOS_ROOTFS_BASE)
		goto bad;
	for (uint32_t i = 0; i < h->nr_segments; i++) {
		const struct jstore_segment *s = &h->segments[i];
		bool writable = s->flags & PF_W;
		uint64_t base = writable ? LIBOS_ARENA_BASE : LIBOS_TEXT_BASE;
		uint64_t room = writable ? MIN_REGION : LIBOS_CONTROL_BASE - LIBOS_TEXT_BASE;

		if (!in_file((struct jimg_range){s->off, s->file_len}, size) ||
		    s->file_len > s->mem_len || s->mem_len > room || s->vaddr < base ||
		    s->vaddr - base > room - s->mem_len)
			goto bad;
		if (!writable && (s->vaddr & page || s->off & page || !s->file_len ||
				  s->mem_len != s->file_len))
			goto bad;
	}
	return 0;
bad:
	return loader_fail(err, "the library OS in the image does not fit this loader; rebuild the image");
}

/* The files that come with the instance, behind the strings; control.h has the format. */
static int put_files(struct control *control, const struct loader_config *cfg, char *base, size_t used,
		     struct loader_error *err)
{
	for (uint32_t i = 0; i < cfg->nr_files; i++) {
		const struct loader_file *f = &cfg->files[i];
		const uint32_t head[2] = {f->mode, f->len};
		size_t name = strlen(f->path) + 1, room = CTL_ARGS_MAX - used;

		if (f->path[0] != '/')
			return loader_fail(err, "file %s: not an absolute path", f->path);
		if (room < sizeof(head) || name > room - sizeof(head) || f->len > room - sizeof(head) - name)
			return loader_fail(err, "arguments, environment and files are longer than %lu KiB",
					   CTL_ARGS_MAX >> 10);
		memcpy(base + used, f->path, name);
		memcpy(base + used + name, head, sizeof(head));
		if (f->len)
			memcpy(base + used + name + sizeof(head), f->data, f->len);
		used += name + sizeof(head) + f->len;
	}
	control->boot.nr_files = cfg->nr_files;
	control->boot.args_len = used;
	return 0;
}

/* argv, then envp, NUL-terminated, into the control region. */
static int put_args(struct control *control, const struct loader_config *cfg, struct loader_error *err)
{
	char *base = (char *)control + CTL_ARGS_OFF;
	size_t used = 0;

	for (int list = 0; list < 2; list++) {
		char *const *s = list ? cfg->envp : cfg->argv;
		uint32_t count = 0;

		for (; s[count]; count++) {
			size_t len = strlen(s[count]) + 1;

			if (len > CTL_ARGS_MAX - used)
				return loader_fail(err,
						   "arguments and environment are longer than %lu KiB",
						   CTL_ARGS_MAX >> 10);
			memcpy(base + used, s[count], len);
			used += len;
		}
		if (list)
			control->boot.envc = count;
		else
			control->boot.argc = count;
	}
	return put_files(control, cfg, base, used, err);
}

static int fill_boot(struct control *control, const struct loader_plan *plan, struct loader_error *err)
{
	const struct loader_config *cfg = plan->cfg;
	const struct jstore_header *h = cfg->header;
	struct control_boot *b = &control->boot;

	b->version = CTL_VERSION;
	b->flags = cfg->flags;
	b->nr_kthreads = cfg->nr_kthreads;
	b->image_size = h->file_size;
	b->rootfs_off = h->rootfs.off;
	b->rootfs_size = h->rootfs.len;
	b->record_off = h->record.off;
	b->record_size = h->record.len;
	b->arena_size = plan->arena_size;
	b->shm_size = plan->shm_size;
	b->memory_limit = cfg->memory_limit ? cfg->memory_limit : loader_host_memory();
	b->umask = cfg->umask;
	memcpy(b->stream_kind, cfg->stream_kind, sizeof(b->stream_kind));
	b->winsize = cfg->winsize;
	b->net = cfg->net;
	if (cfg->workdir && strlen(cfg->workdir) >= sizeof(b->workdir))
		return loader_fail(err, "the working directory is longer than %zu bytes",
				   sizeof(b->workdir) - 1);
	if (cfg->workdir)
		strcpy(b->workdir, cfg->workdir);
	snprintf(b->hostname, sizeof(b->hostname), "%s", cfg->hostname ? cfg->hostname : "junction");
	if (getrandom(b->seed, sizeof(b->seed), 0) != sizeof(b->seed))
		return loader_fail_errno(err, errno, "cannot get random bytes");
	memcpy((char *)control + CTL_RECORD_OFF, cfg->record,
	       h->record.len < CTL_ARGS_OFF - CTL_RECORD_OFF ? h->record.len
							     : CTL_ARGS_OFF - CTL_RECORD_OFF);
	if (put_args(control, cfg, err) == -1)
		return -1;
	b->magic = CTL_MAGIC;
	return 0;
}

/* One line into /proc/PID/NAME; 0 or -errno. */
static int write_proc(pid_t pid, const char *name, const char *text)
{
	char path[64];
	int fd, ret = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd == -1)
		return -errno;
	if (write(fd, text, strlen(text)) == -1)
		ret = -errno;
	close(fd);
	return ret;
}

static int write_map(pid_t pid, const char *name, unsigned int outer)
{
	char line[48];

	snprintf(line, sizeof(line), "%u %u 1\n", LOADER_INNER_ID, outer);
	return write_proc(pid, name, line);
}

/*
 * Inside there is one user, 65534. Outside that is nobody when the caller may say so, so that even a
 * full escape is nobody; else it is the caller's own id.
 */
static int map_identity(pid_t pid, struct loader_plan *plan, struct loader_error *err)
{
	int ret;

	ret = write_proc(pid, "setgroups", "deny");
	if (ret == -ENOENT)
		return loader_fail(err, "/proc/%d is not there; mount /proc", pid);
	if (!ret)
		ret = -EPERM;
	if (plan->set_identity)
		ret = write_map(pid, "gid_map", LOADER_INNER_ID);
	if (ret)
		ret = write_map(pid, "gid_map", getegid());
	if (ret)
		return loader_fail_errno(err, -ret, "cannot map the group id of the instance");
	ret = -EPERM;
	if (plan->set_identity)
		ret = write_map(pid, "uid_map", LOADER_INNER_ID);
	if (ret)
		ret = write_map(pid, "uid_map", geteuid());
	if (ret)
		return loader_fail_errno(err, -ret, "cannot map the user id of the instance");
	return 0;
}

/*
 * A child of root keeps root's supplementary groups, and cannot leave them once its own namespace
 * denies setgroups: so the calling thread leaves them for the time of the clone.
 */
static pid_t clone_instance(const struct loader_plan *plan, int *pidfd)
{
	struct clone_args args = {
		.flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS |
			 CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
		.pidfd = (uintptr_t)pidfd,
		.exit_signal = SIGCHLD,
	};
	gid_t *groups = NULL;
	int nr_groups = 0, saved;
	pid_t pid;

	if (plan->set_identity && (nr_groups = getgroups(0, NULL)) > 0) {
		groups = calloc(nr_groups, sizeof(*groups));
		if (!groups || getgroups(nr_groups, groups) != nr_groups)
			nr_groups = 0;
		else if (syscall(SYS_setgroups, 0, NULL) == -1)
			nr_groups = 0;
	}
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (!pid)
		loader_child(plan);
	saved = errno;
	if (nr_groups > 0)
		syscall(SYS_setgroups, nr_groups, groups);
	free(groups);
	errno = saved;
	return pid;
}

/* A region that could shrink would let the other side make the instance fault. */
static int check_nic(const struct loader_config *cfg, struct loader_error *err)
{
	uint64_t size = cfg->net.region_size;
	struct stat st;
	int seals;

	if (fstat(cfg->nic_fd, &st) == -1 || (seals = fcntl(cfg->nic_fd, F_GET_SEALS)) == -1)
		return loader_fail_errno(err, errno, "cannot look at the memory of the NIC");
	if (size & (JUNCTION_PAGE_SIZE - 1) || size > NIC_MAX_REGION || size != (uint64_t)st.st_size ||
	    (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW))
		return loader_fail(err, "the memory of the NIC is not of the promised size and sealed; is the "
					"scheduler of another version?");
	return 0;
}

static void close_fd(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

static uint64_t region_size(uint64_t limit, uint64_t max)
{
	limit = (limit + JUNCTION_PAGE_SIZE - 1) & ~(JUNCTION_PAGE_SIZE - 1);
	return limit < MIN_REGION ? MIN_REGION : limit > max ? max : limit;
}

/* The arena made ahead, if it is one for this start. */
static bool take_arena(struct loader_plan *plan)
{
	struct loader_arena *a = plan->cfg->arena;

	if (!a || a->fd == -1 || a->size != plan->arena_size ||
	    memcmp(a->root, plan->cfg->header->root, sizeof(a->root)))
		return false;
	plan->arena_fd = a->fd;
	*a = (struct loader_arena){.fd = -1};
	return true;
}

int loader_spawn(const struct loader_config *cfg, struct loader_instance *inst,
		 struct loader_error *err)
{
	struct loader_plan plan = {
		.cfg = cfg,
		.control_fd = -1,
		.arena_fd = -1,
		.shm_fd = -1,
		.go_read = -1,
		.go_write = -1,
		.last_fd = cfg->net.region_size ? CTL_FD_NIC : CTL_FD_SHM,
		.set_identity = geteuid() == 0,
	};
	uint64_t limit = cfg->memory_limit ? cfg->memory_limit : loader_host_memory();
	struct stat st;
	int go[2];

	*inst = (struct loader_instance){.pid = -1, .pidfd = -1, .arena_fd = -1, .shm_fd = -1,
					  .control_fd = -1, .go_write = -1};
	if (cfg->nr_kthreads < 1 || cfg->nr_kthreads > CTL_MAX_KTHREADS)
		return loader_fail(err, "an instance has 1 to %d cores", CTL_MAX_KTHREADS);
	if (loader_probe_cpu(err) == -1)
		return -1;
	if (fstat(cfg->image_fd, &st) == -1)
		return loader_fail_errno(err, errno, "cannot look at the unpacked image");
	if (check_header(cfg->header, st.st_size, err) == -1)
		return -1;
	if (cfg->net.region_size && check_nic(cfg, err) == -1)
		return -1;

	plan.arena_size = region_size(limit, LIBOS_ARENA_MAX);
	plan.shm_size = region_size(limit, LIBOS_SHM_MAX);
	plan.control_fd = loader_memfd("junction-control", CTL_SIZE);
	plan.arena_filled = take_arena(&plan);
	if (!plan.arena_filled)
		plan.arena_fd = loader_memfd("junction-arena", plan.arena_size);
	plan.shm_fd = loader_memfd("junction-shm", plan.shm_size);
	if (plan.control_fd == -1 || plan.arena_fd == -1 || plan.shm_fd == -1 ||
	    pipe2(go, O_CLOEXEC) == -1) {
		loader_fail(err, "cannot make shared memory: %s%s", strerror(errno),
			    errno == EMFILE ? "; raise ulimit -n"
			    : errno == EFBIG ? "; raise ulimit -f (file size)" : "");
		goto fail;
	}
	plan.go_read = go[0];
	plan.go_write = go[1];
	inst->control = mmap(NULL, CTL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, plan.control_fd, 0);
	inst->report = mmap(NULL, LOADER_REPORT_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (inst->control == MAP_FAILED || inst->report == MAP_FAILED) {
		loader_fail_errno(err, errno, "cannot map shared memory");
		goto fail;
	}
	plan.control = inst->control;
	plan.report = inst->report;
	if (fill_boot(inst->control, &plan, err) == -1)
		goto fail;

	inst->pid = clone_instance(&plan, &inst->pidfd);
	if (inst->pid == -1) {
		loader_fail_clone(err, errno);
		goto fail;
	}
	/* The child maps and mounts while we do this. */
	if (map_identity(inst->pid, &plan, err) == -1 ||
	    loader_find_vdso(&inst->control->boot, err) == -1 || loader_probe_clock(err) == -1)
		goto fail;
	if (write(plan.go_write, "g", 1) != 1) {
		loader_fail_errno(err, errno, "cannot tell the instance to go on");
		goto fail;
	}
	inst->spawned_ns = loader_now_ns();
	inst->arena_fd = plan.arena_fd;
	inst->shm_fd = plan.shm_fd;
	inst->control_fd = plan.control_fd;
	close_fd(&plan.go_read);
	if (cfg->detached)
		close_fd(&plan.go_write);
	inst->go_write = plan.go_write;
	return 0;

fail:
	if (inst->pid > 0) {
		kill(inst->pid, SIGKILL);
		while (waitpid(inst->pid, NULL, 0) == -1 && errno == EINTR)
			;
	}
	close_fd(&plan.control_fd);
	close_fd(&plan.arena_fd);
	close_fd(&plan.shm_fd);
	close_fd(&plan.go_read);
	close_fd(&plan.go_write);
	loader_release(inst);
	return -1;
}

void loader_release(struct loader_instance *inst)
{
	if (inst->control && inst->control != MAP_FAILED)
		munmap(inst->control, CTL_SIZE);
	if (inst->report && inst->report != MAP_FAILED)
		munmap(inst->report, LOADER_REPORT_SIZE);
	close_fd(&inst->pidfd);
	close_fd(&inst->arena_fd);
	close_fd(&inst->shm_fd);
	close_fd(&inst->control_fd);
	close_fd(&inst->go_write);
	inst->control = NULL;
	inst->report = NULL;
	inst->pid = -1;
}

uint64_t loader_memory_used(const struct loader_instance *inst)
{
	unsigned long long size, resident, shared;
	uint64_t used = 0;
	char path[32], text[128];
	struct stat st;
	ssize_t n;
	int fd;

	/* Blocks of the memfds, because a page of them counts also while it is not mapped. */
	if (!fstat(inst->arena_fd, &st))
		used += st.st_blocks * 512ull;
	if (!fstat(inst->shm_fd, &st))
		used += st.st_blocks * 512ull;
	snprintf(path, sizeof(path), "/proc/%d/statm", inst->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return used;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return used;
	text[n] = '\0';
	if (sscanf(text, "%llu %llu %llu", &size, &resident, &shared) == 3 && resident > shared)
		used += (resident - shared) * JUNCTION_PAGE_SIZE;
	return used;
}
