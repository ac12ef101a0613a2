/*
 * pcap.c - capture in the classic format with nanoseconds (draft-ietf-opsawg-pcap, section 4).
 *
 * Frames of instances are captured as they hand them over: segmentation offload gives frames longer
 * than the MTU, with checksums not yet finished.
 */
#include "junctiond/scheduler/pcap.h"

#include <stdio.h>
#include <time.h>

#include "junctiond/scheduler/log.h"
#include "junctiond/scheduler/scheduler.h"

#define SNAP 65535u
#define LINKTYPE_ETHERNET 1u

static FILE *file;
static uint64_t left;
static uint64_t epoch_ns; /* CLOCK_REALTIME - CLOCK_MONOTONIC */

int pcap_start(const char *path, uint64_t limit)
{
	const struct {
		uint32_t magic;
		uint16_t major, minor;
		uint32_t zone, accuracy, snap, link;
	} head = {0xa1b23c4d, 2, 4, 0, 0, SNAP, LINKTYPE_ETHERNET};
	struct timespec ts;

	file = fopen(path, "we");
	if (!file)
		return -1;
	clock_gettime(CLOCK_REALTIME, &ts);
	epoch_ns = (uint64_t)ts.tv_sec * 1000000000u + ts.tv_nsec - now_ns();
	left = limit > sizeof(head) ? limit - sizeof(head) : 0;
	if (fwrite(&head, sizeof(head), 1, file) != 1 || fflush(file)) {
		pcap_stop();
		return -1;
	}
	return 0;
}

void pcap_frame(const struct iovec *iov, unsigned niov, uint32_t len)
{
	uint32_t take = len < SNAP ? len : SNAP;
	struct {
		uint32_t sec, ns, captured, len;
	} rec;
	uint64_t t;

	if (!file)
		return;
	if (sizeof(rec) + take > left) {
		log_line(LOG_WARN, "pcap", "file is full", "limit=%llu",
			 (unsigned long long)config.pcap_limit);
		pcap_stop();
		return;
	}
	left -= sizeof(rec) + take;
	t = now_ns() + epoch_ns;
	rec.sec = (uint32_t)(t / 1000000000u);
	rec.ns = (uint32_t)(t % 1000000000u);
	rec.captured = take;
	rec.len = len;
	fwrite(&rec, sizeof(rec), 1, file);
	for (unsigned i = 0; i < niov && take; i++) {
		size_t n = iov[i].iov_len < take ? iov[i].iov_len : take;

		fwrite(iov[i].iov_base, 1, n, file);
		take -= n;
	}
	if (ferror(file)) {
		log_line(LOG_WARN, "pcap", "file cannot be written; capture ends", "%s", "");
		pcap_stop();
	}
}

void pcap_flush(void)
{
	if (file)
		fflush(file);
}

void pcap_stop(void)
{
	if (file)
		fclose(file);
	file = NULL;
}
