/*
 * port.h - the uplink: one DPDK port, or none.
 */
#ifndef JUNCTION_SCHEDULER_PORT_H
#define JUNCTION_SCHEDULER_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "junctiond/scheduler/frame.h"

struct rte_mbuf;

#define PORT_BURST 32u

/*
 * Starts DPDK with the uplink that `spec` names (tap:NAME, af_xdp:IFACE, pci:ADDR) and opens it. 0,
 * or -1 with one line in `err`. NULL: no uplink, and no DPDK.
 */
int port_open(const char *spec, char *err, unsigned err_size);
void port_close(void);
bool port_present(void);

/* Up to PORT_BURST frames that arrived, to be freed by the caller. */
unsigned port_rx(struct rte_mbuf *frames[PORT_BURST]);
/* Queues one frame, which is taken over; sent by port_flush() at the latest. */
void port_tx(struct rte_mbuf *m);
/* Sends what is queued. True if anything was. */
bool port_flush(void);

/* An empty packet buffer, or NULL. */
struct rte_mbuf *port_alloc(void);
void port_free(struct rte_mbuf *m);
/* Gathers n bytes into a fresh packet buffer, or NULL. */
struct rte_mbuf *port_copy(const struct iovec *iov, unsigned niov, uint32_t len);

/* Did the hardware find the transport checksum of this frame right? False: nobody has looked. */
bool port_csum_good(const struct rte_mbuf *m);
/* Points iov at the frame's bytes. Pieces, at most max, else 0; *len: all bytes. */
unsigned port_iov(const struct rte_mbuf *m, struct iovec *iov, unsigned max, uint32_t *len);

/* The descriptor that becomes readable when a frame arrives, or -1: the uplink must be polled. */
int port_event_fd(void);
/* Asks for an interrupt with the next frame, or takes that back. */
void port_events(bool enable);

#endif
