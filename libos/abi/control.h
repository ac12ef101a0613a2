/*
 * control.h - the control region: what supervisor and instance share, and how the instance boots.
 *
 * One memfd (sealed against resizing), mapped by the supervisor anywhere and by the instance at
 * LIBOS_CONTROL_BASE. The supervisor treats everything that the instance can write as hostile: it reads
 * each field once and checks it. Futex words here are shared between processes (no FUTEX_PRIVATE_FLAG).
 *
 *   page 0          struct control (boot record written by the loader before entry; then run state)
 *   CTL_ARGS_OFF    strings: argv, then envp, each NUL-terminated; counts in struct control_boot; then files
 *                   that are not of the image (secrets): absolute path and NUL, then unaligned, little-endian
 *                   u32 mode (permission bits), u32 length, and the bytes
 *   CTL_RING_OFF(i) the byte rings: stdin, stdout, stderr, log
 */
#ifndef JUNCTION_ABI_CONTROL_H
#define JUNCTION_ABI_CONTROL_H

#include <stdint.h>

#include "libos/abi/layout.h"

#define CTL_MAGIC 0x3143544e434e554aull
#define CTL_VERSION 1
#define CTL_MAX_KTHREADS 64
#define CTL_ARGS_OFF 16384ul
#define CTL_ARGS_MAX (256ul << 10)
#define CTL_RING_SIZE (64ul << 10) /* power of two */
#define CTL_RING_OFF(i) (CTL_ARGS_OFF + CTL_ARGS_MAX + (i) * CTL_RING_SIZE)
#define CTL_NR_RINGS 4
#define CTL_SIZE CTL_RING_OFF(CTL_NR_RINGS)

/* The one signal between supervisor, libOS and its own kthreads: look at your control words. */
#define CTL_KICK_SIGNAL 23 /* SIGURG */

/* File descriptors of an instance; no other is open. */
#define CTL_FD_IMAGE 3 /* unpacked image, read-only */
#define CTL_FD_ARENA 4
#define CTL_FD_SHM 5
#define CTL_FD_NIC 6 /* the NIC region (nic.h); only with a network */

/*
 * The first words of the libOS image, at LIBOS_TEXT_BASE: what the loader must know about the libOS.
 * The libOS can install no signal handler behind the filter, so the loader does, for SIGSEGV, SIGBUS,
 * SIGILL, SIGFPE, SIGTRAP, SIGSYS and CTL_KICK_SIGNAL: SA_SIGINFO | SA_ONSTACK | SA_NODEFER |
 * SA_RESTORER, empty mask, on the alternate stack of the kthread. Every other signal is blocked.
 *
 * All addresses are virtual ones, inside the mapped segments. Kthread i > 0 starts at kthread_entry,
 * the main thread (kthread 0) at e_entry, each with %rdi = i, %rsp = the top of its own alternate stack,
 * direction flag clear. No kthread executes anything of the loader after that, so the main thread may
 * unmap what stands outside the window while the others are still starting.
 *
 * Segment bases. Some hosts let programs execute the FSGSBASE instructions while their kernel knows
 * nothing of them (HWCAP2_FSGSBASE clear; paravirtual machines): a base written by wrfsbase or wrgsbase
 * is then lost when the host switches to another task, and comes back as the last value that
 * arch_prctl(2) set. Hence:
 *   - the loader sets %gs of kthread i to gs_base + i * gs_stride by arch_prctl; the libOS must leave
 *     the gs base alone and needs no wrgsbase (gs_base 0: none is set);
 *   - the loader sets %fs to LIBOS_FS_LOST by arch_prctl, an address round which nothing is ever mapped.
 *     The libOS sets the application's own by wrfsbase. An access through a lost base faults; the
 *     SIGSEGV entry must compare rdfsbase with the base of the running uthread first, and where they
 *     differ, set it and return, which repeats the access.
 */
struct libos_header {
	uint64_t magic;
	uint64_t host_signal_entry; /* handler: (signo, siginfo_t *, ucontext_t *) */
	uint64_t host_signal_restorer; /* calls rt_sigreturn, in the libOS text */
	uint64_t kthread_entry;
	uint64_t altstack_base; /* in the arena: the alternate stack of kthread 0 */
	uint64_t altstack_size; /* bytes; that of kthread i stands i * altstack_size above */
	uint64_t text_start, text_end; /* host calls are allowed from here only; end is exclusive */
	uint64_t gs_base, gs_stride; /* the per-kthread blocks, in the arena */
};
/* "JUNOHDR3"; the digit grows with each change of layout.h or control.h that an old libOS cannot bear. */
#define LIBOS_HEADER_MAGIC 0x335244484f4e554aull
_Static_assert(sizeof(struct libos_header) == 80, "libos_header is shared by loader and libOS");

enum ctl_ring_id { CTL_RING_STDIN, CTL_RING_STDOUT, CTL_RING_STDERR, CTL_RING_LOG };

