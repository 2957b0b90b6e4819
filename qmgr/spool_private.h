/* What spool.c and spool_recover.c share. */
#ifndef POSTINO_SPOOL_PRIVATE_H
#define POSTINO_SPOOL_PRIVATE_H

#include "qmgr/hash.h"
#include "qmgr/spool_file.h"
#include "qmgr/spool_writer.h"

struct settling;

/* A message on disk. */
struct spool_entry {
    struct hash_node node; /* key: the id */
    uint64_t tail;         /* where the next SETTLE goes */
    uint64_t size;         /* of the body */
    uint32_t body_crc;
    struct settling *settling; /* what gathers for it; NULL: nothing */
};

struct spool {
    int directory;
    struct spool_writer *writer;
    struct hash entries, parts;
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
};

struct spool_entry *spool_entry_find(const struct spool *, uint64_t id);
void spool_entry_add(struct spool *, uint64_t id, uint64_t tail, uint64_t size, uint32_t body_crc);
void spool_entry_forget(struct spool *, uint64_t id);
/* Moves msg/XX/ID to bad/, with an error line. */
void spool_set_aside(struct spool *, uint64_t id, const char *why);

/* spool_recover.c */
int spool_check_version(int directory, struct error *);

#endif
