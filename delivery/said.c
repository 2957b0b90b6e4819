#include "delivery/said.h"

#include "common/log.h"
#include "delivery/session_internal.h"

#include <stdlib.h>

static bool counts(const struct said *kept, enum said_at at)
{
    return at != SAID_NOTHING && (kept->at == SAID_NOTHING || (kept->at == SAID_TO_RCPT && at != SAID_TO_RCPT));
}

void said_free(struct said *s)
{
    free(s->text);
    *s = (struct said){0};
}

void said_move(struct said *to, struct said *from)
{
    if (counts(to, from->at)) {
        said_free(to);
        *to = *from;
        *from = (struct said){0};
    }
    said_free(from);
}

void said_note(struct said *s, enum said_at at, const struct reply *r)
{
    if (r->code / 100 != 4 || !counts(s, at))
        return;
    struct buf text = BUF_EMPTY(REPLY_MAX + 16);
    reply_text(r, &text);
    struct said new = {.at = (uint16_t)at, .text = strdup(buf_text(&text))};
    if (!new.text)
        log_die("out of memory for a reply");
    buf_free(&text);
    said_free(s);
    *s = new;
}

/* Not what is said between messages, nor to a login, which has its own rules. A host that hangs up at RCPT means more than a mailbox. */
static enum said_at where(const struct session *s)
{
    switch (s->phase) {
    case SESSION_GREETING:
    case SESSION_EHLO:
    case SESSION_HELO:
    case SESSION_STARTTLS:
        return SAID_AT_FIRST;
    case SESSION_MAIL:
        return SAID_TO_MAIL;
    case SESSION_RCPT:
        return s->reply.code == 421 ? SAID_TO_MAIL : SAID_TO_RCPT;
    case SESSION_END:
        return s->site->lmtp ? SAID_TO_RCPT : SAID_TO_TEXT; /* RFC 2033 4.2: a reply for each recipient */
    case SESSION_DATA:
    case SESSION_BODY:
        return SAID_TO_TEXT;
    default:
        return SAID_NOTHING;
    }
}

void said_in_session(struct session *s)
{
    said_note(s->job ? &s->job->said : &s->said, where(s), &s->reply);
}
