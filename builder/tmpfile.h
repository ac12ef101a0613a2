/*
 * tmpfile.h - a file under construction that does not survive Ctrl-C.
 */
#ifndef JUNCTION_BUILDER_TMPFILE_H
#define JUNCTION_BUILDER_TMPFILE_H

/*
 * From here on SIGINT, SIGTERM and SIGHUP remove `path` before they end the program. One file at a time;
 * not to be called by a program with threads. tmpfile_forget() puts the old dispositions back.
 */
void tmpfile_remember(const char *path);
void tmpfile_forget(void);

#endif
