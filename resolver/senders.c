/* Whose sender addresses are: a login may use what the maps of sender_logins say is its own, and nothing else. */
#include "resolver/routing_internal.h"

#include "common/idn.h"
#include "common/log.h"

#define KEY_MOST   1024
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

/* UNKNOWN: the key is in no map, or the login is not behind it. */
static enum outcome find_owner(struct decision *d, struct span key)
{
    const struct strings *list = &d->routing->settings->sender_logins;
    struct buf value = BUF_EMPTY(0);
    enum outcome outcome = OUTCOME_UNKNOWN;
    for (size_t i = 0; i < list->n && outcome == OUTCOME_UNKNOWN; i++) {
        struct error error;
        buf_clear(&value);
        enum map_result result = map_lookup(d->routing->senders[i], key, &value, &error);
        if (result == MAP_FAILED)
            outcome = decision_map_failed(d, "sender_logins", &error);
        else if (result == MAP_FOUND && lists(buf_span(&value), d->rcpt->login))
            outcome = OUTCOME_OK;
    }
    buf_free(&value);
    return outcome;
}

/* The address, the address without its tag, @domain: one of them has the login. */
static enum outcome find_owners_at(struct decision *d, struct span local, struct span domain)
{
    struct buf key = BUF_EMPTY(KEY_MOST);
    struct span untagged = name_without_tag(d->routing->settings, local), names[] = {local, untagged, span_of("")};
    enum outcome outcome = OUTCOME_UNKNOWN;
    for (size_t step = 0; step < 3 && outcome == OUTCOME_UNKNOWN; step++) {
        if (step == 1 && untagged.n == 0)
            continue;
        buf_clear(&key);
        add_lower(&key, names[step]);
        if (domain.n > 0 || step > 0)
            buf_add_char(&key, '@');
        add_lower(&key, domain);
        outcome = find_owner(d, buf_span(&key));
    }
    buf_free(&key);
    return outcome;
}

/* In the maps a domain may stand as A-labels or as U-labels. */
static enum outcome find_owners(struct decision *d, const struct address *a)
{
    struct buf local = BUF_EMPTY(KEY_MOST), ascii = BUF_EMPTY(KEY_MOST), unicode = BUF_EMPTY(KEY_MOST);
    idn_nfc(a->local, &local);
    if (!idn_ascii(a->domain, &ascii))
        buf_add_span(&ascii, a->domain);
    idn_unicode(buf_span(&ascii), &unicode);
    enum outcome outcome = find_owners_at(d, buf_span(&local), buf_span(&ascii));
    if (outcome == OUTCOME_UNKNOWN && !span_equal(buf_span(&ascii), buf_span(&unicode)))
        outcome = find_owners_at(d, buf_span(&local), buf_span(&unicode));
    buf_free(&local);
    buf_free(&ascii);
    buf_free(&unicode);
    return outcome;
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
    struct address a;
    if (d->routing->settings->sender_logins.n == 0 || d->rcpt->login.n == 0 || d->rcpt->sender.n == 0)
        return OUTCOME_OK;
    if (!address_parse(d->rcpt->sender, ADDRESS_ALLOW_BARE | ADDRESS_ALLOW_UTF8, &a))
        return refuse(d);
    enum outcome outcome = find_owners(d, &a);
    return outcome == OUTCOME_UNKNOWN ? refuse(d) : outcome;
}
