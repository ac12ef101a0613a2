/*
 * gro.h - generic receive offload: consecutive TCP segments of a flow become one large frame.
 *
 * Pure: over struct frame and memory. What is put together are segments that differ in nothing but
 * sequence number, length, identification, checksum and PSH, and whose checksums are right; the
 * result says NEEDS_CSUM (the checksum field holds that of the pseudo-header), as a segment of
 * an instance does.
 */
#ifndef JUNCTION_SCHEDULER_GRO_H
#define JUNCTION_SCHEDULER_GRO_H

#include "junctiond/scheduler/frame.h"

#define GRO_MAX_SEGMENTS 32u

struct gro {
	struct frame f; /* the first segment, its payload followed by those of the others */
	unsigned n;	/* segments; 0: empty */
	uint32_t next_seq;
	bool checked; /* the first one's checksum has been verified */
	bool closed;  /* no segment can follow */
};

/*
 * Begins with a parsed frame of one contiguous piece at `data`, which must stay there. `good`: the
 * device has verified its checksum. False: not a segment that another can be added to.
 */
bool gro_start(struct gro *g, const struct frame *f, const uint8_t *data, bool good);

/* Adds the next segment, likewise. False: it does not follow; g is as before. */
bool gro_add(struct gro *g, const struct frame *f, const uint8_t *data, bool good);

/* Writes the headers of the whole into g->f, which is then ready to be received by an instance. */
void gro_finish(struct gro *g);

#endif
