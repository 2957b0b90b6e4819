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
 * its report; one that was delivered is WAITING on disk with that verdict, and only the report is made again.
 *
 * Mail that waits is in memory as a struct mail, or parked (park.c): whoever wants it finds it by mail_find() all the same. */
#ifndef POSTINO_QUEUE_H
#define POSTINO_QUEUE_H

#include "common/log.h"
#include "common/peer.h"
#include "common/queueid.h"
#include "conf/settings.h"
#include "qmgr/bounce.h"
#include "qmgr/hash.h"
#include "qmgr/orders.h"
#include "qmgr/schedule.h"
#include "qmgr/spool.h"

#define BODIES_MOST ((size_t)64 << 20) /* of small bodies kept in memory until they go out */
#define REASON_MOST 512

struct recipient {
    uint64_t due;
    uint32_t offset;   /* of its record in the envelope */
    uint32_t attempts; /* by its present way */
    uint16_t verdict;  /* when DONE; before that VERDICT_DEFERRED once the sender was told of the delay */
    uint8_t state;     /* enum recipient_state */
    uint8_t untold;    /* enum bounce_kind: what the sender does not know yet; 0: nothing */
    uint8_t telling;   /* what the report that is being made says */
    bool rerouted;     /* its way is another than its envelope's on disk */
    uint8_t over;      /* enum bounce_over */
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
    struct spool_times times;
    struct span flow, sender, envid; /* into `texts` */
    struct list recipients;
    char *texts;
    char *body; /* NULL: only on disk */
    struct delivery *deliveries;
    struct mail *check_next;
    struct mail *line_next, *line_prev; /* those that may be parked */
    size_t octets;                      /* of memory, about */
    uint32_t count, done, active, untold, ungranted;
    bool deleted : 1, checked : 1, report_open : 1;
    bool warns : 1; /* `warning` is in the wheel */
    bool in_line : 1;
    bool loose : 1; /* read to be looked at: not in the queue */
    bool held : 1;
    uint8_t priority; /* enum priority; UNSET: as the envelope's flags say */
    struct recipient rcpt[];
};

enum job_kind { JOB_OF_DELIVERY, JOB_OF_PARKED }; /* job.kind */

