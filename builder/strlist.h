/*
 * strlist.h - a growable list of strings.
 */
#ifndef JUNCTION_BUILDER_STRLIST_H
#define JUNCTION_BUILDER_STRLIST_H

#include <stdbool.h>
#include <stddef.h>

struct strings {
	char **v; /* n strings, each malloc'ed */
	size_t n;
};

/* Appends a copy; ends the program with a message when memory is out (these lists are small). */
void strings_add(struct strings *s, const char *text);
bool strings_has(const struct strings *s, const char *text);
void strings_free(struct strings *s);

/* snprintf into a new string; ends the program when memory is out. */
char *format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
