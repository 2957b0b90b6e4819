/* queue: the mail that is here, in memory, and what the files of qmgr share.
 *
 *   intake, report --put--> spool --durable--> queue --deliveries--> schedule --grant--> remote, local --RESULT--> outcome
 *                                                                                                                     |
 *            removed <-- all told and settled <-- report (a bounce, durable) <-- failed recipients <------------------+
 *
 * A recipient:
 *
 *   WAITING --granted--> ACTIVE --relayed, delivered, failed, too old--> DONE, untold --report durable, or none wanted--> DONE
 *      ^                   |
 *      +---- deferred -----+         and once, after queue.delay_warning: WAITING, untold --report durable--> WAITING, warned
 *
 * DONE is settled on disk only when nobody needs to be told any more. A crash before that repeats the attempt of a failed recipient, and
 * its report; one that was delivered is WAITING on disk with that verdict, and only the report is made again. */
#ifndef POSTINO_QUEUE_H
#define POSTINO_QUEUE_H

#include "common/log.h"
#include "common/peer.h"
#include "common/queueid.h"
#include "conf/settings.h"
#include "qmgr/bounce.h"
#include "qmgr/hash.h"
#include "qmgr/schedule.h"
#include "qmgr/spool.h"

#define BODIES_MOST ((size_t)64 << 20) /* of small bodies kept in memory until they go out */
#define REASON_MOST 512

struct recipient {
    uint64_t due;
    uint32_t offset; /* of its record in the envelope */
    uint32_t attempts;
    uint16_t verdict; /* when DONE; before that VERDICT_DEFERRED once the sender was told of the delay */
    uint8_t state;    /* enum recipient_state */
    uint8_t untold;   /* enum bounce_kind: what the sender does not know yet; 0: nothing */
    uint8_t telling;  /* what the report that is being made says */
    char status[12];
    char *reason; /* NULL: none yet */
    char *peer;   /* who said so, until it is told */
};

struct delivery;

struct mail {
    struct hash_node node; /* key: the id */
    uint64_t arrived;      /* microseconds */
    uint64_t size;
    uint64_t parent;
    uint64_t report_at; /* not before, after a report could not be made */
    struct wheel_item warning;
    uint16_t ret, flags;
    struct span flow, sender, envid; /* into `texts` */
    struct list recipients;
    char *texts;
    char *body; /* NULL: only on disk */
    struct delivery *deliveries;
    struct mail *check_next;
    uint32_t count, done, active, untold, ungranted;
    bool deleted, checked, report_open;
    bool warns; /* `warning` is in the wheel */
    struct recipient rcpt[];
};

/* Recipients of one mail that go the same way. */
struct delivery {
    struct job job;
    struct delivery *next, *prev; /* of the mail */
    struct mail *mail;
    uint32_t question; /* to dns, while it resolves */
    bool resolving;    /* its site is not known yet: it is in line for the resolver */
    bool granted, hurried;
    uint32_t count;
    uint32_t index[];
};

struct queue {
    const struct settings *settings;
    struct spool *spool;
    struct schedule *schedule;
    struct hash mails;
    struct mail *checks;
    size_t bodies; /* octets of bodies in memory */
    size_t active; /* deliveries that were granted */
    size_t storing;
    bool reports_wait;          /* some report could not be made, and is tried again */
    uint64_t next_id, first_id; /* first_id: where this process began */
    struct peer *remote, *local, *dns, *route;
};
extern struct queue queue;

uint64_t queue_now(void); /* seconds since 1970 */
uint64_t queue_now_us(void);
static inline uint64_t mail_id(const struct mail *m)
{
    return m->node.key;
}
#define ID_TEXT(id) (queueid_format(id).text)

/* queue.c */
struct mail *mail_find(uint64_t id);
void mail_recipient(const struct mail *, uint32_t index, struct record_recipient *);
uint64_t mail_expires(const struct mail *); /* seconds since 1970 */
void mail_check(struct mail *);             /* look at the end of this turn whether it is finished, or a report is due */
void mail_forget(struct mail *);            /* out of the queue and out of memory; the spool is not touched */
void mail_settle(struct mail *, uint32_t index);
struct spool_state mail_state(const struct mail *, uint32_t index, bool told); /* as it is settled; told: its sender knows */
void queue_recover(const struct spool_envelope *, const struct spool_state *, size_t count, void *arg); /* a spool_each_fn */
void queue_check_all(void);
void queue_look_again(void); /* once a second: reports that had to wait */
/* Makes mail durable, then queues it. `done` is called as the spool answers. Takes nothing. */
void queue_put(const struct spool_envelope *, struct span last_piece, uint64_t size, spool_done_fn *done, void *arg);
/* The same for a report; `states` of the mail that it is about become durable with it. */
void queue_put_report(const struct spool_envelope *, struct span body, const struct spool_state *states, size_t count, spool_done_fn *done, void *arg);
uint64_t queue_lease(uint32_t count); /* the first of so many ids */

/* deliver.c */
void delivery_make_all(struct mail *); /* for all its recipients that wait */
void delivery_free(struct delivery *);
void delivery_queue(struct delivery *, uint64_t due); /* puts it (again) into the schedule */
void delivery_pump(void);                             /* grants what may go */
void delivery_hurry(struct delivery *, uint64_t now);

/* site.c */
bool site_known(struct span nexthop, struct span tls, struct buf *name); /* false: the resolver must be asked */
void site_resolve(struct delivery *);
void site_waiting_name(struct span nexthop, struct buf *name);
void site_forget_all(void);

/* outcome.c */
struct outcome {
    uint16_t verdict;
    struct span status, reply, peer, security;
};
/* What became of one recipient of a delivery. A deferred one waits until `due`, or has failed if it is too old. */
void outcome_apply(struct mail *, uint32_t index, const struct outcome *, uint64_t due, uint64_t now);
/* The same for all recipients of a delivery; those that wait are scheduled again; frees the delivery if none does. It must be out of the
 * scheduler. */
void outcome_apply_all(struct delivery *, const struct outcome *, uint64_t due);
void outcome_finish(struct delivery *, uint64_t due);
uint64_t outcome_due(const struct delivery *); /* when its recipients would be tried again */

/* After a failure of a dead site: its mail that is too old fails with that. */
void delivery_fail_stranded(struct site *, const struct outcome *);

/* report.c */
void report_owe(struct mail *, uint32_t index, enum bounce_kind); /* the sender is to be told; 0: not any more */
void report_start(struct mail *);

/* warning.c */
void warning_start(uint64_t now); /* seconds since 1970; before anything else */
void warning_add(struct mail *);  /* it came into the queue */
void warning_remove(struct mail *);
void warning_turn(uint64_t now); /* once a second */
void warning_reconfigure(void);  /* there are other settings */

/* intake.c, admin.c */
void intake_connect(int fd);
void admin_listen(int fd);
void admin_resolve(const struct settings *); /* names to uids: before the sandbox */

#endif
