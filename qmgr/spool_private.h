/* What the files of the spool share. */
#ifndef POSTINO_SPOOL_PRIVATE_H
#define POSTINO_SPOOL_PRIVATE_H

#include "qmgr/hash.h"
#include "qmgr/log_store.h"
#include "qmgr/pool.h"
#include "qmgr/spool_file.h"
#include "qmgr/spool_writer.h"

struct settling;

/* What gathers for one message before it is written. */
struct settling {
    struct settling *next;
    uint64_t id;
    uint64_t due;        /* to be flushed by then */
    uint64_t not_before; /* after a failure */
    struct buf states;
    size_t compact_at; /* octets of them */
    bool append;       /* the file was to be written anew, and that failed */
    bool remove;
    bool makes_room; /* a removal that did not fail before */
};

/* A message on disk. There may be a million. */
struct spool_entry {
    struct hash_node node;     /* key: the id */
    struct settling *settling; /* what gathers for it; NULL: nothing */
    uint64_t size;             /* of the body */
    union {
        uint64_t tail; /* in a file of its own: where the next SETTLE goes */
        struct {
            uint32_t offset, settled; /* in the log: of its MSG, and of its last SETTLE */
        };
    };
    uint32_t body_crc;
    uint8_t segment, settled_segment; /* segment LOG_NOWHERE: in a file of its own */
    bool in_flight : 1;               /* something about it is with the writer: nothing else goes there */
    bool unreadable : 1;              /* in the log, at the start: a copy of it in a file may be the only one */
};

struct spool {
    int directory;
    struct spool_writer *writer;
    struct hash entries, parts;
    struct pool entry_pool;
    struct spool_ops waiting, running, answers; /* not yet given to the writer; with it; done, to be answered */
    struct spool_ops held;                      /* no room for them, until what was asked for before is done */
    uint64_t coming;                            /* octets that were let in, and are not written yet */
    size_t removals;                            /* asked for, and not done */
    bool busy;                                  /* the writer has `running` */
    bool hurry;                                 /* settlements don't gather */
    struct settling *settlings, **settlings_end;
    size_t settling_count;
    uint64_t settle_at; /* monotonic milliseconds when the first of them is due; 0: none */
    uint64_t free_least, free_octets, free_checked;
    uint64_t last_id;
    struct log log;
    bool recovered;            /* the log may be written */
    struct spool_ops controls; /* MOVE and FORGET, to be written again */
    uint64_t reclaim_at;       /* monotonic milliseconds: not before */
    unsigned last_retired;
};

struct spool_entry *spool_entry_find(const struct spool *, uint64_t id);
void spool_entry_add(struct spool *, uint64_t id, uint64_t tail, uint64_t size, uint32_t body_crc);
void spool_entry_forget(struct spool *, uint64_t id);
/* spool_read.c: moves msg/XX/ID to bad/, with an error line. */
void spool_set_aside(struct spool *, uint64_t id, const char *why);

static inline bool spool_entry_in_log(const struct spool_entry *e)
{
    return e->segment != LOG_NOWHERE;
}
static inline struct log_place spool_entry_place(const struct spool_entry *e)
{
    return (struct log_place){.segment = e->segment, .offset = e->offset};
}
static inline struct log_place spool_entry_settled(const struct spool_entry *e)
{
    return (struct log_place){.segment = e->settled_segment, .offset = e->settled};
}
void spool_entry_add_log(struct spool *, uint64_t id, struct log_place, uint64_t size, uint32_t body_crc);
struct spool_op *spool_op_new(enum spool_op_kind, uint64_t id, spool_done_fn *, void *arg);
uint64_t spool_monotonic(void);                                                     /* milliseconds */
struct spool_op *spool_forget_record(struct spool *, uint64_t id, uint8_t segment); /* a REMOVE in the log, soon */
void spool_part_failed(struct spool *, uint64_t id, int status);                    /* a piece of that body: the rest of it is refused */

/* spool_room.c */
/* It goes to the writer, or waits for room; false: there is none, and it is the caller's. */
bool spool_admit(struct spool *, struct spool_op *);
void spool_refuse(struct spool *, struct spool_op *, int status); /* its answer */
void spool_try_held(struct spool *);                              /* the removals that they waited for are done, or some of them */

/* spool_done.c */
void spool_collect(struct spool *); /* from the writer, if it is ready */
void spool_answer(struct spool *);

/* spool_settle.c */
struct settling *spool_settling_of(struct spool *, struct spool_entry *);
void spool_settling_add(struct settling *, struct span states);   /* behind what gathered */
void spool_settling_older(struct settling *, struct span states); /* in front of it */
void spool_settle_again(struct spool *, struct spool_op *);
void spool_settle_by(struct spool *, uint64_t when);
void spool_landed(struct spool *, struct spool_entry *); /* nothing about it is with the writer any more: what gathered may go */

/* spool_batch.c */
void spool_batch_start(struct spool *);
bool spool_anything_to_write(const struct spool *);
void spool_move_done(struct spool *, struct spool_op *);
void spool_remove_done(struct spool *, struct spool_op *);

#endif
