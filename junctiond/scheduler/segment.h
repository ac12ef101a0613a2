/*
 * segment.h - makes frames that any wire carries of those that instances hand over.
 */
#ifndef JUNCTION_SCHEDULER_SEGMENT_H
#define JUNCTION_SCHEDULER_SEGMENT_H

#include "junctiond/scheduler/frame.h"
#include "junctiond/scheduler/stats.h"

struct rte_mbuf;

/*
 * Copies a frame that frame_offload() passed, cut into segments if it asks for that, checksums
 * finished, and hands each to emit(), which takes it over. Returns their number; *wanted: what it
 * should have been, more if packet buffers ran out.
 */
unsigned segment_frame(const struct frame *f, unsigned *wanted, void (*emit)(struct rte_mbuf *m));

#endif
