/*
 * err.h - one error line for a person.
 *
 * A function that can fail for a reason that a person must know takes a struct err, fills it and
 * returns -1. main() prints it as `junction VERB: ` followed by the text, so the text is
 * `FILE: what is wrong; what to do`.
 */
#ifndef JUNCTION_BUILDER_ERR_H
#define JUNCTION_BUILDER_ERR_H

struct err {
	char text[1024];
};

/* Sets the text (first error wins: a text that is set stays) and returns -1. */
int err_set(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* As err_set(), followed by ": " and the text of errno. */
int err_errno(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
