/* sasl: the mechanisms that postino-creds can log in with, as bits, the strongest first. */
#ifndef POSTINO_SASL_H
#define POSTINO_SASL_H

#include "common/span.h"

enum sasl {
    SASL_SCRAM_SHA_256_PLUS = 1,
    SASL_SCRAM_SHA_1_PLUS = 2,
    SASL_SCRAM_SHA_256 = 4,
    SASL_SCRAM_SHA_1 = 8,
    SASL_CRAM_MD5 = 16,
    SASL_PLAIN = 32,
    SASL_LOGIN = 64,
    SASL_OAUTHBEARER = 128,
    SASL_XOAUTH2 = 256,
};

/* Sets of them. */
#define SASL_PLUS  (SASL_SCRAM_SHA_256_PLUS | SASL_SCRAM_SHA_1_PLUS)
#define SASL_SCRAM (SASL_PLUS | SASL_SCRAM_SHA_256 | SASL_SCRAM_SHA_1)
#define SASL_TOKEN (SASL_OAUTHBEARER | SASL_XOAUTH2)
#define SASL_ALL   511

unsigned sasl_mechanism(struct span name); /* its bit; 0: one that is not known */
unsigned sasl_strongest(unsigned set);     /* the bit; 0: the set is empty */
const char *sasl_name(unsigned mechanism); /* of a bit */

#endif
