/* log_recover: finds the log's segments, and gives all records that count, in the order in which they were written. */
#ifndef POSTINO_LOG_RECOVER_H
#define POSTINO_LOG_RECOVER_H

#include "qmgr/log_store.h"

/* What is met on the way that is not as it was written. The scan goes on with what is readable. */
enum log_note_kind {
    LOG_NOTE_DAMAGED,     /* between `from` and `to`; `count` records in there check out, and were given */
    LOG_NOTE_UNREADABLE,  /* `count` blocks */
    LOG_NOTE_SHORT,       /* `from` octets are there, of `to` */
    LOG_NOTE_HEADER,      /* both copies of its header; the batches are read without it */
    LOG_NOTE_HEADER_COPY, /* one of them; the other counts */
    LOG_NOTE_NOTHING,     /* nothing in it can be read as a segment */
    LOG_NOTE_FOREIGN,     /* no regular file */
    LOG_NOTE_END          /* nothing wrong: behind `from` no batch counts; `count`: 1 if a later segment follows, else 0 */
};
struct log_note {
    enum log_note_kind kind;
    unsigned slot;
    uint64_t from, to;
    unsigned count;
    const unsigned char *data; /* DAMAGED, END: the segment's first `to` octets, during the call */
};

/* `rest`: what follows the body. Every checksum is right; the fields in it are not looked at. */
typedef void log_each_fn(const struct spool_record *, struct span rest, struct log_place, void *arg);
/* -1: the log can't be read at all. Damage is told to log->note, and what is readable counts. */
int log_scan(struct log *, log_each_fn *, void *arg, struct error *);
/* After it, and after log->size was chosen: frees what holds nothing, and removes what has another size. */
void log_settle_in(struct log *);
/* The record at an offset of a segment that is in memory, all of it checked; 0: there is none, else its octets. */
uint64_t log_record_at(const unsigned char *data, uint64_t size, uint64_t offset, uint64_t key, struct spool_record *);

#endif
