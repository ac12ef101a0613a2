/*
 * model.h - what junctiond knows and wants: functions, replicas, secrets, namespaces. The heart of the daemon.
 *
 * Desired state is in SQLite and is committed before a call returns success. Each call here is made under
 * model_lock(), by any thread; none blocks for longer than a commit. Requests and answers are the JSON of
 * OpenFaaS (FunctionDeployment, FunctionStatus, ...), so that the HTTP layer in front only carries them.
 *
 *   api.c (HTTP) --+
 *                  +--> model.c --> db.c (SQLite)
 *   link.c  -------+       |
 *                          +--> reconcile.c --> zygote client, image store
 */
#ifndef JUNCTIOND_MODEL_H
#define JUNCTIOND_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* How a call ended: an HTTP status and, for people, one line of text. */
struct reply {
	int status; /* 200, 202, 400, 404, 409, 500, 507 */
	char text[512];
};

void model_lock(void);
void model_unlock(void);

/* FunctionDeployment: POST (update false: 202; 409 exists? no: as faasd, deploys over it) and PUT (404 if absent). */
void model_deploy(const json_t *deployment, bool update, struct reply *r);
/* {functionName, namespace} */
void model_delete(const char *name, const char *ns, struct reply *r);
/* replicas >= 0, within the function's maximum. */
void model_scale(const char *name, const char *ns, int64_t replicas, struct reply *r);
/* FunctionStatus, or an array of them; new references. NULL: no such function or namespace (r says which). */
json_t *model_function(const char *name, const char *ns, bool usage, struct reply *r);
json_t *model_functions(const char *ns, struct reply *r);
/* {provider: {name, version: {...}}, ...} as OPENFAAS.md. */
json_t *model_info(void);

/* Secrets: names match [-a-zA-Z_0-9.]+; values are bytes. create false: must exist. */
void model_secret_set(const char *name, const char *ns, const void *value, size_t len, bool create, struct reply *r);
void model_secret_delete(const char *name, const char *ns, struct reply *r);
json_t *model_secrets(const char *ns, struct reply *r); /* [{name, namespace}] */

json_t *model_namespaces(void);
json_t *model_namespace(const char *ns, struct reply *r);
void model_namespace_set(const char *ns, const json_t *body, bool create, struct reply *r);
void model_namespace_delete(const char *ns, struct reply *r);

/*
 * Images: a sealed image is taken into the image store under its manifest's name (or `name`, NAME:TAG). Value: its
 * digest as hex in r->text (200). The file is copied; path must be readable by junctiond.
 */
void model_image_add(const char *path, const char *name, struct reply *r);
json_t *model_images(void); /* [{name, tag, digest, size, created, in_use}] */
void model_image_remove(const char *ref, struct reply *r);

/* For `junction ps` and logs: [{function, namespace, id, pid, addr, port, state, restarts, started, times_ns{...}, memory}] */
json_t *model_replicas(const char *name, const char *ns);
/* Where the zygote writes the log of a replica: path into buf; function and namespace checked. -1: none. */
int model_log_dir(const char *name, const char *ns, char *buf, size_t len);

#endif
