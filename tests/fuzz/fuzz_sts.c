#include "sts/policy.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = span_make((const char *)data, size);
    struct sts_policy p;
    const char *why;
    char id[STS_ID] = "";
    if (sts_policy_parse(text, &p, &why) && (why || p.max_age > STS_MAX_AGE_MOST || (p.mode != STS_NONE && p.mx.len == 0)))
        abort();
    buf_free(&p.mx);
    if (sts_record_parse(text, id) && (strlen(id) < 1 || !sts_is_record(text)))
        abort();
    return 0;
}