/*
 * One producer, one consumer. head is advanced by the producer, tail by the consumer; both run freely
 * modulo 2^32; bytes head - tail are in the ring. The side that must wait for the other sets its
 * *_waiting word, looks again, then futex-waits on the other side's index word.
 */
struct ctl_ring {
	uint32_t head;
	uint32_t producer_closed; /* no more bytes will come (end of file) */
	uint32_t consumer_waiting;
	uint32_t pad0[13];
	uint32_t tail;
	uint32_t consumer_closed; /* not 0: bytes go nowhere; the errno of the host's write (EPIPE, ENOSPC) */
	uint32_t producer_waiting;
	uint32_t pad1[13];
};
_Static_assert(sizeof(struct ctl_ring) == 128, "one cache line a side");

/* What a standard stream is on the host, so that fstat and isatty answer the same. */
enum ctl_stream_kind { CTL_STREAM_CLOSED, CTL_STREAM_PIPE, CTL_STREAM_TTY, CTL_STREAM_NULL, CTL_STREAM_FILE };

struct ctl_winsize {
	uint16_t rows, cols, xpixel, ypixel;
};

#define CTL_BOOT_STRACE 1u /* write a line per system call to the log ring */
/* 1 and 2 are one open file on the host: write both into the stdout ring, which keeps their order. */
#define CTL_BOOT_STDERR_IS_STDOUT 4u

/* An address of the network, in network byte order; only the family's own files know its length. */
struct ctl_addr {
	uint16_t family; /* AF_INET; 0: none */
	uint16_t prefix; /* bits of the network part, where that means something */
	uint8_t bytes[16];
};

struct ctl_net {
	uint64_t region_size; /* of CTL_FD_NIC, 0: no network but loopback */
	struct ctl_addr addr, gateway, dns;
	uint32_t spare[4];
};

/* Written by the loader, read by the libOS once at boot. */
struct control_boot {
	uint64_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_kthreads; /* host threads made for this instance, 1..CTL_MAX_KTHREADS */
	uint32_t argc, envc; /* strings at CTL_ARGS_OFF; argv[0] included */
	uint32_t nr_files; /* behind them */
	uint32_t args_len;
	uint64_t image_size; /* of CTL_FD_IMAGE */
	uint64_t rootfs_off, rootfs_size; /* in CTL_FD_IMAGE; mapped at LIBOS_ROOTFS_BASE */
	uint64_t record_off, record_size; /* in CTL_FD_IMAGE; a copy stands at CTL_RECORD_OFF */
	uint64_t arena_size, shm_size; /* bytes; the memfds are sparse */
	uint64_t memory_limit; /* bytes, what sysinfo reports */
	uint64_t host_vdso; /* address of the host's vDSO, kept mapped: ELF header */
	uint64_t host_vdso_start, host_vdso_end; /* range to keep: vvar pages and vDSO */
	uint64_t text_start, text_end; /* the libOS text that the filter allows */
	uint32_t host_tid[CTL_MAX_KTHREADS]; /* as the instance's pid namespace numbers them */
	int32_t timer_id[CTL_MAX_KTHREADS]; /* POSIX timer that kicks kthread i, CLOCK_MONOTONIC */
	uint32_t tsc_khz; /* 0: unknown */
	uint32_t umask;
	uint32_t stream_kind[3]; /* enum ctl_stream_kind */
	struct ctl_winsize winsize;
	uint8_t seed[64]; /* from getrandom(2); the libOS wipes it */
	struct ctl_net net;
	char workdir[256]; /* empty: that of the boot record */
	char hostname[65];
};

enum ctl_state { CTL_BOOTING, CTL_RUNNING, CTL_EXITED, CTL_PANIC };

/* Counters for --stats; the instance adds, the supervisor prints. */
struct control_stats {
	uint64_t syscalls_fast; /* through rewritten sites */
	uint64_t syscalls_trapped; /* through SIGSYS */
	uint64_t syscalls_unknown; /* answered ENOSYS */
	uint64_t host_calls;
	uint64_t preemptions;
	uint64_t context_switches;
	uint64_t page_faults;
	uint64_t arena_peak, shm_peak; /* bytes */
	uint64_t first_instruction_ns; /* CLOCK_MONOTONIC when the application was entered */
	uint64_t spare[16];
};

