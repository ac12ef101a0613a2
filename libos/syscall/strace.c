/*
 * strace.c - `junction run --strace`: one line a system call, to the log ring.
 *
 *     [tid] openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3
 *
 * Argument types come from table.txt. What a call reads is decoded before it is made, what it writes
 * after. User memory that cannot be read shows as its address. Calls that do not return show "= ?".
 */
#include "libos/entry/trapframe.h"
#include "libos/lib/errname.h"
#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/platform/log.h"
#include "libos/sched/uthread.h"
#include "libos/syscall/flagnames.h"
#include "libos/syscall/syscall.h"

#define NR_ARGS 6
#define LINE_MAX 1024
#define STR_MAX 80 /* characters of a path or string */
#define BUF_MAX 40 /* bytes of a buffer */
#define MAX_VEC 3

struct line {
	char *s;
	size_t pos;
};

struct call {
	u64 nr;
	const char *name, *types;
	int nr_args;
	u64 args[NR_ARGS];
};

#define put(l, ...) ((l)->pos = scnprintf_at((l)->s, LINE_MAX, (l)->pos, __VA_ARGS__))

static void put_quoted(struct line *l, const char *s, size_t n, bool more)
{
	put(l, "\"");
	for (size_t i = 0; i < n; i++) {
		u8 c = s[i];

		if (c == '\n')
			put(l, "\\n");
		else if (c == '\t')
			put(l, "\\t");
		else if (c == '"' || c == '\\')
			put(l, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			put(l, "\\%o", c);
		else
			put(l, "%c", c);
	}
	put(l, more ? "\"..." : "\"");
}

static void put_addr(struct line *l, u64 v)
{
	if (v)
		put(l, "%#lx", v);
	else
		put(l, "NULL");
}

static void put_str(struct line *l, u64 p)
{
	char s[STR_MAX];
	size_t n = p ? copy_from_user_partial(s, (void *)p, sizeof(s)) : 0;
	const char *end = n ? memchr(s, 0, n) : NULL;

	if (!n)
		put_addr(l, p);
	else
		put_quoted(l, s, end ? (size_t)(end - s) : n, !end);
}

static void put_buf(struct line *l, u64 p, u64 len)
{
	char s[BUF_MAX];
	size_t want = min(len, (u64)sizeof(s));
	size_t n = p ? copy_from_user_partial(s, (void *)p, want) : 0;

	if (n < want || !p)
		put_addr(l, p);
	else
		put_quoted(l, s, n, len > n);
}

static void put_iov(struct line *l, u64 p, u64 count, bool contents)
{
	struct {
		u64 base, len;
	} v;

	if (!p || !count || count > 1024) {
		put_addr(l, p);
		return;
	}
	put(l, "[");
	for (u64 i = 0; i < count; i++) {
		if (i == MAX_VEC) {
			put(l, ", ...");
			break;
		}
		if (copy_from_user(&v, (void *)(p + i * sizeof(v)), sizeof(v))) {
			put(l, "?");
			break;
		}
		put(l, i ? ", {" : "{");
		if (contents)
			put_buf(l, v.base, v.len);
		else
			put_addr(l, v.base);
		put(l, ", %lu}", v.len);
	}
	put(l, "]");
}

static void put_strv(struct line *l, u64 p)
{
	u64 s;

	if (!p) {
		put(l, "NULL");
		return;
	}
	put(l, "[");
	for (int i = 0; !get_user_u64(&s, (void *)(p + i * 8)) && s; i++) {
		if (i == MAX_VEC) {
			put(l, ", ...");
			break;
		}
		if (i)
			put(l, ", ");
		put_str(l, s);
	}
	put(l, "]");
}

static bool is(const struct call *c, const char *name)
{
	return !strcmp(c->name, name);
}

/* struct of n bytes: shown as far as its size and the call tell what it is. */
static void put_struct(struct line *l, const struct call *c, u64 p, int n)
{
	u64 w[4];
	u32 pair[2], mode;

	if (!p || copy_from_user(w, (void *)p, min((size_t)n, sizeof(w)))) {
		put_addr(l, p);
		return;
	}
	if (is(c, "pipe") || is(c, "pipe2") || is(c, "socketpair")) {
		memcpy(pair, w, sizeof(pair));
		put(l, "[%d, %d]", (s32)pair[0], (s32)pair[1]);
	} else if (is(c, "epoll_ctl") || (n == 12 && !strncmp(c->name, "epoll_", 6))) {
		u64 data;

		memcpy(&data, (u8 *)w + 4, sizeof(data));
		put(l, "{%#x, %#lx}", (u32)w[0], data);
	} else if (n == 4) {
		put(l, "[%d]", (s32)w[0]);
	} else if (n == 8) {
		put(l, "[%#lx]", w[0]);
	} else if (n == 16) {
		put(l, "{%ld, %ld}", (s64)w[0], (s64)w[1]);
	} else if (n == 32 && strncmp(c->name, "rt_sig", 6)) {
		put(l, "{{%ld, %ld}, {%ld, %ld}}", (s64)w[0], (s64)w[1], (s64)w[2], (s64)w[3]);
	} else if (n == 32) {
		put(l, "{%#lx, flags=%#lx, mask=%#lx}", w[0], w[1], w[3]);
	} else if (n == 144 && !get_user_u32(&mode, (void *)(p + 24)) && !get_user_u64(w, (void *)(p + 48)) &&
		   strcmp(c->name, "getrusage") && strcmp(c->name, "wait4")) {
		put(l, "{st_mode=%#o, st_size=%lu}", mode, w[0]);
	} else {
		put_addr(l, p);
	}
}

/* "in:16?" -> direction and size. */
static int struct_size(const char *type)
{
	const char *colon = strchr(type, ':');
	int n = 0;

	while (colon && *++colon >= '0' && *colon <= '9')
		n = n * 10 + *colon - '0';
	return n;
}

static bool type_is(const char *type, const char *name)
{
	size_t n = strlen(name);

	return !strncmp(type, name, n) && (!type[n] || type[n] == ' ');
}

/* A type whose value is known only after the call. */
static bool is_output(const char *type)
{
	return !strncmp(type, "out", 3) || type_is(type, "iovout");
}

static void put_number(struct line *l, const struct call *c, int i, const char *type)
{
	u64 v = c->args[i];

	if (type_is(type, "fd"))
		(s32)v == -100 ? put(l, "AT_FDCWD") : put(l, "%d", (s32)v);
	else if (type_is(type, "int") || type_is(type, "pid"))
		put(l, "%d", (s32)v);
	else if (type_is(type, "uint"))
		put(l, "%u", (u32)v);
	else if (type_is(type, "long") || type_is(type, "off"))
		put(l, "%ld", (s64)v);
	else if (type_is(type, "size"))
		put(l, "%lu", v);
	else if (type_is(type, "mode"))
		put(l, "%#o", (u32)v);
	else if (type_is(type, "sig"))
		put(l, "%s", signal_name(v));
	else if (type_is(type, "flags"))
		l->pos = put_flag_names(l->s, LINE_MAX, l->pos, c->name, i, v);
	else if (type_is(type, "addr") || type_is(type, "uaddr"))
		put_addr(l, v);
	else
		put(l, "%#lx", v);
}

static void put_arg(struct line *l, const struct call *c, int i, const char *type, s64 result)
{
	u64 v = c->args[i], next = i + 1 < NR_ARGS ? c->args[i + 1] : 0;

	if (type_is(type, "path") || type_is(type, "str"))
		put_str(l, v);
	else if (type_is(type, "inbuf"))
		put_buf(l, v, next);
	else if (type_is(type, "outbuf") && result >= 0)
		put_buf(l, v, is(c, "getdents64") ? 0 : min((u64)result, next));
	else if (type_is(type, "iovin") || type_is(type, "iovout"))
		put_iov(l, v, next, type_is(type, "iovin"));
	else if (type_is(type, "strv"))
		put_strv(l, v);
	else if (!strncmp(type, "in:", 3) || (!strncmp(type, "inout:", 6)) ||
		 (!strncmp(type, "out:", 4) && result >= 0))
		put_struct(l, c, v, struct_size(type));
	else if (is_output(type))
		put_addr(l, v);
	else
		put_number(l, c, i, type);
}

static void put_result(struct line *l, const struct call *c, s64 r)
{
	if (r < 0 && r >= -ERESTART_RESTARTBLOCK && r <= -ERESTARTSYS)
		put(l, " = ? %s\n", errno_name(-r));
	else if (r < 0 && r >= -MAX_ERRNO)
		put(l, " = -1 %s\n", errno_name(-r));
	else if (is(c, "mmap") || is(c, "brk") || is(c, "mremap") || is(c, "rt_sigreturn"))
		put(l, " = %#lx\n", (u64)r);
	else
		put(l, " = %ld\n", r);
}

/*
 * Writes arguments [from, ...) up to the first that is known only after the call (after is false), or all
 * the rest. Returns where it stopped; *type follows.
 */
static int put_args(struct line *l, const struct call *c, int from, const char **type, bool after, s64 result)
{
	int i;

	for (i = from; i < c->nr_args; i++) {
		const char *t = *type, *space = strchr(t, ' ');

		if (!after && is_output(t))
			break;
		if (i)
			put(l, ", ");
		put_arg(l, c, i, t, result);
		*type = space ? space + 1 : "";
	}
	return i;
}

static void emit(struct line *l)
{
	/* A line that was cut still ends. */
	if (l->s[l->pos - 1] != '\n')
		l->s[l->pos - 1] = '\n';
	log_raw(l->s, l->pos);
}

void syscall_dispatch_traced(struct trapframe *tf)
{
	struct call c = {
		.nr = tf->orig_rax, .name = "syscall", .types = "",
		.args = { tf->rdi, tf->rsi, tf->rdx, tf->r10, tf->r8, tf->r9 },
	};
	struct line l = { kmalloc(LINE_MAX), 0 };
	const char *type;
	bool returns;
	int i = 0;

	if (!l.s) {
		syscall_dispatch(tf);
		return;
	}
	if (c.nr < NR_SYSCALLS && syscall_info[c.nr].name) {
		c.name = syscall_info[c.nr].name;
		c.types = syscall_info[c.nr].args;
		c.nr_args = syscall_info[c.nr].nr_args;
	}
	type = c.types;
	returns = !is(&c, "exit") && !is(&c, "exit_group") && !is(&c, "rt_sigreturn");

	put(&l, "[%d] %s", current()->tid, c.name);
	if (c.types[0] || c.nr_args || (c.nr < NR_SYSCALLS && syscall_info[c.nr].name))
		put(&l, "(");
	else
		put(&l, "_%lu(%#lx, %#lx, %#lx, ...", c.nr, c.args[0], c.args[1], c.args[2]);
	i = put_args(&l, &c, 0, &type, false, 0);
	if (!returns) {
		put(&l, ") = ?\n");
		emit(&l);
		kfree(l.s, LINE_MAX);
		syscall_dispatch(tf);
		return;
	}
	syscall_dispatch(tf);
	put_args(&l, &c, i, &type, true, tf->rax);
	put(&l, ")");
	put_result(&l, &c, tf->rax);
	emit(&l);
	kfree(l.s, LINE_MAX);
}

void strace_signal(const struct siginfo_k *info, const char *what)
{
	char text[160];
	size_t n = scnprintf_at(text, sizeof(text), 0, "[%d] --- %s {si_code=%d", current()->tid,
				signal_name(info->signo), info->code);

	if (info->code > 0 && info->code < 0x80) /* a fault, or SIGCHLD */
		n = scnprintf_at(text, sizeof(text), n, ", si_addr=%#lx", info->fault.addr);
	else if (info->code <= 0)
		n = scnprintf_at(text, sizeof(text), n, ", si_pid=%d, si_uid=%u", info->rt.pid, info->rt.uid);
	n = scnprintf_at(text, sizeof(text), n, "} %s ---\n", what);
	log_raw(text, n);
}
