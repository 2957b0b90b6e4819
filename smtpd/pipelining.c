/* Commands out of turn (RFC 2920 3.1): who sends more behind EHLO has not read what is offered; who sends more behind DATA does not wait
 * for its 354, so that the text becomes commands where there is none; and after HELO nothing is offered at all. Real clients wait;
 * robots, and those who smuggle, do not. */
#include "smtpd/session_state.h"

#define SAID_MOST 100 /* octets, in the log */

/* Those that end a group. QUIT does, too; what is behind it is lost with the connection. */
static bool is_last(enum verb verb)
{
    return verb == VERB_HELO || verb == VERB_EHLO || verb == VERB_LHLO || verb == VERB_DATA || verb == VERB_VRFY || verb == VERB_EXPN ||
           verb == VERB_NOOP;
}

/* Behind STARTTLS is a matter of its own (verbs.c); what is behind BDAT is its chunk. */
static bool is_alone(const struct session *s, enum verb verb)
{
    bool offered = s->esmtp && session_offers(s, "PIPELINING");
    return is_last(verb) || (!offered && verb != VERB_QUIT && verb != VERB_STARTTLS && verb != VERB_BDAT);
}

static void log_once(struct session *s, enum verb verb, const char *rule)
{
    struct span more = stream_input(s->stream);
    struct buf line = BUF_EMPTY(2048);
    buf_add_text(&line, "pipelining:");
    session_log_client(s, &line);
    log_value(&line, "behind", span_of(command_verb_name(verb)));
    log_value(&line, "said", span_make(more.p, more.n < SAID_MOST ? more.n : SAID_MOST));
    log_value(&line, "rule", span_of(rule));
    log_buf(LOG_LEVEL_INFO, &line);
    buf_free(&line);
}

bool session_out_of_turn(struct session *s, enum verb verb)
{
    bool drop = s->server->settings->smtpd_pipelining == PIPELINING_DROP;
    if (s->local || s->pipelining || !stream_input(s->stream).n || !is_alone(s, verb))
        return false;
    s->pipelining = true;
    log_once(s, verb, drop ? "smtpd { pipelining = drop }" : "smtpd { pipelining = pass }");
    if (drop)
        session_end(s, 521, "5.5.1", "Protocol error");
    return drop;
}
