/* BDAT: the text of a message in chunks of a length that is told first (RFC 3030 2).
 *
 *   BDAT n [LAST] --not a size: where the next command begins can't be known--> 501, ENDED
 *     |
 *     |--may not be now--> n octets are read and thrown away --> its 4xx or 5xx; the transaction is over
 *     |                    (n is more than a message may have: nothing is read) --> its 5xx, ENDED
 *     v
 *    the first: a queue id, as behind DATA (WAIT_USAGE, WAIT_ID); none: as above
 *     |
 *     v           n octets were read
 *    TEXT <-> WAIT_APPEND ----------+--the text has a fault, or can't be stored--> its 4xx or 5xx; the transaction is over
 *                                   +--not LAST--> 250, COMMAND: more BDAT, or RSET, EHLO, QUIT, which forget the text
 *                                   `--LAST--> WAIT_PUT --> 250, or 4xx
 *
 * There is a reply for each BDAT, when all its octets were read (RFC 3030 2, 4.2), so what a client has pipelined is never taken for commands.
 * After any refusal there is no transaction: chunks that follow are refused too, and no message can be made of those behind the one that
 * was lost. */
#include "smtpd/session_state.h"

#include <inttypes.h>

static const struct settings *settings_of(const struct session *s)
{
    return s->server->settings;
}

static void refuse(struct session *s, const struct refusal *why)
{
    if (session_is_lmtp(s) && s->chunk.last)
        s->answers = s->envelope.accepted;
    session_refuse(s, "BDAT", why->code, why->status, "%s", why->text);
    session_close_transaction(s);
    s->state = SESSION_COMMAND;
}

static void end_of_chunk(struct session *s)
{
    struct chunk *c = &s->chunk;
    c->reading = false;
    s->due = 0;
    if (c->refused) {
        refuse(s, c->refused);
    } else if (c->last || intake_is_lost(s)) {
        intake_end(s);
    } else {
        session_reply(s, 250, "2.0.0", "Ok: %" PRIu64 " octets", c->size);
        s->state = SESSION_COMMAND;
    }
}

/* What a chunk has leaves the input before anything else is looked at. */
void session_chunk(struct session *s)
{
    struct chunk *c = &s->chunk;
    while (s->state == SESSION_TEXT && c->left) {
        struct span input = stream_input(s->stream);
        size_t n = input.n < c->left ? input.n : (size_t)c->left;
        if (n == 0)
            return;
        if (!c->refused)
            n = intake_add(s, span_make(input.p, n));
        stream_consume(s->stream, n);
        c->left -= n;
    }
    if (s->state == SESSION_TEXT)
        end_of_chunk(s);
}

void session_bdat_refuse(struct session *s, const struct refusal *why)
{
    s->chunk.refused = why;
    s->state = SESSION_TEXT;
    if (s->chunk.size > settings_of(s)->limit_message_size)
        session_end(s, why->code, why->status, "%s", why->text);
}

static const struct refusal *why_not(const struct session *s)
{
    static const struct refusal hidden = {502, "5.5.1", "CHUNKING is not offered here"}, no_mail = {503, "5.5.1", "send MAIL first"},
                                no_rcpt = {503, "5.5.1", "send RCPT first"}, nobody = {554, "5.5.1", "no valid recipients"},
                                too_large = {552, "5.3.4", "message too large"};
    const struct envelope *e = &s->envelope;
    if (!session_offers(s, "CHUNKING"))
        return &hidden;
    if (!e->open)
        return &no_mail;
    if (!e->accepted)
        return e->refused ? &nobody : &no_rcpt;
    return s->chunk.size > settings_of(s)->limit_message_size ? &too_large : NULL; /* their sum is counted with the text */
}

void session_bdat(struct session *s, const struct command *c)
{
    s->chunk = (struct chunk){.reading = true, .last = c->last, .size = c->size, .left = c->size};
    const struct refusal *why = why_not(s);
    if (why)
        session_bdat_refuse(s, why);
    else if (s->intake)
        s->state = SESSION_TEXT;
    else if (!session_ask_usage(s))
        intake_start(s);
}
