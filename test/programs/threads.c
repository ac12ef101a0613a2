/* threads.c - clone, clone3, thread ids, exit paths, thread-local storage, cancellation, many threads. */
#include "t.h"

#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define STACK 65536
#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

static volatile int shared;
static pid_t child_tid, parent_tid;

/* Waits until the kernel has cleared a thread's id (CLONE_CHILD_CLEARTID) and woken its futex. */
static void join_tid(volatile pid_t *tid)
{
	pid_t v;

	while ((v = *tid))
		syscall(SYS_futex, tid, FUTEX_WAIT, v, NULL, NULL, 0);
}

static int raw_thread(void *arg)
{
	shared = (int)(long)arg;
	syscall(SYS_exit, 0);
	return 0;
}

struct clone3_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
		set_tid_size, cgroup;
};

/* A clone3 thread: on its own stack the child stores, then exits; it never returns. */
static long clone3_thread(struct clone3_args *args, size_t size, volatile int *cell)
{
	long ret;
	register long r8 __asm__("r8") = (long)cell;

	__asm__ volatile("syscall\n\t"
			 "test %%eax, %%eax\n\t"
			 "jnz 1f\n\t"
			 "movl $43, (%%r8)\n\t"
			 "mov $60, %%eax\n\t"
			 "xor %%edi, %%edi\n\t"
			 "syscall\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(ret)
			 : "a"(SYS_clone3), "D"(args), "S"(size), "r"(r8)
			 : "rcx", "r11", "memory");
	return ret;
}

static void raw_clones(void)
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct clone3_args c3 = { .flags = THREAD_FLAGS | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID,
				  .stack = (uint64_t)stack,
				  .stack_size = STACK,
				  .child_tid = (uint64_t)&child_tid,
				  .parent_tid = (uint64_t)&child_tid };
	volatile int cell = 0;
	long r;

	HEAD("clone");
	r = clone(raw_thread, stack + STACK,
		  THREAD_FLAGS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID, (void *)42, &parent_tid,
		  NULL, &child_tid);
	T(r > 0);
	while (!shared)
		sched_yield();
	T(parent_tid == r);
	V(shared);
	sleep_ms(5);

	HEAD("clone3");
	child_tid = 1;
	r = clone3_thread(&c3, sizeof(c3), &cell);
	T(r > 0);
	join_tid(&child_tid);
	V(cell);
	R(syscall(SYS_clone3, &c3, 8));
	c3.flags = 1ull << 40;
	R(syscall(SYS_clone3, &c3, sizeof(c3)));
	R(syscall(SYS_clone, CLONE_THREAD, stack + STACK, 0, 0, 0));
	R(syscall(SYS_clone, CLONE_SIGHAND, stack + STACK, 0, 0, 0));
	munmap(stack, STACK);
}

static __thread int tls = 5;
static pid_t tids[32];

static void *tls_user(void *arg)
{
	long i = (long)arg;

	tls += i;
	tids[i] = gettid_raw();
	sched_yield();
	return (void *)(long)(tls == 5 + i && getpid() != tids[i]);
}

static void ids(void)
{
	pthread_t t[32];
	int good = 0;

	HEAD("ids and thread-local storage");
	T(gettid_raw() == getpid());
	for (long i = 0; i < 32; i++)
		t[i] = spawn(tls_user, (void *)i);
	for (int i = 0; i < 32; i++) {
		void *r;

		pthread_join(t[i], &r);
		good += (long)r;
	}
	V(good);
	V(tls);
	R(syscall(SYS_tgkill, getpid(), 999999, 0));
	R(syscall(SYS_tkill, 999999, 0));
	R(syscall(SYS_tgkill, getpid(), gettid_raw(), 0));
	R(syscall(SYS_tgkill, -1, gettid_raw(), 0));
}

static void cleanup(void *arg)
{
	say("cleanup %s", (char *)arg);
}

