/* Lines of an authentication server: whatever comes, spans stay in the line, and a verdict has a number. */
#include "auth/dovecot_reply.h"

#include <stdlib.h>

static void expect_inside(struct span inner, struct span outer)
{
    if (inner.n && (inner.p < outer.p || inner.p + inner.n > outer.p + outer.n))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span line = span_make(data, size);
    struct dovecot_reply r;
    dovecot_reply_parse(line, &r);
    expect_inside(r.mechanism, line);
    expect_inside(r.user, line);
    expect_inside(r.reason, line);
    expect_inside(r.data, line);
    if (r.temporary && r.kind != DOVECOT_FAIL && r.kind != DOVECOT_OK)
        abort();
    return 0;
}
