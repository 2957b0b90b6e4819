/* log_format: the octets of a log segment (docs/spool.md): its header, and the headers of its batches. Records are spool_format's. */
#ifndef POSTINO_LOG_FORMAT_H
#define POSTINO_LOG_FORMAT_H

#include "qmgr/spool_format.h"

#define LOG_BLOCK         4096 /* a batch begins on one: no flush rewrites a sector that holds committed data */
#define LOG_HEADER        64   /* octets of a segment's and of a batch's header */
#define LOG_HEADER_COPY   2048 /* where the segment's header stands a second time */
#define LOG_ALIGN         64   /* of records in a batch */
#define LOG_SEGMENT_LEAST (16 * LOG_BLOCK)
#define LOG_SEGMENT_MOST  ((uint32_t)64 << 20) /* recovery holds one of them in memory */

/* One use of a segment. */
struct log_segment_header {
    uint32_t number; /* of the file */
    uint32_t size;
    uint64_t epoch;  /* of this use: grows with each, over all segments */
    uint64_t key;    /* random, in every header of this use: what a sender wrote into a body can't pass for one */
    uint64_t first;  /* sequence of its first batch */
    uint64_t oldest; /* segments of an older epoch hold nothing alive */
};

struct log_batch_header {
    uint64_t epoch, key;
    uint64_t sequence; /* grows by one a batch, over all segments */
    uint64_t oldest;
    uint32_t length; /* octets, this header included, up to the end of the last record */
    uint32_t count;  /* records */
};

void log_segment_encode(const struct log_segment_header *, unsigned char out[LOG_BLOCK]);
bool log_segment_decode(const unsigned char in[LOG_BLOCK], struct log_segment_header *); /* either copy */
void log_batch_encode(const struct log_batch_header *, unsigned char out[LOG_HEADER]);
bool log_batch_decode(const unsigned char in[LOG_HEADER], struct log_batch_header *);

static inline uint64_t log_aligned(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

#endif
