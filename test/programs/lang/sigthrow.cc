// sigthrow.cc - C++ exceptions thrown out of signal handlers: at a fault, inside a system call, on an
// alternate stack, in threads. Unwinders must find their way through the frame and through rewritten code.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <pthread.h>
#include <stdexcept>
#include <sys/time.h>
#include <unistd.h>

// Without libc's promise that they do not throw.
extern "C" int kill_may_throw(pid_t, int) __asm__("kill");
extern "C" int raise_may_throw(int) __asm__("raise");

static volatile int destroyed;

struct Guard {
	~Guard() { destroyed = destroyed + 1; }
};

static void unblock(int sig)
{
	sigset_t s;

	sigemptyset(&s);
	sigaddset(&s, sig);
	pthread_sigmask(SIG_UNBLOCK, &s, nullptr);
}

static void on_fault(int sig, siginfo_t *si, void *)
{
	unblock(sig);
	throw std::runtime_error(si->si_addr == (void *)24 ? "fault at 24" : "fault elsewhere");
}

static void on_signal(int sig, siginfo_t *, void *)
{
	throw sig;
}

static __attribute__((noinline)) int touch(volatile int *p)
{
	Guard g;

	return *p;
}

static __attribute__((noinline)) void in_kill()
{
	Guard g;

	kill_may_throw(getpid(), SIGUSR1);
	std::puts("kill returned");
}

static __attribute__((noinline)) void in_raise()
{
	Guard g;

	raise_may_throw(SIGUSR1);
	std::puts("raise returned");
}

static __attribute__((noinline)) void in_pause()
{
	itimerval it{ { 0, 0 }, { 0, 20000 } };
	Guard g;

	setitimer(ITIMER_REAL, &it, nullptr);
	pause();
	std::puts("pause returned");
}

static __attribute__((noinline)) void in_read(int fd)
{
	itimerval it{ { 0, 0 }, { 0, 20000 } };
	Guard g;
	char c;

	setitimer(ITIMER_REAL, &it, nullptr);
	if (read(fd, &c, 1) >= 0)
		std::puts("read returned");
}

template <class F> static void expect(const char *what, F f)
{
	destroyed = 0;
	try {
		f();
		std::printf("%s: nothing thrown\n", what);
	} catch (int sig) {
		std::printf("%s: caught signal %d, destroyed %d\n", what, sig, destroyed);
	} catch (const std::exception &e) {
		std::printf("%s: caught %s, destroyed %d\n", what, e.what(), destroyed);
	}
}

static void *in_thread(void *)
{
	char *stack = (char *)std::malloc(65536);
	stack_t ss{};
	int caught = 0;

	ss.ss_sp = stack;
	ss.ss_size = 65536;
	sigaltstack(&ss, nullptr);
	for (int i = 0; i < 300; i++) {
		try {
			touch((int *)24);
		} catch (const std::exception &) {
			caught++;
		}
	}
	return (void *)(long)caught;
}

int main()
{
	struct sigaction sa{};
	pthread_t t[3];
	int p[2];

	sa.sa_sigaction = on_fault;
	sa.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigaction(SIGSEGV, &sa, nullptr);
	sa.sa_sigaction = on_signal;
	sa.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;
	sigaction(SIGUSR1, &sa, nullptr);
	sigaction(SIGALRM, &sa, nullptr);
	if (pipe(p))
		return 1;
	for (int i = 0; i < 2; i++) {
		expect("null", [] { touch(nullptr); });
		expect("24", [] { touch((int *)24); });
		expect("kill", in_kill);
		expect("raise", in_raise);
		expect("pause", in_pause);
		expect("read", [&] { in_read(p[0]); });
	}
	for (auto &x : t)
		pthread_create(&x, nullptr, in_thread, nullptr);
	for (auto &x : t) {
		void *r;

		pthread_join(x, &r);
		std::printf("thread: caught %ld\n", (long)r);
	}
	return 0;
}
