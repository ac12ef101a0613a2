/*
 * sigtypes.h - the types of the signal subsystem that uthread and proc embed.
 */
#ifndef LIBOS_SIGNAL_SIGTYPES_H
#define LIBOS_SIGNAL_SIGTYPES_H

#include "libos/lib/list.h"
#include "libos/lib/types.h"

#ifdef LIBOS_HOSTED
#include <signal.h>
#else
#include <asm/signal.h>
#endif
#undef NSIG
#define NSIG 64 /* the uapi header says 32 */
typedef u64 ksigset_t; /* bit n-1 = signal n */
#define sigbit(n) (1ull << ((n)-1))

/* struct siginfo as the x86-64 ABI lays it out (128 bytes). */
struct siginfo_k {
	s32 signo, err, code;
	s32 pad0;
	union {
		u8 bytes[112];
		struct {
			s32 pid;
			u32 uid;
			u64 value; /* sigval */
		} rt;
		struct {
			s32 tid, overrun;
			u64 value;
		} timer;
		struct {
			u64 addr;
		} fault;
		struct {
			u64 call_addr;
			s32 syscall;
			u32 arch;
		} sys;
		struct {
			s32 pid;
			u32 uid;
			s32 status;
		} chld;
	};
};
_Static_assert(sizeof(struct siginfo_k) == 128, "siginfo_t");

struct sigpending {
	ksigset_t set;
	struct list_head queue; /* struct sigqueue */
};

struct sigaltstack_k {
	u64 sp;
	s32 flags, pad;
	u64 size;
};

/* Per thread. Guarded by proc->sig_lock except `blocked`, which only current() writes. */
struct sigstate {
	ksigset_t blocked;
	ksigset_t saved_mask; /* to restore after sigsuspend, ppoll, ... */
	bool restore_saved;
	struct sigpending pending;
	struct sigaltstack_k altstack;
	ksigset_t wait_set; /* sigtimedwait: the signals it waits for, else 0 */
};

/* struct sigaction as rt_sigaction(2) passes it on x86-64. */
struct ksigaction {
	u64 handler;
	u64 flags;
	u64 restorer;
	ksigset_t mask;
};

#endif
