/* spool_format: the octets of the spool's records (docs/spool.md), encoded and decoded. Decoders are doors: whatever they accept is well
 * formed. */
#ifndef POSTINO_SPOOL_FORMAT_H
#define POSTINO_SPOOL_FORMAT_H

#include "qmgr/spool.h"

#define SPOOL_VERSION        2 /* of the directory; 1 had no log */
#define SPOOL_RECORD_VERSION 1
#define SPOOL_RECORD_HEADER  64
#define SPOOL_REST_MOST      ((uint32_t)64 << 20) /* envelope, settlement */

/* The last three stand only in the log. TOLD: a SETTLE that means nothing without the report, whose MSG stands right before it. */
enum spool_record_type { SPOOL_MSG = 1, SPOOL_SETTLE = 2, SPOOL_REMOVE = 3, SPOOL_MOVED = 4, SPOOL_TOLD = 5 };

struct spool_record {
    uint16_t type;
    uint64_t id;
    uint64_t offset; /* of the record in its file */
    uint64_t body;   /* octets */
    uint32_t body_crc;
    uint32_t rest; /* octets of what follows the body: the envelope, or the settled states */
    uint32_t rest_crc;
    uint64_t previous; /* in the log, SETTLE: where the message's SETTLE before this one stands; 0: none */
    uint64_t key;      /* in the log: the segment's; else 0 */
};

void spool_record_encode(const struct spool_record *, unsigned char out[SPOOL_RECORD_HEADER]);
bool spool_record_decode(const unsigned char in[SPOOL_RECORD_HEADER], struct spool_record *);

void spool_envelope_encode(const struct spool_envelope *, struct buf *out);
/* Spans point into `in`; `recipients` gets the list's records. The size is not part of it. */
bool spool_envelope_decode(struct span in, uint64_t id, struct spool_envelope *, struct buf *recipients);

void spool_state_encode(const struct spool_state *, struct buf *out);
/* Any number of encoded states, each put in its place of `states`, which has `count`. */
bool spool_states_decode(struct span in, struct spool_state *states, size_t count);
/* It differs from what a recipient that was never settled has: it must be kept when a message is written anew. */
bool spool_state_says(const struct spool_state *);
/* Leaves the last of each recipient. Without memory for that all stay. */
void spool_states_compact(struct buf *);

#endif
