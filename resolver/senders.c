/* Whose sender addresses are: a login may use what the maps of sender_logins say is its own, and nothing else. */
#include "resolver/routing_internal.h"

#include "common/idn.h"
#include "common/utf8.h"

#define WORDS_MOST 900

static bool is_separator(char c)
{
    return c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool lists(struct span value, struct span login)
{
    for (size_t i = 0; i < value.n;) {
        size_t n = 0;
        while (i + n < value.n && !is_separator(value.p[i + n]))
            n++;
        if (n && span_equal_nocase(span_make(value.p + i, n), login))
            return true;
        i += n + 1;
    }
    return false;
}

static bool is_behind(const struct decision *d, struct span logins)
{
    return lists(logins, d->rcpt->login);
}

static enum outcome refuse(struct decision *d)
{
    struct buf words = BUF_EMPTY(WORDS_MOST);
    buf_printf(&words, "<%.*s>: Sender address rejected: not owned by user %.*s", SPAN_ARG(d->rcpt->sender), SPAN_ARG(d->rcpt->login));
    d->ruling->rule = "sender_logins";
    enum outcome outcome = decision_fail(d, 553, "5.7.1", buf_text(&words));
    buf_free(&words);
    return outcome;
}

/* A report (null sender) is anybody's; who has not logged in is not asked. */
enum outcome senders_check(struct decision *d)
{
    const struct address_maps maps = {"sender_logins", &d->routing->settings->sender_logins, d->routing->senders, is_behind};
    struct address a;
    if (maps.list->n == 0 || d->rcpt->login.n == 0 || d->rcpt->sender.n == 0)
        return OUTCOME_OK;
    if (!address_parse(d->rcpt->sender, ADDRESS_ALLOW_BARE | ADDRESS_ALLOW_UTF8, &a))
        return refuse(d);
    enum outcome outcome = address_maps_find(d, &maps, &a);
    return outcome == OUTCOME_UNKNOWN ? refuse(d) : outcome;
}

void routing_sender(struct span said, struct buf *out)
{
    const char *at = said.n ? memrchr(said.p, '@', said.n) : NULL;
    if (at == NULL)
        return;
    struct span local = span_make(said.p, (size_t)(at - said.p)), domain = span_make(at + 1, said.n - local.n - 1);
    struct buf ascii = BUF_EMPTY(256);
    if (span_is_ascii(local) && !span_is_ascii(domain) && idn_ascii(domain, &ascii))
        buf_printf(out, "%.*s@%.*s", SPAN_ARG(local), SPAN_ARG(buf_span(&ascii)));
    buf_free(&ascii);
}
