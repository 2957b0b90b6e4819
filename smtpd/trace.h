/* trace: the Received: line that smtpd puts in front of each message (RFC 5321 4.4, RFC 3848), and dates (RFC 5322 3.3). Pure. */
#ifndef POSTINO_SMTPD_TRACE_H
#define POSTINO_SMTPD_TRACE_H

#include "common/buf.h"

#include <sys/types.h>
#include <time.h>

struct trace {
    bool local;  /* over the submit socket: `uid` instead of a client */
    bool socket; /* from this host, by `uid`, with a protocol all the same */
    bool hidden; /* the client is not named */
    uid_t uid;
    struct span helo;        /* as the client said it; made harmless here */
    struct span name;        /* forward-confirmed, or "unknown" */
    struct span address;     /* "192.0.2.1", "2001:db8::1" */
    struct span protocol;    /* "ESMTPSA" */
    struct span tls;         /* "TLSv1.3 TLS_AES_256_GCM_SHA384 resumed", "" for none */
    struct span certificate; /* SHA-256 fingerprint of the client's, "" for none */
    struct span subject;     /* its common name, made harmless */
    bool certified;          /* it was verified */
    struct span host;        /* ours */
    struct span id;
    struct span
        recipient; /* "": more than one, so that none is told about the others; or beyond ASCII, so that it is not this line which needs SMTPUTF8 when
                            * an alias has led to an ASCII address */
    time_t now;
};

void trace_add(struct buf *out, const struct trace *);
void trace_date(struct buf *out, time_t now);

#endif
