/* messages: the typed frames between Postino's programs, generated from messages.def.
 *
 * A frame is: u32 length (of all that follows the header), u16 type, u16 flags (1: a descriptor travels with it), u32 request id; then the
 * fields in the order of the definition: u16, u32, u64 little endian; text and bytes as u32 length and the octets; a list as u32 count,
 * u32 length and its records. Nothing may follow the last field.
 *
 * message_decode() is the door: whatever it accepts is well formed, texts have no NUL, CR or LF, lists have been walked once. Spans point
 * into the frame. */
#ifndef POSTINO_MESSAGES_H
#define POSTINO_MESSAGES_H

#include "common/buf.h"
#include "common/error.h"

#include <stdint.h>

#define FRAME_HEADER             12
#define FRAME_MAX                ((size_t)4 << 20) /* 10,000 recipients, or a body of BODY_INLINE_MAX */
#define BODY_INLINE_MAX          ((size_t)256 << 10)
#define ENVELOPE_RECIPIENTS_MOST 20000 /* of one PUT */

/* Sets of messages; an edge speaks one or more of them. */
enum protocol {
    PROTOCOL_CONTROL,
    PROTOCOL_SMTPD_ROUTE,
    PROTOCOL_ROUTING,
    PROTOCOL_SMTPD_AUTH,
    PROTOCOL_SMTPD_QMGR,
    PROTOCOL_QMGR_DELIVERY,
    PROTOCOL_RESOLVING,
    PROTOCOL_ROUTE_DNS,
    PROTOCOL_STS_DNS,
    PROTOCOL_REMOTE_STS,
    PROTOCOL_REMOTE_CREDS,
    PROTOCOL_ADMIN_QMGR,
    PROTOCOL_LOCAL_WORKER,
    PROTOCOL_SMTPD_TLSMGR
};
enum side { SIDE_CLIENT, SIDE_SERVER };

/* Values of u16 fields. They are also what stands in the spool: never renumber. */
enum notify { NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8 };
enum ret { RET_UNSET, RET_FULL, RET_HDRS };
enum envelope_flags {
    ENVELOPE_8BIT = 1,
    ENVELOPE_SMTPUTF8 = 2,
    ENVELOPE_BOUNCE = 4, /* a report made here */
    ENVELOPE_HIGH = 8,   /* priority, as the listener gave it; neither: normal */
    ENVELOPE_LOW = 16,
    ENVELOPE_HOLD = 32,         /* a rule of `access` or a limit an hour wants it held until an administrator releases it */
    ENVELOPE_BINARY = 64,       /* BODY=BINARYMIME (RFC 3030): lines need not end with CR LF; for BDAT alone */
    ENVELOPE_REQUIRETLS = 128,  /* RFC 8689: TLS, verified, at each hop, or it is returned */
    ENVELOPE_TLS_OPTIONAL = 256 /* "TLS-Required: No" (RFC 8689 5): what its receiver publishes need not be held to */
};
/* What is done at a message's deadline (RFC 2852): one of the first two. */
enum by_mode { BY_RETURN = 1, BY_NOTIFY = 2, BY_TRACE = 4 };
enum own_failure { OWN_NONE, OWN_SOURCE /* its address is not to be had */, OWN_PROXY /* of the route */,
    OWN_DOMAIN /* what a domain says of itself: other hosts than it is known for, none, or more than they hold */,
    OWN_ROOM /* of the program that delivers: no descriptor for the message */ };
