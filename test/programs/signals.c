/* signals.c - dispositions, masks, handlers, flags, alternate stacks, nesting, waiting. */
#include "t.h"

#include <setjmp.h>
#include <ucontext.h>

static volatile int count, last, depth, max_depth;
static volatile siginfo_t info;
static char altstack[65536];

static void handler(int sig)
{
	count++;
	last = sig;
}

static void handler_info(int sig, siginfo_t *si, void *uc)
{
	count++;
	last = sig;
	*(siginfo_t *)&info = *si;
}

static void install(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags };

	NEED(sigaction(sig, &sa, NULL) == 0);
}

static void install_info(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { .sa_sigaction = fn, .sa_flags = flags | SA_SIGINFO };

	NEED(sigaction(sig, &sa, NULL) == 0);
}

static sigset_t set_of(int sig)
{
	sigset_t s;

	sigemptyset(&s);
	if (sig)
		sigaddset(&s, sig);
	return s;
}

static void dispositions(void)
{
	struct sigaction sa = { .sa_handler = handler }, old;

	HEAD("dispositions");
	R(sigaction(0, &sa, NULL));
	R(sigaction(65, &sa, NULL));
	R(sigaction(SIGKILL, &sa, NULL));
	R(sigaction(SIGSTOP, &sa, NULL));
	R(sigaction(SIGKILL, NULL, &old));
	R(syscall(SYS_rt_sigaction, SIGUSR1, &sa, NULL, 4));
	sa.sa_flags = SA_RESTART;
	sa.sa_mask = set_of(SIGUSR2);
	R(sigaction(SIGUSR1, &sa, &old));
	T(old.sa_handler == SIG_DFL);
	R(sigaction(SIGUSR1, NULL, &old));
	T(old.sa_handler == handler);
	V(old.sa_flags & SA_RESTART);
	V(sigismember(&old.sa_mask, SIGUSR2));
	R(raise(SIGUSR1));
	V(count);
	R(kill(getpid(), SIGUSR1));
	V(count);
	signal(SIGUSR1, SIG_IGN);
	raise(SIGUSR1);
	V(count);
	raise(SIGCHLD); /* ignored by default */
	raise(SIGURG);
	raise(SIGWINCH);
	raise(SIGCONT);
	R(kill(getpid(), 0));
	R(kill(getpid(), 65));
	R(kill(getpid(), -1));
	R(kill(999999, SIGUSR1));
}

static void masks(void)
{
	sigset_t s = set_of(SIGUSR1), old, pending;

	HEAD("masks");
	count = 0;
	install(SIGUSR1, handler, 0);
	R(sigprocmask(SIG_BLOCK, &s, &old));
	raise(SIGUSR1);
	raise(SIGUSR1);
	V(count);
	R(sigpending(&pending));
	V(sigismember(&pending, SIGUSR1));
	V(sigismember(&pending, SIGUSR2));
	R(sigprocmask(SIG_UNBLOCK, &s, NULL));
	V(count);
	R(sigprocmask(99, &s, NULL));
	R(sigprocmask(99, NULL, &old));
	R(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &s, NULL, 4));
	sigfillset(&s);
	R(sigprocmask(SIG_SETMASK, &s, NULL));
	R(sigprocmask(SIG_SETMASK, NULL, &old));
	V(sigismember(&old, SIGKILL));
	V(sigismember(&old, SIGSTOP));
	V(sigismember(&old, SIGTERM));
	s = set_of(0);
	R(sigprocmask(SIG_SETMASK, &s, NULL));
	/* Setting the action to ignore drops what is pending. */
	s = set_of(SIGUSR1);
	sigprocmask(SIG_BLOCK, &s, NULL);
	raise(SIGUSR1);
	signal(SIGUSR1, SIG_IGN);
	sigpending(&pending);
	V(sigismember(&pending, SIGUSR1));
	install(SIGUSR1, handler, 0);
	sigprocmask(SIG_UNBLOCK, &s, NULL);
	V(count);
}

static void nest(int sig)
{
	if (++depth > max_depth)
		max_depth = depth;
	count++;
	if (count < 3)
		raise(sig);
	depth--;
}

static volatile int order[4], order_n;

