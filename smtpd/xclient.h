/* xclient: the arguments of XCLIENT and XFORWARD, as Postfix documents them (XCLIENT_README, XFORWARD_README): "NAME=value" words, in any case,
 * each value in xtext (RFC 3461 4). Pure.
 *
 * Checked here, once: length (255 octets; PROTO 64), characters (printable ASCII without a blank; a LOGIN may have more of UTF-8), and the form of names,
 * addresses and ports. [UNAVAILABLE] stands for what nobody knows, and so does [TEMPUNAVAIL] for a NAME. An attribute that is there twice is refused. */
#ifndef POSTINO_SMTPD_XCLIENT_H
#define POSTINO_SMTPD_XCLIENT_H

#include "common/span.h"

#include <sys/socket.h>

/* Words of XCLIENT alone, of both, and of XFORWARD alone. */
enum xattribute { X_LOGIN, X_DESTADDR, X_DESTPORT, X_NAME, X_ADDR, X_PORT, X_PROTO, X_HELO, X_IDENT, X_SOURCE, XATTRIBUTES };

#define XCLIENT_WORDS  "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
#define XFORWARD_WORDS "NAME ADDR PORT PROTO HELO IDENT SOURCE"
#define XVALUE_MOST    255

enum xverb { XCLIENT = 1, XFORWARD = 2 };

struct xattributes {
    unsigned given;                           /* 1 << enum xattribute: it was named; */
    char value[XATTRIBUTES][XVALUE_MOST + 1]; /* decoded; "" when it is unavailable. Addresses without IPV6: */
};

/* NULL, or what is wrong, in words that are ours alone. */
const char *xattributes_parse(enum xverb, struct span arguments, struct xattributes *);
/* What a later command says holds, the rest stays. */
void xattributes_merge(struct xattributes *into, const struct xattributes *);

static inline bool xattributes_has(const struct xattributes *x, enum xattribute a)
{
    return x->given >> a & 1;
}

#endif
