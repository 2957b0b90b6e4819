/* spool_file: one message's file: where it is, and whether it is whole. */
#ifndef POSTINO_SPOOL_FILE_H
#define POSTINO_SPOOL_FILE_H

#include "qmgr/spool_format.h"

#define SPOOL_PATH 32
enum spool_place { SPOOL_IN_MSG, SPOOL_IN_TMP, SPOOL_IN_BAD };

void spool_path(char out[SPOOL_PATH], enum spool_place, uint64_t id);
unsigned spool_shelf(uint64_t id); /* XX of msg/XX, 0..255 */
void spool_shelf_path(char out[SPOOL_PATH], unsigned shelf);

enum spool_file_verdict {
    SPOOL_FILE_GOOD,
    SPOOL_FILE_INCOMPLETE, /* its writing never ended: nobody was told that it is here */
    SPOOL_FILE_BAD,        /* complete, and wrong */
    SPOOL_FILE_FOREIGN,    /* no regular file */
    SPOOL_FILE_UNREADABLE  /* the disk fails: says nothing about the file */
};

struct spool_file {
    struct spool_envelope envelope; /* points into `rest` and `recipients` */
    struct spool_state *states;     /* envelope.recipients.count; point into `rest` */
    uint32_t body_crc;
    uint64_t tail;   /* where the next SETTLE goes: behind the last good record */
    bool torn;       /* something that is no record lies behind it */
    const char *why; /* when it is not good */
    char *rest;
    struct buf recipients;
};

/* Reads and checks all of it (the body only for its checksum). Fill nothing, free it whatever the verdict. */
enum spool_file_verdict spool_file_load(int fd, uint64_t id, struct spool_file *);
enum spool_file_verdict spool_file_load_envelope(int fd, uint64_t id, struct spool_file *); /* without a look at the body */
void spool_file_free(struct spool_file *);
/* Decodes the envelope that stands at the start of f->rest; nobody is settled. */
enum spool_file_verdict spool_file_decode(struct spool_file *, const struct spool_record *);

#endif