static void outer(int sig)
{
	order[order_n++] = 1;
	raise(SIGUSR2);
	order[order_n++] = 2;
}

static void inner(int sig)
{
	order[order_n++] = 3;
}

static void in_mask(int sig)
{
	sigset_t now;

	sigprocmask(SIG_SETMASK, NULL, &now);
	V(sigismember(&now, SIGUSR1));
	V(sigismember(&now, SIGUSR2));
	V(sigismember(&now, SIGHUP));
}

static void flags(void)
{
	struct sigaction sa = { .sa_handler = in_mask }, old;

	HEAD("flags");
	count = depth = max_depth = 0;
	install(SIGUSR1, nest, 0);
	raise(SIGUSR1);
	say("blocked in its own handler: count %d depth %d", count, max_depth);
	count = depth = max_depth = 0;
	install(SIGUSR1, nest, SA_NODEFER);
	raise(SIGUSR1);
	say("SA_NODEFER: count %d depth %d", count, max_depth);
	install(SIGUSR1, handler, SA_RESETHAND);
	raise(SIGUSR1);
	sigaction(SIGUSR1, NULL, &old);
	T(old.sa_handler == SIG_DFL);
	sa.sa_mask = set_of(SIGHUP);
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	sa.sa_flags = SA_NODEFER;
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	install(SIGUSR1, outer, 0);
	install(SIGUSR2, inner, 0);
	raise(SIGUSR1);
	say("order %d %d %d", order[0], order[1], order[2]);
	order_n = 0;
	sa = (struct sigaction){ .sa_handler = outer };
	sa.sa_mask = set_of(SIGUSR2);
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	say("order %d %d %d", order[0], order[1], order[2]);
}

static void where(int sig)
{
	char here;

	last = &here > altstack && &here < altstack + sizeof(altstack);
	stack_t now;

	sigaltstack(NULL, &now);
	V(now.ss_flags);
	R(sigaltstack(&now, NULL));
}

static volatile int *volatile on_alt;

static void overflow_handler(int sig, siginfo_t *si, void *uc)
{
	char here;

	say("stack overflow: signal %d code %d on the alternate stack %d", sig, si->si_code,
	    &here > altstack && &here < altstack + sizeof(altstack));
	siglongjmp(*(sigjmp_buf *)on_alt, 1);
}

static int recurse(int n)
{
	volatile char big[1024];

	big[0] = n;
	return n < 1000000 ? recurse(n + 1) + big[0] : 0;
}

static void *overflow(void *arg)
{
	static sigjmp_buf jump;
	stack_t ss = { .ss_sp = altstack, .ss_size = sizeof(altstack) };

	sigaltstack(&ss, NULL);
	on_alt = (volatile int *)&jump;
	if (!sigsetjmp(jump, 1))
		recurse(0);
	else
		say("recovered");
	return NULL;
}

static void altstacks(void)
{
	stack_t ss = { .ss_sp = altstack, .ss_size = sizeof(altstack) }, old;
	pthread_attr_t attr;
	pthread_t t;

	HEAD("alternate stack");
	R(sigaltstack(NULL, &old));
	V(old.ss_flags);
	R(sigaltstack(&ss, &old));
	R(sigaltstack(NULL, &old));
	T(old.ss_sp == altstack && old.ss_size == sizeof(altstack) && old.ss_flags == 0);
	install(SIGUSR1, where, 0);
	raise(SIGUSR1);
	V(last);
	install(SIGUSR1, where, SA_ONSTACK);
	raise(SIGUSR1);
	V(last);
	ss.ss_size = 100;
	R(sigaltstack(&ss, NULL));
	ss.ss_size = sizeof(altstack);
	ss.ss_flags = 0x77;
	R(sigaltstack(&ss, NULL));
	ss.ss_flags = SS_DISABLE;
	R(sigaltstack(&ss, NULL));
	install_info(SIGSEGV, overflow_handler, SA_ONSTACK);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 << 10);
	pthread_create(&t, &attr, overflow, NULL);
	pthread_join(t, NULL);
	signal(SIGSEGV, SIG_DFL);
}

