/* token_answer: what a token server says (RFC 6749 5): the few members that count of a JSON object. Pure and bounded; the server was proved, and is looked at as a
 * stranger all the same. */
#ifndef POSTINO_CREDS_TOKEN_ANSWER_H
#define POSTINO_CREDS_TOKEN_ANSWER_H

#include "common/buf.h"

#define TOKEN_MOST        ((size_t)6144)  /* octets of a token */
#define TOKEN_ANSWER_MOST ((size_t)65536) /* octets of an answer */

struct token_answer {
    struct buf access, refresh; /* printable ASCII; "" when not there. The caller frees them */
    struct buf error;           /* "invalid_grant": [a-z_] alone, "" when not there */
    uint64_t expires_in;        /* seconds; UINT64_MAX: not there, or none that can be */
    bool bearer;                /* token_type is that, or is not there */
};

/* False: it is no JSON object, or a member that counts is not what it must be. */
bool token_answer_parse(struct span text, struct token_answer *);
void token_answer_free(struct token_answer *);

#endif
