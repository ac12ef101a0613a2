/*
 * explain.c - error lines of the loader, for people.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "loader/internal.h"

#define NR(a) (sizeof(a) / sizeof((a)[0]))

int loader_fail(struct loader_error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -1;
}

int loader_fail_errno(struct loader_error *err, int code, const char *fmt, ...)
{
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	len = strlen(err->text);
	snprintf(err->text + len, sizeof(err->text) - len, ": %s", strerror(code));
	return -1;
}

int loader_fail_clone(struct loader_error *err, int code)
{
	switch (code) {
	case EPERM:
	case EACCES:
		return loader_fail(err,
				   "the host does not allow this user to make user namespaces; set "
				   "sysctl kernel.unprivileged_userns_clone=1 (and "
				   "kernel.apparmor_restrict_unprivileged_userns=0 where it exists), "
				   "allow clone3 in the container's seccomp profile, or run as root");
	case ENOSPC:
	case EUSERS:
		return loader_fail(err, "the host's limit on namespaces is reached; raise "
					"/proc/sys/user/max_*_namespaces (user, pid, mnt, ipc, uts)");
	case EINVAL:
	case ENOSYS:
		return loader_fail(err, "this kernel lacks namespaces or clone3; use Linux 5.9 or "
					"later with user, pid, mount, ipc and uts namespaces");
	case EAGAIN:
		return loader_fail(err, "too many processes of this user; raise ulimit -u");
	}
	return loader_fail_errno(err, code, "cannot start a process");
}

static const char *hint(enum loader_step s, int error)
{
	switch (s) {
	case LOADER_STEP_MAP_SEGMENT:
		if (error == EPERM || error == EACCES)
			return "; the image store is on a file system without exec, set JUNCTION_STORE to "
			       "a directory elsewhere";
		break;
	case LOADER_STEP_MAP_ARENA:
	case LOADER_STEP_MAP_SHM:
	case LOADER_STEP_MAP_ROOTFS:
		if (error == ENOMEM)
			return "; raise ulimit -v (address space)";
		break;
	case LOADER_STEP_FDS:
		if (error == EMFILE || error == EINVAL)
			return "; raise ulimit -n";
		break;
	case LOADER_STEP_ROOT:
	case LOADER_STEP_HOSTNAME:
	case LOADER_STEP_CAPABILITIES:
		if (error == EPERM || error == EACCES)
			return "; the host's security policy (AppArmor, SELinux or a container's profile) "
			       "restricts user namespaces, allow them for junction or run as root "
			       "outside the container";
		break;
	case LOADER_STEP_FILTER:
	case LOADER_STEP_RSEQ:
		if (error == EINVAL || error == ENOSYS)
			return "; use a kernel with CONFIG_SECCOMP_FILTER, 5.9 or later";
		break;
	case LOADER_STEP_KTHREADS:
		if (error == EAGAIN)
			return "; raise ulimit -u or ask for fewer --cores";
		if (error == ENOMEM)
			return "; this processor's registers need larger signal stacks than the libOS has";
		break;
	case LOADER_STEP_TIMERS:
		if (error == EAGAIN)
			return "; raise ulimit -i (pending signals)";
		break;
	default:
		break;
	}
	return "";
}

bool loader_explain(const struct loader_instance *inst, int wstatus, struct loader_error *err)
{
	static const char *const text[] = {
#define STEP(name, what) [LOADER_STEP_##name] = what,
		LOADER_STEPS(STEP)
#undef STEP
	};
	uint32_t s = inst->report->step;
	int error = inst->report->error;

	if (inst->report->kthreads[0].arrived)
		return false;
	if (s == LOADER_STEP_FILTER) {
		error = -inst->report->kthreads[0].error;
		error = error < 0 ? ESRCH : error;
	}
	if (s >= NR(text)) {
		loader_fail(err, "the instance died while it started");
		return true;
	}
	if (WIFSIGNALED(wstatus))
		loader_fail(err, "the instance was killed by signal %d while it tried to %s",
			    WTERMSIG(wstatus), text[s]);
	else if (s == LOADER_STEP_PARENT_DIED)
		loader_fail(err, "%s", text[s]);
	else if (s == LOADER_STEP_LIBOS_HEADER)
		loader_fail(err, "the instance could not %s", text[s]);
	else
		loader_fail(err, "the instance could not %s: %s%s", text[s], strerror(error),
			    hint(s, error));
	return true;
}
