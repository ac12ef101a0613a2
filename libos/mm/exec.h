/*
 * exec.h - the steps of loading a program. Internal to mm/.
 *
 * exec_open() judges everything that can be judged while the old program is still there; exec_map() and
 * stack_build() then fill an empty address space.
 */
#ifndef LIBOS_MM_EXEC_H
#define LIBOS_MM_EXEC_H

#include "libos/lib/types.h"

struct elf_file;
struct file;

struct exec_args {
	/* Kernel copies, each from kstrdup(); argv[argc] and envp[envc] are NULL */
	char **argv, **envp;
	u32 argc, envc, argv_cap, envp_cap;
	char *argv_script; /* path of the interpreter that load_script() found last: one of argv */
	char *filename; /* as given: AT_EXECFN */
	u32 script_depth;
	char head[256];
	struct file *file;
	struct elf_file *elf, *interp;
	char *interp_path;
	const char *why; /* set on failure: what is wrong, for people */
};

struct exec_addrs {
	u64 start; /* first instruction */
	u64 entry, phdr, base; /* AT_ENTRY, AT_PHDR, AT_BASE */
	u32 phnum;
};

/* Opens the file at path, to be x->file. -ENOENT, -EACCES, ... */
int exec_open_program(struct exec_args *x, const char *path, struct file **out);
/* Takes x->file for the program. -EACCES, -ENOEXEC, -ELIBBAD, -ELOOP, -ENOMEM. */
int exec_open(struct exec_args *x);
/* Fills the (empty) address space of current_proc(). */
int exec_map(struct exec_args *x, struct exec_addrs *at);
void exec_close(struct exec_args *x);

/* execargs.c */

/* Copies vectors of libOS memory. -ENOMEM, -E2BIG. */
int exec_args_set(struct exec_args *x, const char *filename, char **argv, char **envp);
/* The same from the application. -EFAULT besides. */
int exec_args_user(struct exec_args *x, const char *filename, u64 argv, u64 envp);
/* For a script: argv[0] gives way to interp, arg (may be NULL) and the script's path. */
int exec_args_script(struct exec_args *x, const char *interp, const char *arg);
void exec_args_free(struct exec_args *x);

/* The opened program (the interpreter of a script). */
struct file *exec_program(struct exec_args *x);
bool exec_wants_exec_stack(struct exec_args *x);

/* stack.c */

/* Maps the stack and sets where mappings go. 0 or -ENOMEM. */
int stack_map(struct exec_args *x);
/* Writes the stack and the fields of proc about it. *sp: the initial stack pointer. -E2BIG, -ENOMEM. */
int stack_build(struct exec_args *x, const struct exec_addrs *at, u64 *sp);

#endif
