#include "common/sasl.h"

static const char *const names[] = {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN",
                                    "OAUTHBEARER",        "XOAUTH2"};
#define NAMES (sizeof names / sizeof names[0])
_Static_assert((1u << NAMES) - 1 == SASL_ALL, "each mechanism has a name");

unsigned sasl_mechanism(struct span name)
{
    for (unsigned i = 0; i < NAMES; i++)
        if (span_equal_nocase(name, span_of(names[i])))
            return 1u << i;
    return 0;
}

unsigned sasl_strongest(unsigned set)
{
    return set & -set & SASL_ALL;
}

const char *sasl_name(unsigned mechanism)
{
    for (unsigned i = 0; i < NAMES; i++)
        if (mechanism == 1u << i)
            return names[i];
    return "";
}