static void change_context(int sig, siginfo_t *si, void *ucv)
{
	ucontext_t *uc = ucv;

	/* The interrupted loop below waits for rbx to change, and its mask gains SIGHUP. */
	uc->uc_mcontext.gregs[REG_RBX] = 77;
	sigaddset(&uc->uc_sigmask, SIGHUP);
}

static pthread_t main_thread;

static void *poke(void *arg)
{
	sleep_ms(10);
	pthread_kill(main_thread, SIGUSR2);
	return NULL;
}

static void contexts(void)
{
	sigset_t now;
	pthread_t t;
	long rbx = 0;
	double x = 1.5, y;

	HEAD("context");
	install_info(SIGUSR2, change_context, 0);
	t = spawn(poke, NULL);
	__asm__ volatile("1: test %0, %0; jz 1b" : "+b"(rbx));
	V(rbx);
	pthread_join(t, NULL);
	sigprocmask(SIG_SETMASK, NULL, &now);
	V(sigismember(&now, SIGHUP));
	sigdelset(&now, SIGHUP);
	sigprocmask(SIG_SETMASK, &now, NULL);
	install(SIGUSR2, handler, 0);
	__asm__ volatile("movsd %1, %%xmm7\n\t" ::"m"(x), "m"(x) : "xmm7");
	__asm__ volatile("" ::: "memory");
	y = x * 3;
	raise(SIGUSR2);
	T(y == 4.5);
}

static sigjmp_buf env;

static void jumper(int sig)
{
	siglongjmp(env, sig);
}

static void jumps(void)
{
	sigset_t now;

	HEAD("leaving a handler by siglongjmp");
	install(SIGUSR1, jumper, 0);
	for (volatile int i = 0; i < 3; i++)
		if (sigsetjmp(env, 1) == 0)
			raise(SIGUSR1);
		else
			count++;
	sigprocmask(SIG_SETMASK, NULL, &now);
	V(sigismember(&now, SIGUSR1));
}

static void *send_twice(void *arg)
{
	sleep_ms(10);
	kill(getpid(), SIGUSR1);
	sleep_ms(10);
	kill(getpid(), SIGUSR2);
	return NULL;
}

static void waiting(void)
{
	sigset_t both = set_of(SIGUSR1), none = set_of(0);
	struct timespec ts = ts_ns(5 * NS_PER_MS);
	siginfo_t si;
	pthread_t t;
	int sig;

	HEAD("waiting");
	sigaddset(&both, SIGUSR2);
	install_info(SIGUSR1, handler_info, 0);
	install(SIGUSR2, handler, 0);
	sigprocmask(SIG_BLOCK, &both, NULL);
	count = 0;
	R(sigtimedwait(&both, &si, &ts));
	raise(SIGUSR1);
	R(sigtimedwait(&both, &si, &ts));
	say("signo %d code %d", si.si_signo, si.si_code);
	V(count);
	t = spawn(send_twice, NULL);
	E(sigwait(&both, &sig));
	V(sig);
	R(sigwaitinfo(&both, &si));
	say("signo %d code %d own pid %d", si.si_signo, si.si_code, si.si_pid == getpid());
	pthread_join(t, NULL);
	ts.tv_nsec = NS_PER_S;
	R(sigtimedwait(&both, &si, &ts));
	t = spawn(send_twice, NULL);
	R(sigsuspend(&none));
	V(count);
	R(sigsuspend(&none));
	V(count);
	pthread_join(t, NULL);
	/* A pending signal is taken by sigsuspend at once; the old mask is back after it. */
	raise(SIGUSR1);
	R(sigsuspend(&none));
	V(count);
	raise(SIGUSR1);
	V(count);
	sigprocmask(SIG_SETMASK, &none, NULL);
	V(count);
	t = spawn(send_twice, NULL);
	R(pause());
	R(pause());
	V(count);
	pthread_join(t, NULL);
}

int main(void)
{
	main_thread = pthread_self();
	dispositions();
	masks();
	flags();
	altstacks();
	contexts();
	jumps();
	waiting();
	HEAD("death");
	R(raise(0));
	signal(SIGTERM, SIG_DFL);
	raise(SIGTERM); /* the exit status says so */
	say("not reached");
	return 0;
}
