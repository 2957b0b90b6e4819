/* job: one DELIVER of qmgr's, from its arrival to its RESULT: the message, its recipients, and what became of each.
 *
 * Every recipient is decided exactly once (asserted). The job copies what it needs of the frame, and owns the descriptor. */
#ifndef POSTINO_JOB_H
#define POSTINO_JOB_H

#include "common/channel.h"
#include "delivery/downgrade.h"
#include "delivery/reply.h"
#include "delivery/said.h"

struct job_recipient {
    struct span address;
    struct span orcpt; /* RFC 3461, decoded */
    uint16_t notify;
    uint16_t verdict; /* enum verdict; 0: undecided */
    bool chosen;      /* part of the transaction under way */
    bool accepted;    /* by its server */
    char status[STATUS_MAX];
    char *words; /* what goes into outcome.reply; while undecided: why it was refused before it was put off, or NULL */
};

/* By what of our own it went, for the RESULT. */
struct job_origin {
    const char *source; /* title; NULL: none */
    enum own_failure own;
};

struct job {
    struct job *next;        /* in the queue of its site */
    struct channel *channel; /* NULL: the asker is gone, nobody wants the result */
    uint32_t request;
    uint64_t id;
    struct span transport; /* of its recipients: "smtp", "smtps" or "lmtp"; empty: the first has another one */
    bool has_8bit;
    bool binary;       /* BODY=BINARYMIME: not of lines, and for BDAT alone (RFC 3030) */
    bool require_tls;  /* RFC 8689: it goes to no host that was not proved, and does not keep the same promise */
    bool tls_optional; /* its sender would rather have it delivered than held back by what the receiver publishes (RFC 8689 5) */
    bool needs_utf8;   /* SMTPUTF8, for all recipients: its sender or its header; a recipient beyond ASCII needs it for itself */
    bool second;       /* a host blamed the address that it came from: it is tried over the other family */
    bool answered;     /* ... where a host has replied: that is the last word */
    bool fresh_only;   /* a session that was used or idle before broke under it: it gets a new one */
    struct span sender;
    struct span envid; /* RFC 3461, decoded */
    uint16_t ret;
    uint64_t deliver_by;           /* seconds since 1970, if by_mode says so (RFC 2852) */
    uint16_t by_mode, mt_priority; /* as in DELIVER */
    uint32_t session_messages;     /* the most that its session may carry */
    struct job_origin origin;
    struct job_recipient *recipients;
    size_t count, undecided;
    struct span body; /* the whole of it when fd is -1 */
    int fd;
    uint64_t offset, size;
    struct downgrade *downgrade; /* NULL until a host could not take the message as it is; then what has to be done is known */
    enum downgrade_verdict downgrade_verdict;
    struct said said;
    char *memory;
};

/* Copies the question; takes m->fd. NULL: out of memory, or more recipients than a RESULT can have (the descriptor is closed). Recipients
 * with another transport than these, or another than the first one's, and addresses that are none, are decided at once. */
struct job *job_new(struct channel *, const struct message *, uint32_t session_messages /* unless the question has a number that can be */);

/* `words` are cut and made printable. */
void job_decide(struct job *, size_t recipient, enum verdict, const char *status, struct span words);
void job_decide_rest(struct job *, enum verdict, const char *status, struct span words);

/* Refused, unless another answer comes. */
void job_put_off(struct job *, size_t recipient, const char *status, struct span words);
void job_refusals_stand(struct job *); /* none came: those that were put off have failed */

/* Sends the RESULT, unless nobody wants it, and frees the job. All recipients must be decided. */
void job_finish(struct job *, bool site_failed, struct span peer, struct span security);
void job_free(struct job *); /* without a RESULT */

#endif