/* Recipients of one mail that go the same way. */
struct delivery {
    struct job job;
    struct delivery *next, *prev; /* of the mail */
    struct mail *mail;
    uint32_t question; /* to dns, while it resolves */
    bool resolving;    /* its site is not known yet: it is in line for the resolver */
    bool granted, hurried;
    uint32_t since; /* ACTIVE: when it was granted, seconds since 1970 */
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
    size_t octets; /* of mail in memory, without bodies and what is parked */
    size_t active; /* deliveries that were granted */
    size_t storing;
    bool reports_wait;          /* some report could not be made, and is tried again */
    uint64_t next_id, first_id; /* first_id: where this process began */
    struct peer *remote, *lmtp, *local, *dns, *route;
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
struct mail *mail_find(uint64_t id); /* what is parked is read back; NULL: there is none, or it can't be read (an error line says so) */
bool mail_here(uint64_t id);         /* nothing is read */
void mail_park(uint64_t id);         /* if it is in memory, may be parked, and there is more than limit.queue_memory */
/* To be looked at: what is parked stays so. Give it back before anything else happens. */
const struct mail *mail_look(uint64_t id);
void mail_looked(const struct mail *);
struct mail *mail_restore(const struct spool_envelope *, const struct spool_state *); /* in no table; without deliveries */
void mail_recipient(const struct mail *, uint32_t index, struct record_recipient *);
void mail_set_recipients(struct mail *, struct span records); /* instead of its own, as many */
uint64_t mail_expires(const struct mail *);                   /* seconds since 1970 */
uint64_t mail_began(const struct mail *);                     /* the same: when it came, or was to be released: from then on it is late */
uint64_t queue_began(uint64_t arrived /* microseconds */, const struct spool_times *);
uint64_t queue_expires(uint64_t began, bool null_sender);
void mail_check(struct mail *);  /* look at the end of this turn whether it is finished, or a report is due */
void mail_forget(struct mail *); /* out of the queue and out of memory; the spool is not touched */
void mail_settle(struct mail *, uint32_t index);
struct spool_state mail_state(const struct mail *, uint32_t index, bool told); /* as it is settled; told: its sender knows */
void queue_recover(const struct spool_envelope *, const struct spool_state *, size_t count, void *arg); /* a spool_each_fn */
void queue_check_all(void);
void queue_look_again(void); /* once a second: reports that had to wait */
/* Makes mail durable, then queues it. `done` is called as the spool answers. Takes nothing. */
void queue_put(const struct spool_envelope *, struct span last_piece, uint64_t size, spool_done_fn *done, void *arg);
/* The same for a report; `states` of the mail that it is about become durable with it. */
void queue_put_report(const struct spool_envelope *, struct span body, const struct spool_state *states, size_t count, spool_done_fn *done,
                      void *arg);
uint64_t queue_lease(uint32_t count); /* the first of so many ids */

/* deliver_make.c */
void delivery_make_all(struct mail *); /* for all its recipients that wait */

/* deliver.c */
void delivery_link(struct delivery *); /* a new one, to its mail */
void delivery_free(struct delivery *);
void delivery_queue(struct delivery *, uint64_t due); /* puts it (again) into the schedule */
void delivery_pump(void);                             /* grants what may go */
void delivery_hurry(struct delivery *, uint64_t now);
/* Puts a job into the schedule, at the recipient's site. True: that is not known yet, and this is the line for the resolver. What is not to be
 * released yet has a line of its own. */
bool delivery_place(struct job *, const struct record_recipient *, struct span flow, uint64_t due, uint64_t release);
/* For a mail that was read back: one delivery of all its recipients that wait, which gets the job's place in the schedule. False: other recipients
 * wait than those of the job. */
bool delivery_adopt(struct mail *, struct job *, bool resolving, bool hurried);

/* Hands a granted delivery to the program that delivers it, to go from that source (NULL: the system chooses). A message that can't be read is deferred. */
void delivery_send(struct delivery *, const struct settings_source *);

/* grant.c */
/* Of a job of remote's that the schedule has just granted: sends it from the source whose turn it is, or puts it back into the schedule. */
void grant_to_remote(struct delivery *, const struct record_recipient *, uint64_t now);
/* A delivery failed for a source or a proxy of ours, and the next host has done nothing: who is to blame is ill from now on. When it is tried again: at once, by
 * another source if there is one. */
uint64_t grant_own_failure(const struct site *, const struct message_result *, uint64_t now);

/* park.c */
void park_start(uint64_t now);  /* seconds since 1970; before anything else */
void park_later(struct mail *); /* it may be parked when nothing moves */
void park_leave(struct mail *);
void park_now(struct mail *); /* if it may be */
void park_turn(uint64_t now); /* once a second */
/* At a start: false: it is not one that can be parked. `due`: of its only recipient. */
bool park_recovered(const struct spool_envelope *, const struct spool_state *, uint64_t due);
struct delivery *park_delivery(struct job *); /* of an ACTIVE job; NULL: it can't be delivered now, and that has been seen to */
struct mail *park_find(uint64_t id);          /* into the queue again; NULL: it is not parked, or can't be read */
struct mail *park_read(uint64_t id);          /* a loose copy */
bool park_has(uint64_t id);
const struct site *park_site(uint64_t id); /* where its job is; NULL: it is not parked */
size_t park_count(void);
size_t park_ids(uint64_t *out /* room for park_count() */);
bool park_hurry(uint64_t id, uint64_t now); /* it stays parked; false: it is not, or it is held */
bool park_expired(struct job *, uint64_t now);
void park_reconfigure(void);

/* hold.c: what an administrator said about a message, kept in its states on disk (spool_state.orders). `flags`: the envelope's. */
bool mail_hold(struct mail *);    /* false: it is held already */
bool mail_release(struct mail *); /* false: it is not */
void mail_set_priority(struct mail *, enum priority);
enum priority mail_priority(const struct mail *);
uint16_t mail_orders(const struct mail *);
void mail_restore_orders(struct mail *, const struct spool_state *);
void delivery_prioritize(struct delivery *); /* before it is added to the schedule */
void delivery_hold(struct delivery *);       /* if its mail is; after it was added */

/* ways.c */
/* Gives recipients that wait other ways: `ways` are their records. They are due now. How many: who is no longer waiting stays as he is. */
uint32_t mail_set_ways(struct mail *, const uint32_t *indexes /* growing */, struct list ways);
bool ways_of_states(struct list recipients, const struct spool_state *, struct buf *out); /* false: no state has one; nothing is added */
void way_add(const struct record_recipient *, struct buf *);                              /* "smtp:[192.0.2.1]:25" */
void way_to_state(const struct mail *, uint32_t index, struct spool_state *);             /* if it has another than its envelope's */

/* site.c */
bool site_known(struct span nexthop, struct span tls, struct buf *name); /* false: the resolver must be asked */
void site_resolve(struct delivery *);
void site_waiting_name(struct span nexthop, struct buf *name);
bool site_is_release(const struct site *); /* the line of mail whose time has not come (RFC 4865) */
void site_forget_all(void);
void site_forget(struct span nexthop); /* its hosts are asked for when they are needed next */
/* Whether an administrator who says `text` means the site (or line) of that name: by the name, a host, a domain above all its hosts, or a domain
 * whose mail goes there, as far as that is known. */
bool site_is(struct span name, struct span text);
/* Looks for a site that is `text`, at some of them: *at begins with 0, and moves on. True: there are more to look at, and none was found. */
bool site_look_for(struct span text, size_t *at, bool *there);
/* All mail that waits for sites that are `text` (or, if none is, where any route of that domain leads) is due now, and those that are dead get a probe. How
 * many jobs; *sites: how many sites. */
size_t site_flush(struct span text, size_t *sites);
/* The same for a next hop, but only where `may` says so of the site's name. */
typedef bool site_may_fn(struct span name);
size_t site_flush_limited(struct span nexthop, site_may_fn *may);
void site_each_line(void (*each)(struct span domain, void *arg), void *arg); /* domains that have a line for the resolver */
struct site *site_limited(struct span name);                                 /* of the scheduler, with the limits that hold for it */
void site_turn(uint64_t now);                                                /* once a second */
void site_reconfigure(void); /* there are other settings: what is known is forgotten, and sites get their limits anew */
void site_tick(void);        /* each second */
/* Whether the recipient is in the wrong line, as its route has got limits since it was put into it, or has none any more. */
bool site_moved(struct span name, const struct record_recipient *);

/* outcome.c */
struct outcome {
    uint16_t verdict;
    bool no_attempt; /* it is not counted as one: the next host had no part in it */
    struct span status, reply, peer, security, source;
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

/* shaping.c: rules on what next hosts say (docs/scheduler.md) */
void shaping_start(void); /* when there is a schedule */
/* Of a delivery that has come back and is still in the scheduler. True: the host said what a rule is for, which then is all that its failure
 * means for the site. */
bool shaping_heard(const struct delivery *, const struct message_result *);

/* deadline.c: RFC 2852 */
bool deadline_passed(const struct mail *, uint64_t now); /* it is to be returned, and not delivered any more */
void deadline_reached(struct mail *, uint64_t now);      /* if so: what is not under way is returned */
void deadline_return(struct delivery *, uint64_t now);   /* of such a mail, or one whose life is over; it must be out of the scheduler */
bool deadline_tells(const struct mail *);                /* its sender wants to be told at the deadline; it had not passed when it came */

/* report.c */
void report_owe(struct mail *, uint32_t index, enum bounce_kind); /* the sender is to be told; 0: not any more */
void report_start(struct mail *);

/* warning.c */
void warning_start(uint64_t now); /* seconds since 1970; before anything else */
void warning_add(struct mail *);  /* it came into the queue */
void warning_remove(struct mail *);
void warning_turn(uint64_t now);                 /* once a second */
void warning_reconfigure(void);                  /* there are other settings */
bool warning_wanted(const struct mail *);        /* by a recipient who waits, and whose sender was not warned yet */
void warning_visit(struct mail *, uint64_t now); /* it is due */
/* When something has to be done about a message that waits: its warning, its deadline, or its end if it stands in line. `wanted`: a warning is. */
uint64_t warning_or_end(uint64_t began, bool null_sender, bool wanted); /* of one without a deadline */
uint64_t warning_or_deadline(const struct spool_times *, uint64_t arrived /* microseconds */, bool null_sender, bool wanted);

/* etrn.c */
enum flush_code etrn_flush(struct span domain, bool below /* too */, size_t *count);

/* intake.c, admin.c */
void intake_connect(int fd, const char *role /* "smtpd", or "sts": its reports alone */);
void admin_listen(int fd);
void admin_resolve(const struct settings *); /* names to uids: before the sandbox */

#endif