static void *cancelled(void *arg)
{
	pthread_cleanup_push(cleanup, "handler");
	for (;;)
		sleep_ms(1000);
	pthread_cleanup_pop(0);
	return NULL;
}

static void destructor(void *p)
{
	say("destructor %s", (char *)p);
}

static pthread_key_t key;

static void *with_key(void *arg)
{
	pthread_setspecific(key, "value");
	pthread_exit("bye");
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_count;

static void once_only(void)
{
	once_count++;
}

static void *do_once(void *arg)
{
	pthread_once(&once, once_only);
	return NULL;
}

static void lifecycle(void)
{
	pthread_attr_t attr;
	pthread_t t[8];
	void *r;
	size_t size;

	HEAD("lifecycle");
	t[0] = spawn(cancelled, NULL);
	sleep_ms(5);
	pthread_cancel(t[0]);
	pthread_join(t[0], &r);
	T(r == PTHREAD_CANCELED);
	pthread_key_create(&key, destructor);
	pthread_join(spawn(with_key, NULL), &r);
	S((char *)r);
	for (int i = 0; i < 8; i++)
		t[i] = spawn(do_once, NULL);
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	V(once_count);
	pthread_attr_init(&attr);
	E(pthread_attr_setstacksize(&attr, 128 << 10));
	E(pthread_create(&t[0], &attr, do_once, NULL));
	E(pthread_join(t[0], NULL));
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	E(pthread_create(&t[0], &attr, do_once, NULL));
	E(pthread_getattr_np(pthread_self(), &attr));
	pthread_attr_getstack(&attr, &r, &size);
	T((char *)&attr > (char *)r && (char *)&attr < (char *)r + size);
}

static void *count_up(void *arg)
{
	__atomic_fetch_add((int *)arg, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void many(void)
{
	static pthread_t t[200];
	int n = 0, total = 0;

	HEAD("many");
	for (int i = 0; i < 200; i++)
		t[i] = spawn(count_up, &n);
	for (int i = 0; i < 200; i++)
		pthread_join(t[i], NULL);
	V(n);
	for (int i = 0; i < 500; i++)
		pthread_join(spawn(count_up, &total), NULL);
	V(total);
}

/* Threads that compute without a system call share the cores, whatever their number. */
static volatile int stop;
static volatile long progress[4];

static void *spin(void *arg)
{
	while (!stop)
		progress[(long)arg]++;
	return NULL;
}

static void preemption(void)
{
	pthread_t t[4];
	int all = 1;

	HEAD("preemption of tight loops");
	for (long i = 0; i < 4; i++)
		t[i] = spawn(spin, (void *)i);
	for (int tries = 0; tries < 1000; tries++) { /* as long as the host needs; it has other work too */
		sleep_ms(10);
		if (progress[0] && progress[1] && progress[2] && progress[3])
			break;
	}
	stop = 1;
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		all &= progress[i] > 0;
	}
	T(all);
}

/* Floating-point and vector registers belong to the thread. */
static void *compute(void *arg)
{
	double x = 1.0 + (long)arg, sum = 0;

	for (int i = 1; i < 200000; i++) {
		sum += x / i;
		if (i % 20000 == 0)
			sched_yield();
	}
	return (void *)(long)(sum * 1000);
}

static void vectors(void)
{
	pthread_t t[4];

	HEAD("floating point across switches");
	for (long i = 0; i < 4; i++)
		t[i] = spawn(compute, (void *)i);
	for (int i = 0; i < 4; i++) {
		void *r;

		pthread_join(t[i], &r);
		V((long)r);
	}
}

static void *leader_outlived(void *arg)
{
	sleep_ms(20);
	say("the last thread ends the process");
	exit(7);
}

int main(void)
{
	raw_clones();
	ids();
	lifecycle();
	many();
	preemption();
	vectors();
	HEAD("the first thread ends before the others");
	spawn(leader_outlived, NULL);
	pthread_exit(NULL);
}
