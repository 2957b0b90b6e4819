#include "qmgr/recipients.h"

#include "common/tlspolicy.h"

#define PATH_MOST 4096

static bool is_one_of(struct span s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (span_equal(s, span_of(words[i])))
            return true;
    }
    return false;
}

/* RFC 3461 4.1 */
static bool notify_good(unsigned notify)
{
    return notify == NOTIFY_NEVER || !(notify & ~(unsigned)(NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY));
}

static bool texts_fit(const struct record_recipient *r)
{
    return r->address.n <= RECIPIENT_TEXT_MOST && r->original.n <= RECIPIENT_TEXT_MOST && r->orcpt.n <= RECIPIENT_TEXT_MOST &&
           r->nexthop.n <= RECIPIENT_TEXT_MOST && r->mailbox.n <= PATH_MOST;
}

static bool tls_good(struct span tls, bool implicit)
{
    enum tlspolicy policy;
    return tlspolicy_parse(tls, &policy, NULL) && (!implicit || tlspolicy_fits_smtps(policy));
}

/* Names of sites are parted by blanks. */
static bool nexthop_good(const struct record_recipient *r)
{
    struct span hop = r->nexthop;
    bool smtp = span_equal(r->transport, SPAN_LITERAL("smtp")), smtps = span_equal(r->transport, SPAN_LITERAL("smtps")),
         lmtp = span_equal(r->transport, SPAN_LITERAL("lmtp"));
    if (!smtp && !smtps && !lmtp)
        return true;
    bool alone = hop.p[0] == '[' || (lmtp && hop.n > 6 && memcmp(hop.p, "unix:/", 6) == 0);
    return tls_good(r->tls, smtps) && !memchr(hop.p, ' ', hop.n) && (smtp || alone);
}

bool recipients_good(struct list list)
{
    static const char *const transports[] = {"smtp", "smtps", "lmtp", "local", "error"};
    if (list.count < 1 || list.count > ENVELOPE_RECIPIENTS_MOST)
        return false;
    for (struct record_recipient r; record_recipient_next(&list, &r);) {
        if (r.address.n == 0 || r.nexthop.n == 0 || !texts_fit(&r) || !notify_good(r.notify) ||
            !is_one_of(r.transport, transports, sizeof transports / sizeof transports[0]) || !nexthop_good(&r))
            return false;
    }
    return true;
}
