/* spool_script: what the spool's tests ask of it, what they were promised, and whether that is kept. */
#ifndef POSTINO_TEST_SPOOL_SCRIPT_H
#define POSTINO_TEST_SPOOL_SCRIPT_H

#include "qmgr/spool.h"
#include "tests/unit/disk_model.h"

#define SEGMENT  65536
#define MESSAGES 200
#define LARGE    300000 /* octets of the largest body */
#define ID(n)    (((uint64_t)0x123456 << 20) + (n))
#define TOLD     77 /* attempts that only a settlement which came with a report says */

/* What this test knows of each message: what it was promised, and what it asked for. In memory that a child shares with its parent. */
struct known {
    int status; /* -2: not put; -1: not answered */
    size_t octets;
    uint64_t parent;
    bool removed;
    uint32_t attempts; /* the last that was asked for */
    bool found;
    uint32_t found_attempts;
};
extern struct known *known; /* MESSAGES of them */
extern struct spool *spool;

/* For each test: a root of its own; again(): the same, empty. */
int fresh(void **state);
int end(void **state);
void again(void);

long open_spool(const struct disk_ops *); /* and recovers; messages found */
int try_spool(const struct disk_ops *);   /* the same, and may fail: then spool is NULL, and -1 */
void close_spool(void);
void wait_for_log(void);
void turn(int milliseconds);
void turn_until(const int *status);

void put_later(uint64_t n, size_t octets, uint64_t parent);
void put_pieces(uint64_t n, size_t octets); /* three of them; answered */
int put(uint64_t n, size_t octets);
void defer(uint64_t n);
void take_out(uint64_t n);
bool has_file(uint64_t n);
bool body_good(uint64_t n);

/* Mail of all sizes comes, also in pieces, is deferred once and often, told about and taken out, over more segments than may be in use. Ends
 * when the disk is dead. */
void run_script(uint64_t seed);

/* After a restart. lost: acknowledged, and not there as it was sent; wrong: not acknowledged, and half there, or a settlement that nobody asked
 * for; half: a report without its settlement, or the other way round, though both are in the log. */
struct damage {
    unsigned lost, wrong, half;
};
struct damage check_all(unsigned at);
bool no_damage(struct damage);
/* After an orderly end: messages whose settlements or removals are not there. */
unsigned unsettled(void);

/* With SPOOL_LONG both are 1. */
unsigned stride(void);
unsigned step(unsigned steps, unsigned most); /* so that of so many steps at most so many are taken, evenly */

#endif
