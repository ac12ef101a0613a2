/*
 * log.c - log lines for people, or JSON for programs.
 */
#include "junctiond/scheduler/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum log_level log_max = LOG_INFO;
bool log_json;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

struct text {
	char buf[1024];
	size_t len;
};

static void put(struct text *t, const char *s, size_t n)
{
	if (n > sizeof(t->buf) - 2 - t->len)
		n = sizeof(t->buf) - 2 - t->len;
	memcpy(t->buf + t->len, s, n);
	t->len += n;
}

static void put_str(struct text *t, const char *s)
{
	put(t, s, strlen(s));
}

/* A JSON string. Other bytes than ASCII do not come here. */
static void put_json(struct text *t, const char *s, size_t n)
{
	put_str(t, "\"");
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '"' || s[i] == '\\')
			put_str(t, "\\");
		put(t, (unsigned char)s[i] < ' ' ? " " : s + i, 1);
	}
	put_str(t, "\"");
}

/* key=value key="some value" -> ,"key":"value","key":"some value" */
static void put_pairs(struct text *t, const char *s)
{
	while (*s) {
		size_t key = strcspn(s, "="), len;
		const char *value = s + key;

		if (!*value)
			return;
		value++;
		put_str(t, ",");
		put_json(t, s, key);
		put_str(t, ":");
		if (*value == '"') {
			value++;
			len = strcspn(value, "\"");
			s = value + len + (value[len] == '"');
		} else {
			len = strcspn(value, " ");
			s = value + len;
		}
		put_json(t, value, len);
		s += strspn(s, " ");
	}
}

void log_line(enum log_level level, const char *module, const char *event, const char *kv, ...)
{
	struct text t = {.len = 0};
	char pairs[768];
	va_list ap;

	if (level > log_max)
		return;
	va_start(ap, kv);
	vsnprintf(pairs, sizeof(pairs), kv, ap);
	va_end(ap);
	if (log_json) {
		put_str(&t, "{\"level\":");
		put_json(&t, level_names[level], strlen(level_names[level]));
		put_str(&t, ",\"module\":");
		put_json(&t, module, strlen(module));
		put_str(&t, ",\"event\":");
		put_json(&t, event, strlen(event));
		put_pairs(&t, pairs);
		put_str(&t, "}");
	} else {
		put_str(&t, level_names[level]);
		put_str(&t, " ");
		put_str(&t, module);
		put_str(&t, ": ");
		put_str(&t, event);
		if (pairs[0]) {
			put_str(&t, " ");
			put_str(&t, pairs);
		}
	}
	t.buf[t.len++] = '\n';
	if (write(STDERR_FILENO, t.buf, t.len) < 0)
		return; /* nobody reads: nothing to be done */
}
