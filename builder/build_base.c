/*
 * build_base.c - the files that every program expects, for an image that has none of its own.
 */
#include <stdio.h>
#include <string.h>

#include "builder/build.h"

static const struct {
	const char *path;
	uint32_t mode;
} dirs[] = {
	{"/proc", 0555}, {"/sys", 0555}, {"/dev", 0755}, {"/run", 0755}, {"/tmp", 01777},
	{"/root", 0700}, {"/var/tmp", 01777}, {"/etc", 0755},
};

static const struct {
	const char *path, *text;
} files[] = {
	{"/etc/group", "root:x:0:\nnogroup:x:65534:\n"},
	{"/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
			       "networks: files\nprotocols: files\nservices: files\n"},
	{"/etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"},
	{"/etc/resolv.conf", "# written when the instance is connected to a network\n"},
};

int build_base_files(struct build *b, struct err *e)
{
	char passwd[256];
	int n;

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		if (!tree_lookup(&b->tree, dirs[i].path, true) &&
		    !tree_mkdir(&b->tree, dirs[i].path, dirs[i].mode, e))
			return -1;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (!tree_lookup(&b->tree, files[i].path, false) &&
		    !tree_put(&b->tree, files[i].path, 0644, files[i].text, strlen(files[i].text), e))
			return -1;
	if (tree_lookup(&b->tree, "/etc/passwd", false))
		return 0;
	n = snprintf(passwd, sizeof(passwd),
		     "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n");
	if (b->uid && b->uid != 65534)
		n += snprintf(passwd + n, sizeof(passwd) - n, "app:x:%u:%u:app:/:/bin/sh\n", b->uid, b->gid);
	return tree_put(&b->tree, "/etc/passwd", 0644, passwd, n, e) ? 0 : -1;
}