enum flush_code { FLUSH_DONE = 1, FLUSH_TOO_SOON };
#define MT_PRIORITY_ZERO 10 /* RFC 6710 has -9 to 9 */
#define MT_PRIORITY_MOST 19
enum verdict {
    VERDICT_DELIVERED = 1,
    VERDICT_RELAYED,
    VERDICT_DEFERRED,
    VERDICT_FAILED,
    VERDICT_PASSED_ON, /* relayed, and the duty to report with it (DSN) */
    VERDICT_TRACED,    /* relayed, and RFC 2852 wants its sender to know: he asked for a trace, or the deadline did not go along */
    VERDICT_IN_DOUBT   /* deferred, and may have been taken: no reply came to the end of the message (RFC 1047) */
};
enum said_at { SAID_NOTHING, SAID_AT_FIRST /* greeting, EHLO, HELO, STARTTLS */, SAID_TO_MAIL, SAID_TO_RCPT, SAID_TO_TEXT };
enum recipient_state { RECIPIENT_WAITING = 1, RECIPIENT_ACTIVE, RECIPIENT_DONE };
enum priority { PRIORITY_UNSET, PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW };
enum order_kind { ORDER_RETRY = 1, ORDER_DELETE, ORDER_HOLD, ORDER_RELEASE, ORDER_PRIORITY, ORDER_FLUSH, ORDER_REROUTE };
enum auth_verdict {
    AUTH_YES = 1,
    AUTH_NO,
    AUTH_NOT_NOW,
    AUTH_MORE,      /* a challenge: the client is asked to go on */
    AUTH_MALFORMED, /* not what the mechanism says */
    AUTH_UNOFFERED, /* no such mechanism here */
    AUTH_REFUSED,   /* nothing was looked at: too many failures from that network */
    AUTH_BUSY       /* the same: too many to that account, from everywhere */
};
enum used { USED_FITS, USED_HOLD, USED_REFUSE /* twice as much */ };
enum resolve_want { /* without RESOLVE_MX the name itself is the one host */
                    RESOLVE_MX = 1,
                    RESOLVE_ADDRESSES = 2,
                    RESOLVE_LISTING = 4, /* IPv4 addresses alone, whatever `address_family` says: RFC 5782 */
                    RESOLVE_TLSA = 8     /* with ADDRESSES: what DANE has for each host */
};
enum dane_verdict {
    DANE_UNASKED,
    DANE_NONE, /* no records, or no proof of any */
    DANE_RECORDS,
    DANE_TROUBLE /* can't be had now: this host must not be used (RFC 7672 2.1) */
};
enum count { COUNT_MESSAGE = 1, COUNT_TLS, COUNT_AUTH };
enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };
/* RFC 8460 4.4, policy-type, and 4.3, result-type, in its order; sts/tally.c has the words. */
enum tls_policy { TLS_POLICY_NONE, TLS_POLICY_TLSA, TLS_POLICY_STS };
enum tls_result {
    TLS_SUCCESS,
    TLS_STARTTLS_NOT_SUPPORTED,
    TLS_CERTIFICATE_HOST_MISMATCH,
    TLS_CERTIFICATE_EXPIRED,
    TLS_CERTIFICATE_NOT_TRUSTED,
    TLS_VALIDATION_FAILURE,
    TLS_TLSA_INVALID,
    TLS_DNSSEC_INVALID,
    TLS_DANE_REQUIRED,
    TLS_STS_POLICY_FETCH_ERROR,
    TLS_STS_POLICY_INVALID,
    TLS_STS_WEBPKI_INVALID,
    TLS_RESULTS
};
enum login_verdict {
    LOGIN_SAY = 1,
    LOGIN_DONE,     /* the session is logged in */
    LOGIN_NOT_HERE, /* not at this host; another may do */
    LOGIN_NOT_NOW,  /* at none, for now; it is our own fault */
    LOGIN_REFUSED   /* the same; a host has refused it */
};
enum resolve_verdict { RESOLVE_OK = 1, RESOLVE_FAILED /* final: no such domain, null MX */, RESOLVE_DEFERRED };

enum sign_form { SIGN_ECDSA = 1, SIGN_RSA_PKCS1, SIGN_RSA_PSS };

enum message_type {
#define MESSAGE(NAME, name, number, protocol, side, flags) MESSAGE_##NAME = (number),
#include "common/messages.def"
#undef MESSAGE
};

/* A list of records: `bytes` is `count` encoded records. Build it with record_X_add() into a buf; walk it with record_X_next(). */
struct list {
    uint32_t count;
    struct span bytes;
};

typedef uint16_t field_u16;
typedef uint32_t field_u32;
typedef uint64_t field_u64;
typedef struct span field_text;
typedef struct span field_bytes;

#define FIELD_MEMBER(type, name)  field_##type name;
#define LIST_MEMBER(record, name) struct list name;

#define RECORD(name)                                                                                                                       \
    struct record_##name {                                                                                                                 \
        RECORD_##name(FIELD_MEMBER)                                                                                                        \
    };                                                                                                                                     \
    void record_##name##_add(struct buf *, const struct record_##name *);                                                                  \
    bool record_##name##_next(struct list *, struct record_##name *); /* false at the end; the list forgets what was walked */
#define MESSAGE(NAME, name, number, protocol, side, flags)                                                                                 \
    struct message_##name {                                                                                                                \
        FIELDS_##NAME(FIELD_MEMBER, LIST_MEMBER)                                                                                           \
    };
#include "common/messages.def"
#undef MESSAGE
#undef RECORD

struct message {
    enum message_type type;
    uint32_t id;  /* of the question; an answer has the same */
    int fd;       /* -1 without one. A receiver owns it; a sender's is closed once it is sent. */
    bool fd_lost; /* received: there was one, and this process had no room for it */
    union {
#define MESSAGE(NAME, name, number, protocol, side, flags) struct message_##name name;
#include "common/messages.def"
#undef MESSAGE
    };
};

/* Appends the whole frame. False (and the buffer as it was) when it would be longer than FRAME_MAX, a text has a NUL, CR or LF in it, or
 * memory is short. */
bool message_encode(struct buf *, const struct message *);

/* Looks at the front of `in`. 1: `out` is filled and `used` says how many bytes it took; 0: more bytes are needed; -1: malformed, `error`
 * says how. `protocols` is the mask (1u << PROTOCOL_X) of what this edge speaks, `from` the side that sent it. out->fd is -1; *wants_fd
 * says that one travels. */
int message_decode(struct span in, unsigned protocols, enum side from, struct message *out, size_t *used, bool *wants_fd, struct error *);

const char *message_name(enum message_type); /* "RCPT" */
bool message_repeatable(enum message_type);

#endif
