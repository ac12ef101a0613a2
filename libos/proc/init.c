/*
 * init.c - the first process of an instance, as the boot record and the loader describe it.
 */
#include "libos/abi/control.h"
#include "libos/abi/image.h"
#include "libos/fs/file.h"
#include "libos/mm/alloc.h"
#include "libos/mm/mm.h"
#include "libos/proc/futex.h"
#include "libos/proc/info.h"
#include "libos/time/clock.h"

struct proc *init_proc;

static void cred_from_record(struct cred *c)
{
	struct jimg_record *rec = (struct jimg_record *)(LIBOS_CONTROL_BASE + CTL_RECORD_OFF);

	if (rec->magic == JREC_MAGIC) {
		c->uid = rec->uid;
		c->gid = rec->gid;
	}
	c->euid = c->suid = c->fsuid = c->uid;
	c->egid = c->sgid = c->fsgid = c->gid;
	cred_init_caps(c);
}

/*
 * Makes the process without threads; the caller adds the first with proc_add_thread(). NULL: no
 * memory. It belongs to the session and process group of its (imaginary) parent, as a program does
 * that a script has started, so that setsid() and setpgid() work as they do there.
 */
struct proc *proc_create(void)
{
	struct control *ctl = (struct control *)LIBOS_CONTROL_BASE;
	struct proc *p = kzalloc(sizeof(*p));

	if (!p)
		return NULL;
	p->ppid = p->pgid = p->sid = 1;
	list_init(&p->threads);
	waitq_init(&p->exit_wait);
	waitq_init(&p->signalfd_wait);
	list_init(&p->pending.queue);
	p->umask = ctl->boot.umask & 0777;
	p->dumpable = true;
	p->start_ns = host_clock_ns(7); /* CLOCK_BOOTTIME */
	rlimits_init(p);
	cred_from_record(&p->cred);
	p->mm = mm_create();
	p->fdt = fdtable_create();
	if (!p->mm || !p->fdt)
		return NULL;
	if (!init_proc) {
		futex_init();
		init_proc = p;
	}
	return p;
}