/*
 * How a kthread and whoever may run it agree (DESIGN D9). word = generation << CTL_KT_GEN_SHIFT | state;
 * each change of state but RUNNING -> SPINNING -> RUNNING takes a new generation, so that a late wake-up
 * or a repeated one meets a word that has moved on and does nothing.
 *
 *   PARKED -> GRANTED    by a waker, with compare-and-exchange, then FUTEX_WAKE (shared) on word: a
 *                        sibling (only if not managed), the supervisor, the scheduler or its core agent
 *   GRANTED -> RUNNING   by the kthread itself
 *   RUNNING -> PARKED    by the kthread itself: it publishes what follows in the line first, stores the word,
 *                        fences, looks once more whether there is work (then back by compare-and-exchange),
 *                        and waits on word
 *   RUNNING <-> SPINNING by the kthread itself: idle, still polling its queue
 *
 * A word of 0 is that of a kthread never started: PARKED, generation 0. It waits in the loader's stub, and
 * enters the library OS when the word is no longer 0; only the library OS of kthread 0 may make
 * it so the first time, because that runs behind the filter. Managed, a kthread that enters parks first, and
 * raises `wanted` if it has work (kthread 0 lets it in by PARKED, generation 1, which may be granted at once). The scheduler
 * grants no word of generation 0. Kthread 0 runs from the start: its first word is RUNNING, generation 1.
 */
enum ctl_kt_state { CTL_KT_PARKED, CTL_KT_GRANTED, CTL_KT_RUNNING, CTL_KT_SPINNING };
#define CTL_KT_STATE_MASK 7u
#define CTL_KT_GEN_SHIFT 3

struct ctl_kthread {
	/* written by the instance, but for the change to GRANTED */
	uint32_t word;
	uint32_t runnable; /* uthreads that wait on this kthread's run queue; kept while it runs and as it parks */
	uint64_t runnable_since; /* CLOCK_MONOTONIC ns since when one has waited; 0: none waits */
	uint64_t next_timer; /* CLOCK_MONOTONIC ns, UINT64_MAX: none; kept as it parks */
	uint64_t parked_gen_ns; /* when it parked last, CLOCK_MONOTONIC ns */
	uint32_t rx_polls; /* incremented at each look at its own receive queue and those of parked siblings */
	/* written by the scheduler */
	uint32_t preempt; /* the generation that shall give its core back: yield when it equals that of word */
	uint32_t pad[6];
};
_Static_assert(sizeof(struct ctl_kthread) == 64, "one cache line a kthread");

/*
 * Managed: kthreads run only when the scheduler grants them a core. They park without a timeout of their
 * own (the scheduler wakes them at next_timer) and do not wake each other: they raise `wanted` and the
 * doorbell of the NIC instead. Unmanaged: the host schedules; they park with a timeout and wake each other.
 *
 * Who clears `managed` then grants every parked kthread of a generation above 0: one may have read 1 and be on its
 * way into a wait that has no end. `preempt` counts only while managed is set. Kicks only wake kthreads that are not
 * managed; a managed one that is parked raises `wanted` and rings for what the kick was about.
 */
/*
 * Written by the instance: TCP ports in the order in which it first listened on them, on an address that others
 * reach; then `count`, then the doorbell of the supervisor. More than there is room for are not told.
 */
#define CTL_MAX_PORTS 15
struct ctl_listen {
	uint16_t count;
	uint16_t ports[CTL_MAX_PORTS];
};

struct ctl_sched {
	uint32_t managed; /* written by the scheduler, may change at any time; re-read at each park */
	uint32_t wanted; /* written by the instance: kthreads that have work, beyond those that run */
};

struct control {
	struct control_boot boot;
	_Alignas(64) uint32_t doorbell; /* instance -> supervisor: incremented, then FUTEX_WAKE */
	uint32_t supervisor_waiting; /* supervisor sleeps on doorbell */
	uint32_t state; /* enum ctl_state */
	uint32_t exit_status; /* as in wait(2): status << 8, or the signal */
	/*
	 * stdin is read only on demand, so that no byte is taken that the program did not ask for. Answers
	 * are a FUTEX_WAKE on the stdin ring's head (also at end of file: producer_closed) or, for poll,
	 * on stdin_ready. Each answer is also a kick, as for a signal, with no bit set in host_signals.
	 */
	uint32_t stdin_want; /* bytes wanted; the supervisor clears it when it has answered */
	uint32_t stdin_poll; /* 1: tell me when stdin is readable; cleared when answered in stdin_ready */
	uint32_t pad2[10];
	/*
	 * supervisor -> instance: bit n-1 = signal n, taken by an atomic exchange with 0; then a kick, but
	 * only once state is CTL_RUNNING: look here once more after setting it.
	 */
	_Alignas(64) uint64_t host_signals;
	uint32_t stdin_ready; /* 1: readable or at end of file */
	uint32_t winsize_seq; /* incremented when boot.winsize changed */
	_Alignas(64) struct control_stats stats;
	_Alignas(64) struct ctl_ring rings[CTL_NR_RINGS];
	struct ctl_sched sched;
	struct ctl_listen listen;
	_Alignas(64) struct ctl_kthread kthreads[CTL_MAX_KTHREADS];
};
#define CTL_RECORD_OFF 12288ul /* copy of the boot record, at most 4096 bytes; longer: read the image */
_Static_assert(sizeof(struct control) <= CTL_RECORD_OFF, "control grew into the record");

#endif
