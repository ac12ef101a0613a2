/*
 * pcap.h - writes the frames that come to the switch into a file that tcpdump and Wireshark read.
 */
#ifndef JUNCTION_SCHEDULER_PCAP_H
#define JUNCTION_SCHEDULER_PCAP_H

#include <stdint.h>
#include <sys/uio.h>

/* Opens the file, cut to nothing; it grows to at most `limit` bytes. 0, or -1 with errno. */
int pcap_start(const char *path, uint64_t limit);
/* A frame of `len` bytes. Costs one comparison while no file is open. */
void pcap_frame(const struct iovec *iov, unsigned niov, uint32_t len);
/* Hands what is buffered to the kernel. */
void pcap_flush(void);
void pcap_stop(void);

#endif
