/*
 * info.h - what the instance says about itself: names, memory, limits.
 */
#ifndef LIBOS_PROC_INFO_H
#define LIBOS_PROC_INFO_H

#include "libos/proc/proc.h"

#define UTS_LEN 65
#define UTS_SYSNAME "Linux"
/* The kernel whose interface we follow: what programs compare is the number. */
#define UTS_RELEASE "6.1.0-junction"
#define UTS_VERSION "#1 SMP PREEMPT_DYNAMIC Junction library OS"
#define UTS_MACHINE "x86_64"

/* Copies of the node name and domain name. */
void uts_nodename(char buf[UTS_LEN]);
void uts_domainname(char buf[UTS_LEN]);

/* Bytes of memory that the application may use, and that it could still get. */
u64 mem_total_bytes(void);
u64 mem_free_bytes(void);

/* Default resource limits of a first process. */
void rlimits_init(struct proc *p);

/* Capabilities of user id 0 inside an instance: over files, users, its own processes; none over the host. */
#define CAPS_OF_ROOT (CAPS_CONTAINER)
#define CAPBIT(n) (1ull << (n))
/* CHOWN..FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP */
#define CAPS_CONTAINER 0xa80425fbull

/* Capabilities of a first process with these user ids. */
void cred_init_caps(struct cred *c);
/* After the user ids went from those of old to those of c: capabilities(7), "Effect of user ID changes". */
void cred_fix_caps(struct cred *c, const struct cred *old);

static inline bool capable(int cap)
{
	return current_proc()->cred.cap_effective & CAPBIT(cap);
}

#endif
