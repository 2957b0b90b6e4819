/* log_store: the segments of the hot log, and how a batch gets into one.
 *
 *   (no file) --slices of zeros--> GROWING --whole, flushed--> FREE --rotation--> OPEN --no room--> FULL --nothing alive in it or before--> FREE
 *                                                               |write or flush failed
 *                                                               v
 *                                                            RETIRED: read, never written again
 *
 *   RETIRED, or FULL and of another size than new ones --nothing alive in it or before--> SPENT --a flushed batch has said so--> removed
 *
 * One owner at a time: the writing thread while a batch is under way, the spool's thread otherwise. Nothing here locks. */
#ifndef POSTINO_LOG_STORE_H
#define POSTINO_LOG_STORE_H

#include "qmgr/log_format.h"
#include "qmgr/spool_file.h"
#include "qmgr/spool_writer.h"

#define LOG_SLOTS  64 /* files there may be */
#define LOG_MOST   16 /* with mail in them; the others are for what frees these, should a life begin without a free one */
#define LOG_WANTED 6  /* that there are, unless all are full and none can be freed */
#define LOG_IN_USE 4  /* with mail in them; beyond that the oldest is reclaimed */
#define LOG_PATH   16

enum log_segment_state { LOG_NONE, LOG_GROWING, LOG_FREE, LOG_OPEN, LOG_FULL, LOG_RETIRED, LOG_SPENT, LOG_FOREIGN };

struct log_segment {
    enum log_segment_state state;
    int fd;
    uint32_t size;
    uint64_t epoch, key, first; /* of its present or last use */
    bool unreadable;            /* a part of it, at the start: it is set aside when it is free */
    size_t alive;               /* messages whose MSG stands here, and whose end is not durable */
    uint64_t *ids;              /* that were put here, for reclaim */
    size_t id_count, id_room, id_next;
};

struct log_note;
typedef void log_note_fn(const struct log_note *, void *arg);

struct log {
    int directory;
    log_note_fn *note; /* is told what log_scan() meets; NULL: the program's log is */
    void *note_arg;
    bool read_only;
    uint32_t size; /* of new segments; 0: there is no log */
    struct log_segment segments[LOG_SLOTS];
    int open;                 /* its slot; -1: none */
    uint32_t at;              /* where the next batch goes in it */
    uint64_t epoch, sequence; /* of the next use, of the next batch */
    uint64_t oldest_durable;  /* what the last flushed batch said */
    uint32_t grown;           /* octets of the growing segment */
    bool grow;                /* the thread is to write the next slice */
    int grow_status;
    uint64_t grow_again; /* monotonic milliseconds: not before */
    struct buf batch;
    unsigned retired; /* in this life */
};

void log_init(struct log *, int directory, uint32_t size);
void log_free(struct log *);
void log_path(char out[LOG_PATH], unsigned slot);
bool log_in_use(const struct log_segment *);
int log_oldest(const struct log *); /* the slot in use with the lowest epoch; -1: none */
unsigned log_count(const struct log *, enum log_segment_state);
unsigned log_count_in_use(const struct log *);

/* Room for records in the next batch. */
struct log_room {
    uint64_t octets; /* 0: there is none */
    bool rotate;     /* the batch begins a segment */
    bool last;       /* there is no segment behind this one yet */
};
struct log_room log_room(const struct log *, uint64_t least);
uint64_t log_record_octets(uint64_t body, uint64_t rest);
uint64_t log_largest(const struct log *); /* octets of records that fit into a segment */

void log_add_id(struct log *, unsigned slot, uint64_t id); /* a MSG that stands there */
/* Frees segments, oldest first, in which nothing is alive. */
void log_release(struct log *);
void log_remove_file(struct log *, unsigned slot);

/* On the thread. Writes and flushes the log's operations of a batch (op->log); sets their places, or their status. */
void log_commit(struct log *, struct spool_ops *, bool rotate);
/* Makes a slice of the next segment. */
void log_grow(struct log *);

/* Reads a message from the log: its envelope, and its states by the chain of SETTLE records that ends at `settled`. torn: a link of the chain
 * is damaged, and states before it are not known. With `raw` the body is read too. Spans point into the spool_file. */
struct log_raw {
    struct buf body;
    struct span envelope; /* encoded */
};
enum spool_file_verdict log_load(const struct log *, uint64_t id, struct log_place at, struct log_place settled, struct spool_file *,
                                 struct log_raw *raw);

uint64_t log_place_encode(struct log_place);
struct log_place log_place_decode(uint64_t);

#endif
