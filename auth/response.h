/* response: what SASL clients say, taken apart: PLAIN (RFC 4616), the GS2 header of SCRAM and OAUTHBEARER (RFC 5801 4, 5802 7, 7628 3.1), and
 * XOAUTH2. Pure: spans into the response, which has been freed of base64. */
#ifndef POSTINO_AUTH_RESPONSE_H
#define POSTINO_AUTH_RESPONSE_H

#include "common/buf.h"

struct response_gs2 {
    char flag;            /* 'n', 'y' or 'p' */
    struct span binding;  /* for 'p': the type of the channel binding */
    struct span identity; /* a=, still with =2C and =3D; "" when none */
    struct span rest;
};

/* False: not what the mechanism says. */
bool response_plain(struct span, struct span *identity, struct span *user, struct span *password);
bool response_gs2(struct span, struct response_gs2 *);
/* The name in a SCRAM client-first-message-bare (n=), or in an identity, with =2C and =3D turned back. */
bool response_scram_user(struct span bare, struct buf *out);
bool response_unescape(struct span name, struct buf *out);
bool response_xoauth2_user(struct span, struct span *user);

#endif
