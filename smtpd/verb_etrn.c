/* ETRN (RFC 1985): a host that was away asks for the mail that waits here for its domain. Only domains of relay_to are there to be asked for: for all
 * others we hold no mail on anybody's behalf. How often it is done qmgr bounds, as nobody may have us knock at a host again and again. */
#include "smtpd/session_state.h"

#include "common/log.h"

#include <inttypes.h>

#define ANSWER_SECONDS 30

static const struct settings *settings_of(const struct session *s)
{
    return s->server->settings;
}

bool session_etrn_offered(const struct session *s)
{
    int who = settings_of(s)->smtpd_etrn;
    return settings_of(s)->relay_to.n > 0 && (who == OFFER_ALL || (who == OFFER_TRUSTED && session_trusted(s)));
}

/* "example.org" in relay_to is that domain, ".example.org" all below it. */
static bool is_relayed(const struct settings *settings, struct span domain, bool below)
{
    for (size_t i = 0; i < settings->relay_to.n; i++) {
        struct span to = span_of(settings->relay_to.v[i]);
        bool all = to.n > 0 && to.p[0] == '.';
        struct span parent = all ? span_make(to.p + 1, to.n - 1) : to;
        if (span_equal_nocase(parent, domain) && (!all || below))
            return true;
        if (all && domain.n > to.n && span_equal_nocase(to, span_make(domain.p + domain.n - to.n, to.n)))
            return true;
    }
    return false;
}

void session_etrn_waited(struct session *s)
{
    session_refuse(s, "ETRN", 458, "4.3.0", "the queue does not answer, try again later");
}

static void on_flushed(const struct message *m, void *arg)
{
    struct session *s = arg;
    session_answered(s);
    if (m && m->type != MESSAGE_FLUSHED)
        log_die("postino-qmgr answered FLUSH with %s", message_name(m->type));
    if (!m)
        session_etrn_waited(s);
    else if (m->flushed.code == FLUSH_TOO_SOON)
        session_refuse(s, "ETRN", 458, "4.7.0", "that was asked for a moment ago, try again later");
    else if (m->flushed.count == 0)
        session_reply(s, 251, "2.0.0", "Ok, no messages wait");
    else
        session_reply(s, 253, "2.0.0", "Ok, %" PRIu32 " pending deliveries started", m->flushed.count);
    session_resume(s);
}

static void ask(struct session *s, struct span domain, bool below)
{
    struct message m = {.type = MESSAGE_FLUSH, .fd = -1, .flush = {.domain = domain, .below = below}};
    session_ask(s, WAIT_FLUSH, s->server->qmgr, &m, on_flushed, ANSWER_SECONDS);
}

/* RFC 1985 5: "node", "@node" (and all below), "#queue". */
void session_etrn(struct session *s, const struct command *c)
{
    struct span domain = c->argument;
    char form = domain.p[0];
    if (form == '@' || form == '#')
        domain = span_make(domain.p + 1, domain.n - 1);
    if (settings_of(s)->smtpd_etrn == OFFER_NONE)
        session_refuse(s, "ETRN", 502, "5.5.1", "ETRN is not offered here");
    else if (s->envelope.open)
        session_refuse(s, "ETRN", 503, "5.5.1", "a transaction is open; end it with RSET");
    else if (!s->helo.len)
        session_refuse(s, "ETRN", 503, "5.5.1", "send EHLO first");
    else if (form == '#')
        session_refuse(s, "ETRN", 459, "4.7.1", "queues have no names here");
    else if (!address_is_domain(domain, false))
        session_refuse(s, "ETRN", 501, "5.5.4", "that is no domain");
    else if (!session_etrn_offered(s) || !is_relayed(settings_of(s), domain, form == '@'))
        session_refuse(s, "ETRN", 459, "4.7.1", "no mail is kept here for this domain, or not for you to ask for");
    else
        ask(s, domain, form == '@');
}
