#include "common/tlspolicy.h"
#include "delivery/tlsa.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tlsa r;
    struct span text = span_make((const char *)data, size), sums;
    enum tlspolicy policy;
    if (tlspolicy_parse(text, &policy, &sums) && (policy == TLSPOLICY_FINGERPRINT) != (sums.n > 0))
        abort();
    while (tlsa_next(&text, &r))
        if (r.usage < 2 || r.usage > 3 || r.selector > 1 || r.matching > 2 || r.length == 0 || r.length > sizeof r.data)
            abort();
    return text.n != 0;
}
