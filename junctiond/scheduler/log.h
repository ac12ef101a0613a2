/*
 * log.h - the one log function: level, module, what happened, key=value.
 *
 *     info control: attached name=web id=3 ip=10.200.0.2
 *     {"level":"info","module":"control","event":"attached","name":"web",...}     --log-format=json
 */
#ifndef JUNCTION_SCHEDULER_LOG_H
#define JUNCTION_SCHEDULER_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines above this level are not written. */
extern enum log_level log_max;
extern bool log_json;

/*
 * Writes one line to stderr. `kv` is a format of space-separated key=value pairs; a value that
 * holds spaces is put in double quotes by the caller and must hold no double quote. Texts from
 * clients are cleaned first.
 */
void log_line(enum log_level level, const char *module, const char *event, const char *kv, ...)
	__attribute__((format(printf, 4, 5)));

#endif
