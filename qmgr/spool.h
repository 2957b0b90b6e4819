/* spool: the messages on disk. The only code that touches them; only qmgr links it.
 *
 * Everything that changes the disk is asked for and answered later (group commit): requests gather while one flush is under way on a helper
 * thread, and one flush serves all that wait. An answer comes from spool_turn(), on the caller's thread.
 *
 *   spool_put      durable before its answer is 0: body and envelope, whole, will be there after a power cut.
 *   spool_settle   what became of recipients; gathered for at most a second. A crash in between repeats deliveries, and loses none.
 *
 * The format is docs/spool.md. A record that does not check out (CRC) is set aside under bad/ with a log line, and never served. Errors are
 * errno values. */
#ifndef POSTINO_SPOOL_H
#define POSTINO_SPOOL_H

#include "common/messages.h"

struct spool;

/* When it is to be delivered, and how soon; seconds since 1970, 0: not said. */
struct spool_times {
    uint32_t release;    /* not before (RFC 4865) */
    uint32_t deliver_by; /* the deadline (RFC 2852), if by_mode says one */
    uint8_t by_mode;     /* enum by_mode bits */
    uint8_t mt_priority; /* RFC 6710: the number and MT_PRIORITY_ZERO; 0: not given */
};

/* The envelope as it was PUT; spans are valid during the call that has it. */
struct spool_envelope {
    uint64_t id;
    uint64_t arrived; /* microseconds since 1970 */
    uint64_t size;    /* octets of the body */
    uint64_t parent;  /* a report: the id it is about; else 0 */
    uint16_t ret, flags;
    struct spool_times times;
    struct span flow, sender, envid;
    struct list recipients; /* of record_recipient */
};

/* The state of one recipient, as settled last. A recipient that was never settled is WAITING, due at once, 0 attempts. */
struct spool_state {
    uint32_t index;   /* in the envelope's recipients */
    uint16_t state;   /* enum recipient_state; ACTIVE never stands on disk */
    uint16_t verdict; /* when DONE: enum verdict */
    uint32_t attempts;
    uint64_t due; /* seconds since 1970 */
    struct span status, reason;
    uint16_t orders;                              /* what an administrator said: hold.c's */
    struct span transport, nexthop, mailbox, tls; /* of one that waits, instead of its record's; transport empty: none of them */
};

typedef void spool_done_fn(int status /* 0 or an errno */, void *arg);

/* The way that the recipient has by its state, if that has one. */
void spool_state_way(const struct spool_state *, struct record_recipient *);

/* Opens the spool in `directory` (which stays the caller's), makes what is missing, refuses a version that is newer. New mail gets ENOSPC
 * when less than free_least octets are free. spool_fd() gets readable when spool_turn() should be called. */
struct spool *spool_open(int directory, uint64_t free_least, struct error *);
void spool_close(struct spool *); /* flushes what is gathered, waits, and answers */
void spool_free_least(struct spool *, uint64_t octets);
int spool_fd(const struct spool *);
void spool_turn(struct spool *); /* once a turn of the event loop, and once a second: starts a flush if something waits and none is under
                                    way; answers */
bool spool_idle(const struct spool *);
void spool_settle_now(struct spool *); /* those that gather go with the next batch */
void spool_hurry(struct spool *);      /* settlements need not gather any longer (a stop) */

/* Calls `each` once for every message that has a recipient who is not DONE. Returns the number, -1 on error. Highest id seen:
 * spool_last_id(). To be called once, before anything is put. */
typedef void spool_each_fn(const struct spool_envelope *, const struct spool_state *, size_t count, void *arg);
long spool_recover(struct spool *, spool_each_fn *, void *arg, struct error *);
uint64_t spool_last_id(const struct spool *);
bool spool_has(const struct spool *, uint64_t id); /* false: also when it was found damaged and set aside */
/* The ids of all there is, in pieces of so many, about, and in no order: hash_walk(). What is being put may be among them. */
bool spool_walk(const struct spool *, size_t *at, size_t most, void (*each)(uint64_t id, void *arg), void *arg);
size_t spool_gathered(const struct spool *); /* messages of which settlements gather: each turn of the spool looks at them all */
bool spool_settled(const struct spool *, uint64_t id); /* nothing about it gathers or is being written: spool_envelope() knows all */
/* Octets of a segment of the log that is made from now on; 0: none is. Without this call it is what the disk has room for, up to 64 MiB. */
void spool_log_size(uint32_t octets);
bool spool_log_ready(const struct spool *); /* else small mail goes to files of its own for now */

/* A body may come in pieces; the pieces of an id are dropped with spool_drop(), or become a message with spool_put(). Each must be answered
 * before the next. */
void spool_append(struct spool *, uint64_t id, struct span piece, spool_done_fn *, void *arg);
void spool_drop(struct spool *, uint64_t id);
bool spool_has_part(const struct spool *, uint64_t id); /* pieces of it are there, and no message yet */
/* `last` is the (rest of the) body; the size is what came, whatever the envelope says. EEXIST: the id is in use. After any error nothing is
 * left of it. */
void spool_put(struct spool *, const struct spool_envelope *, struct span last, spool_done_fn *, void *arg);
/* The same for a report about e->parent: `states` of its recipients, who are told by it, become durable with it or not at all (if either is in
 * a file of its own: behind it, so that a crash in between repeats the report, and never loses it). If it fails they are as before. Nothing
 * else may be settled about these recipients before it is answered. */
void spool_put_settling(struct spool *, const struct spool_envelope *, struct span last, const struct spool_state *states, size_t count,
                        spool_done_fn *, void *arg);
void spool_settle(struct spool *, uint64_t id, const struct spool_state *states, size_t count);
void spool_remove(struct spool *, uint64_t id); /* all recipients are DONE; what was settled and not yet flushed goes with it */

/* Reading: the envelope with its states (as flushed), a piece of the body, or a read-only descriptor with the body's offset in it.
 * -EBADMSG: it was damaged since it was taken in; it has been set aside, and is no longer in the spool. A body that is read in one piece is
 * checked; that of spool_envelope() is not. */
int spool_envelope(struct spool *, uint64_t id, spool_each_fn *, void *arg, struct error *);
long spool_read(struct spool *, uint64_t id, uint64_t offset, void *to, size_t n); /* octets, 0 at the end, -errno */
int spool_body(struct spool *, uint64_t id, uint64_t *offset, uint64_t *size);     /* a descriptor, or -errno */

#endif
