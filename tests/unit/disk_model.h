/* disk_model: a disk for the spool's tests. It is a directory of small files, seen through a table of system calls that keeps beside each file
 * what of it is durable. power_cut() throws a die for every sector and every name that is not: it is as it was, or as it was going to be. So what
 * was not flushed is lost, torn or comes in any order. */
#ifndef POSTINO_TEST_DISK_MODEL_H
#define POSTINO_TEST_DISK_MODEL_H

#include "qmgr/disk.h"

#include <stdbool.h>
#include <stddef.h>

struct shadow {
    char path[32];
    unsigned char *durable;
    size_t size;
    unsigned char *replaced; /* what it was before another was renamed to it, until its directory is flushed */
    size_t replaced_size;
    bool there, named; /* now, and after a cut for sure */
};

struct media {
    struct shadow files[1000];
    size_t count;
    unsigned calls, fail_at, flushes, names; /* fail_at: from this call on nothing works; 0: never */
    bool once, lying;                        /* only this call; flushes do nothing */
    bool no_files;                           /* none can be made in msg/: ENOSPC */
    bool reads;                              /* reading calls count and fail as well */
    bool changes;                            /* only calls that change the disk count: where a cut can make a difference */
    unsigned records[6], in_files;           /* written to the log, by type; settlements in files */
    unsigned shelves;
    int error;
    char bad_path[32]; /* a file with an octet that can't be read */
    uint64_t bad_at;
    uint64_t capacity; /* octets of files; 0: as many as wanted */
};

extern struct media media;
extern const struct disk_ops media_ops;
extern char root_path[64];
extern int root_fd;
extern uint64_t dice;

unsigned throw_dice(unsigned n); /* 0 to n - 1 */
void power_cut(void);            /* what is left is durable */
void forget_media(void);
/* All that is durable, and it again. */
void media_save(void);
void media_restore(void);
bool media_dead(void);  /* the call at which it dies has come */
void media_again(void); /* it works, and counts from 0 */

#endif
