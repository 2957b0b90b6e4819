/* site: a next hop, its TLS mode, and the route and source by which it is reached; the jobs that wait for it, and the sessions that are open to it.
 *
 *   DELIVER --> an idle session takes the job at once
 *           `-> else it waits in the queue, and one more session is opened, perhaps with the connection of another site's idle one (reuse.c).
 *               Whichever session of the site is free first takes it.
 *
 * So as many sessions are being opened as jobs wait, never more than qmgr lets out at a time. A session that can't be had takes one waiting
 * job with it. */
#ifndef POSTINO_SITE_H
#define POSTINO_SITE_H

#include "common/tlspolicy.h"
#include "conf/proxy_spec.h"
#include "delivery/job.h"
#include "delivery/nexthop.h"

struct session;

struct site {
    struct site *next; /* in its bucket */
    /* "nexthop", "smtps:nexthop" or "lmtp:nexthop", NUL, "!" where TLS is required, "route", NUL, "source", NUL, "hosts", NUL, "tls" */
    char *key;
    size_t key_length;
    struct nexthop nexthop;
    const struct settings_route *route;   /* whose settings hold for its sessions, of remote.settings; NULL: none */
    const struct settings_source *source; /* as qmgr chose; NULL: none */
    struct proxy_spec proxy;              /* the route's */
    enum tlspolicy tls;
    bool lmtp;
    bool implicit;            /* smtps: TLS from the first byte (RFC 8314 3.3), before the greeting; nothing goes there without */
    bool require_tls;         /* for jobs with REQUIRETLS alone: its sessions are proved, and their servers offer it */
    struct span fingerprints; /* in key, as is */
    struct span hosts;        /* as in DELIVER */
    struct job *first, **last;
    size_t waiting, opening;
    struct session *idle; /* newest first */
    struct said said;     /* by a host whose session is given up, to the job that goes with it */
    size_t sessions;
};

/* Delivers the job, sooner or later, as the question says. A next hop or TLS mode that is none is the job's end. A route or source that is not in our
 * slice defers it: qmgr has another configuration for as long as a reload takes, and mail must not go out without what they demand. */
void site_deliver(struct job *, const struct message_deliver *);

/* The waiting job that this session may have, or NULL. */
struct job *site_take(struct site *, uint64_t messages /* that the session had already */, bool fresh /* it was never idle */);
bool site_has(const struct site *, uint64_t messages); /* there is one, for a session that was idle */
/* A session that was used or idle before broke under the job: it waits for a fresh one, ahead of the others. */
void site_give_back(struct site *, struct job *);
/* A part of its recipients is decided: it waits for a transaction with the others, ahead of all jobs, in this session or another. */
void site_go_on(struct site *, struct job *);
/* Why a session could not be had: the end of one waiting job, unless enough other sessions are still being opened. */
void site_unreachable(struct site *, enum verdict, const char *status, struct span words, bool site_failed, struct span peer,
                      const struct job_origin *);
/* To be called when a session opened, ended, or left a job: opens what is missing, forgets a site that has nothing. The site may be gone
 * after it. */
void site_settle(struct site *);

/* The asker is gone: jobs that wait are dropped. (Those in sessions: sessions_orphan().) */
void sites_orphan(const struct channel *);
size_t sites_waiting(void);
struct span site_name(const struct site *); /* the next hop as it was written */

#endif
