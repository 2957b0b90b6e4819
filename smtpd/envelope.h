/* envelope: sender and recipients of the transaction that is under way, gathered until the message is handed to qmgr. */
#ifndef POSTINO_SMTPD_ENVELOPE_H
#define POSTINO_SMTPD_ENVELOPE_H

#include "common/messages.h"

/* When it is to be delivered, and how soon: as PUT has it (common/messages.def). */
struct times {
    uint64_t release, deliver_by;
    uint16_t by_mode, mt_priority;
    bool lowered; /* the priority: it is less than was asked for */
};

struct envelope {
    bool open;         /* MAIL was accepted */
    bool binary;       /* BODY=BINARYMIME (RFC 3030) */
    bool utf8;         /* SMTPUTF8 (RFC 6531) */
    bool requiretls;   /* REQUIRETLS (RFC 8689) */
    uint32_t accepted; /* RCPTs that were answered with 250 */
    uint32_t refused;
    struct buf sender; /* "" for the null reverse-path */
    struct buf envid;  /* RFC 3461, decoded */
    enum ret ret;
    struct times times;
    struct buf prepend;    /* header lines that rules of `access` want in front of it, each with CR LF */
    bool hold;             /* such a rule wants it held in the queue, or a limit an hour does */
    bool too_much;         /* its login has sent twice what it may in an hour */
    struct buf first;      /* the first accepted recipient, as the client said it */
    struct buf recipients; /* encoded record_recipient, without doubles */
    uint32_t count;
    /* private: an open-addressed table of where in `recipients` a record begins, plus one */
    uint32_t *slots;
    uint32_t slot_count;
};

void envelope_open(struct envelope *, struct span sender);
void envelope_close(struct envelope *); /* back to nothing; all memory is freed */

/* What a client asks for one recipient (RFC 3461). */
struct wishes {
    uint16_t notify;   /* enum notify bits */
    struct span orcpt; /* decoded, printable ASCII; "" when none */
};

/* Adds what route made of the recipient that the client called `said`. All of them have its wishes; those that route gave another address
 * have `said` for their ORCPT, if the client told none (RFC 3461 5.2.7). A recipient that is there already (same address, same route)
 * is not added again; it is reported on where one of the two wishes so. False, with nothing added, when the envelope would get too large
 * for a frame. */
bool envelope_add(struct envelope *, struct span said, struct wishes, struct list routed);
/* The sender in the form in which every host takes it, as route knows it; only of one that is beyond ASCII. */
void envelope_sender(struct envelope *, struct span ascii);
struct list envelope_recipients(const struct envelope *);
/* Whole header lines with CR LF, as route sent them; what is none is left out, and so is a line that is there already (rules are asked for
 * each recipient). */
void envelope_prepend(struct envelope *, struct span lines);

#endif
