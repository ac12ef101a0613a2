/*
 * execargs.c - argument and environment strings on their way into a new program.
 */
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/exec.h"
#include "libos/mm/usercopy.h"

#define MAX_ARG_STRLEN (128ul << 10) /* one string, as Linux */
#define MAX_ARGS (1u << 20)
#define MAX_BYTES (2ul << 20) /* a quarter of the default stack */

/* A vector of at least n + 1 pointers instead of *v, the first `used` of which are kept. */
static int vector_grow(char ***v, u32 used, u32 *cap, u32 n)
{
	u32 want = max(n + 1, *cap * 2);
	char **w = kzalloc(want * sizeof(*w));

	if (!w)
		return -ENOMEM;
	if (*v) {
		memcpy(w, *v, used * sizeof(*w));
		kfree(*v, *cap * sizeof(**v));
	}
	*v = w;
	*cap = want;
	return 0;
}

static void vector_free(char **v, u32 n, u32 cap)
{
	if (!v)
		return;
	for (u32 i = 0; i < n; i++)
		kfree_str(v[i]);
	kfree(v, cap * sizeof(*v));
}

static int vector_copy(char ***out, u32 *count, u32 *cap, char **in)
{
	u32 n = 0;

	while (in && in[n])
		n++;
	*cap = 0;
	*out = NULL;
	if (vector_grow(out, 0, cap, n + 2) < 0)
		return -ENOMEM;
	for (*count = 0; *count < n; ++*count) {
		(*out)[*count] = kstrdup(in[*count]);
		if (!(*out)[*count])
			return -ENOMEM;
	}
	return 0;
}

int exec_args_set(struct exec_args *x, const char *filename, char **argv, char **envp)
{
	x->filename = kstrdup(filename);
	if (!x->filename || vector_copy(&x->argv, &x->argc, &x->argv_cap, argv) < 0)
		return -ENOMEM;
	return vector_copy(&x->envp, &x->envc, &x->envp_cap, envp);
}

/* One string of the application, from kmalloc(strlen + 1). */
static int string_from_user(char **out, u64 uaddr, char *buf, u64 *bytes)
{
	ssize_t n = strncpy_from_user(buf, (const char *)uaddr, MAX_ARG_STRLEN);

	if (n < 0)
		return n == -ENAMETOOLONG ? -E2BIG : n;
	*bytes += n + 1 + sizeof(u64);
	if (*bytes > MAX_BYTES)
		return -E2BIG;
	*out = kmalloc(n + 1);
	if (!*out)
		return -ENOMEM;
	memcpy(*out, buf, n + 1);
	return 0;
}

static int vector_from_user(char ***out, u32 *count, u32 *cap, u64 uv, char *buf, u64 *bytes)
{
	*count = *cap = 0;
	*out = NULL;
	if (vector_grow(out, 0, cap, 16) < 0)
		return -ENOMEM;
	for (; uv; uv += sizeof(u64)) {
		u64 p;
		int r;

		if (get_user(p, (void *)uv) < 0)
			return -EFAULT;
		if (!p)
			break;
		if (*count >= MAX_ARGS)
			return -E2BIG;
		if (*count + 3 > *cap && vector_grow(out, *count, cap, *count + 3) < 0)
			return -ENOMEM;
		r = string_from_user(&(*out)[*count], p, buf, bytes);
		if (r < 0)
			return r;
		++*count;
	}
	return 0;
}

int exec_args_user(struct exec_args *x, const char *filename, u64 argv, u64 envp)
{
	char *buf = kmalloc(MAX_ARG_STRLEN);
	u64 bytes = 0;
	int r = -ENOMEM;

	if (!buf)
		return r;
	x->filename = kstrdup(filename);
	if (x->filename)
		r = vector_from_user(&x->argv, &x->argc, &x->argv_cap, argv, buf, &bytes);
	if (!r)
		r = vector_from_user(&x->envp, &x->envc, &x->envp_cap, envp, buf, &bytes);
	kfree(buf, MAX_ARG_STRLEN);
	/* Linux since 5.18: a program always finds an argv[0], if only an empty one. */
	if (!r && !x->argc) {
		x->argv[0] = kstrdup("");
		if (!x->argv[0])
			return -ENOMEM;
		x->argc = 1;
	}
	return r;
}

int exec_args_script(struct exec_args *x, const char *interp, const char *arg)
{
	u32 extra = arg ? 2 : 1;
	char *script = kstrdup(x->script_depth > 1 ? x->argv_script : x->filename);
	char *a = arg ? kstrdup(arg) : NULL, *i0 = kstrdup(interp);

	if (!script || !i0 || (arg && !a) ||
	    vector_grow(&x->argv, x->argc, &x->argv_cap, x->argc + extra + 1) < 0) {
		kfree_str(script);
		kfree_str(a);
		kfree_str(i0);
		return -ENOMEM;
	}
	if (x->argc) {
		kfree_str(x->argv[0]);
		memmove(x->argv + 1 + extra, x->argv + 1, (x->argc - 1) * sizeof(*x->argv));
	} else {
		x->argc = 1;
	}
	x->argc += extra;
	x->argv[0] = i0;
	if (a)
		x->argv[1] = a;
	x->argv[extra] = script;
	x->argv_script = i0; /* should this be a script too, its path is what its interpreter gets */
	return 0;
}

void exec_args_free(struct exec_args *x)
{
	vector_free(x->argv, x->argc, x->argv_cap);
	vector_free(x->envp, x->envc, x->envp_cap);
	kfree_str(x->filename);
}
