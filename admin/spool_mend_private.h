/* What spool_mend.c and spool_mend_log.c share. */
#ifndef POSTINO_SPOOL_MEND_PRIVATE_H
#define POSTINO_SPOOL_MEND_PRIVATE_H

#include "admin/spool_mend.h"

struct mend_work {
    enum finding_remedy remedy;
    uint64_t offset;
    char *file;
};

struct mend {
    int directory;
    const struct mend_calls *calls;
    struct error *error;
    struct mend_work *work; /* what the survey found */
    size_t count, room;
    bool log; /* something of it is for REMEDY_LOG */
    long done;
};

#define MEND_PATH 320

__attribute__((format(printf, 3, 4))) void mend_did(struct mend *, const char *file, const char *fmt, ...);
/* The rest: 0, or -1 with the error. */
int mend_flush_directory(struct mend *, const char *path);
/* Renames the file to bad/`name`, or bad/`name`.1...; durable. */
int mend_aside(struct mend *, const char *path, const char *directory, const char *name);
/* Makes bad/`name`, or bad/`name`.1...; the descriptor, or -1. */
int mend_create_aside(struct mend *, const char *name, char path[MEND_PATH]);
/* Octets from one file to the end of another. `crc` may be NULL. */
int mend_copy(struct mend *, int from, uint64_t offset, uint64_t n, int to, uint64_t at, uint32_t *crc, const char *path);
int mend_log(struct mend *);

#endif
