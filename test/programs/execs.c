/* execs.c - execve: what a new program inherits, threads that end, scripts, errors. */
#include "t.h"

static char self[PATH_MAX];
static char *const stop[] = { NULL };

static void handler(int sig)
{
}

static void *idle(void *how)
{
	for (;;)
		if (how)
			pause();
	return NULL;
}

static void *next(void *stage)
{
	char n[16];
	char *args[] = { "self", n, NULL }, *env[] = { "A=1", "B=two words", NULL };

	snprintf(n, sizeof(n), "%d", (int)(intptr_t)stage + 1);
	execve(self, args, env);
	NEED(!"execve");
	return NULL;
}

static void errors(void)
{
	char *args[] = { "x", NULL };
	int fd;

	R(execve("nothing", args, stop));
	R(execve("", args, stop));
	R(execve("/", args, stop));
	put_file("text", "hello\n");
	R(execve("text", args, stop));
	chmod("text", 0755);
	R(execve("text", args, stop));
	R(execve("text/x", args, stop));
	put_file("elf", "\177ELF\2\1\1");
	chmod("elf", 0755);
	R(execve("elf", args, stop));
	put_file("loop", "#!loop\n");
	chmod("loop", 0755);
	R(execve("loop", args, stop));
	put_file("noint", "#!/no/interpreter x\n");
	chmod("noint", 0755);
	R(execve("noint", args, stop));
	put_file("empty", "#!  \n");
	chmod("empty", 0755);
	R(execve("empty", args, stop));
	R(syscall(SYS_execve, 8, args, stop));
	R(syscall(SYS_execve, self, 8, stop));
	R(syscall(SYS_execveat, 100, "x", args, stop, 0));
	R(syscall(SYS_execveat, AT_FDCWD, "x", args, stop, 0x80000));
	symlink(self, "link");
	R(syscall(SYS_execveat, AT_FDCWD, "link", args, stop, AT_SYMLINK_NOFOLLOW));
	fd = open("text", O_RDONLY);
	R(syscall(SYS_execveat, fd, "", args, stop, 0));
	R(syscall(SYS_execveat, fd, "", args, stop, AT_EMPTY_PATH));
	close(fd);
}

static void inherited(int stage)
{
	struct sigaction sa;
	sigset_t set;
	stack_t ss;

	HEAD("stage");
	V(stage);
	T(getpid() == (pid_t)syscall(SYS_gettid));
	T(!sigaction(SIGUSR1, NULL, &sa) && sa.sa_handler == SIG_DFL);
	T(!sigaction(SIGUSR2, NULL, &sa) && sa.sa_handler == SIG_IGN);
	T(!sigprocmask(SIG_BLOCK, NULL, &set) && sigismember(&set, SIGTERM));
	T(!sigaltstack(NULL, &ss) && ss.ss_flags == SS_DISABLE);
	R(fcntl(40, F_GETFD));
	R(fcntl(41, F_GETFD));
	S(getenv("A") ? getenv("A") : "unset");
	V(umask(027));
}

int main(int argc, char **argv)
{
	int stage = argc > 1 ? atoi(argv[1]) : 0;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char stack[SIGSTKSZ > 16384 ? 1 : 16384];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	sigset_t set;

	NEED(n > 0);
	if (!stage) {
		enter_scratch("execs");
		errors();
	}
	inherited(stage);
	if (stage == 5) {
		char line[PATH_MAX + 32];
		char *args[] = { "gone", "after", "that", NULL }, *env[] = { "A=script", NULL };

		snprintf(line, sizeof(line), "#! %s 6 and more \t\n", self);
		put_file("script", line);
		chmod("script", 0755);
		R(execve("./script", args, env));
	}
	if (stage == 6) {
		/* "6 and more" is one argument; then the script's path, then the arguments. */
		for (int i = 1; i < argc; i++)
			printf("argument %d: %s\n", i, argv[i]);
		fflush(stdout);
		_exit(42);
	}
	signal(SIGUSR1, handler);
	signal(SIGUSR2, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigaltstack(&ss, NULL);
	NEED(dup2(1, 40) == 40 && dup2(1, 41) == 41 && !fcntl(40, F_SETFD, FD_CLOEXEC));
	fflush(stdout);
	for (intptr_t i = 0; i < 4; i++)
		spawn(idle, (void *)(i & 1));
	/* By the first thread, by another while the first sleeps, and by another when it has ended. */
	if (stage % 3 == 0)
		next((void *)(intptr_t)stage);
	spawn(next, (void *)(intptr_t)stage);
	if (stage % 3 == 2)
		pthread_exit(NULL);
	for (;;)
		pause();
}
