/* MAIL and RCPT as a host is told them: with what the message needs and asks for, where the host offers it. */
#include "delivery/transaction_internal.h"

#include "common/address.h"

#include <inttypes.h>

/* Its duty to report goes on to the next host (RFC 3461 5.2.1). */
static void say_dsn_of_mail(struct buf *out, const struct job *j)
{
    if (j->ret == RET_FULL || j->ret == RET_HDRS)
        buf_add_text(out, j->ret == RET_FULL ? " RET=FULL" : " RET=HDRS");
    if (j->envid.n) {
        buf_add_text(out, " ENVID=");
        xtext_encode(j->envid, out);
    }
}

/* The extension ends here: the next host is asked to tell of a delay, if its sender has not said that he wants nothing (RFC 2852 4.1.4.2). */
static unsigned notify_of(const struct session *s, unsigned notify)
{
    if (!(s->job->by_mode & BY_NOTIFY) || offers(s, EXTENSION_DELIVERBY) || notify & NOTIFY_NEVER)
        return notify;
    return notify ? notify | NOTIFY_DELAY : NOTIFY_FAILURE | NOTIFY_DELAY;
}

static void say_notify(struct buf *out, unsigned notify)
{
    static const struct {
        unsigned bit;
        const char *word;
    } words[] = {{NOTIFY_NEVER, "NEVER"}, {NOTIFY_SUCCESS, "SUCCESS"}, {NOTIFY_FAILURE, "FAILURE"}, {NOTIFY_DELAY, "DELAY"}};
    const char *before = " NOTIFY=";
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (notify & words[i].bit) {
            buf_printf(out, "%s%s", before, words[i].word);
            before = ",";
        }
    }
}

static void say_dsn_of_recipient(struct buf *out, const struct job_recipient *r, unsigned notify)
{
    const char *semicolon = r->orcpt.n ? memchr(r->orcpt.p, ';', r->orcpt.n) : NULL;
    say_notify(out, notify);
    if (semicolon) {
        size_t type = (size_t)(semicolon - r->orcpt.p);
        buf_printf(out, " ORCPT=%.*s;", (int)type, r->orcpt.p);
        xtext_encode(span_make(semicolon + 1, r->orcpt.n - type - 1), out);
    }
}

void transaction_say_mail(struct session *s)
{
    struct buf *out = stream_output(s->stream);
    const struct job *j = s->job;
    buf_printf(out, "MAIL FROM:<%.*s>", SPAN_ARG(j->sender));
    if (offers(s, EXTENSION_SIZE) && !s->transaction.converted)
        buf_printf(out, " SIZE=%" PRIu64, j->size);
    if (j->binary && !s->transaction.converted)
        buf_add_text(out, " BODY=BINARYMIME");
    else if (j->has_8bit && offers(s, EXTENSION_8BITMIME))
        buf_add_text(out, " BODY=8BITMIME");
    if (portion_needs_utf8(j))
        buf_add_text(out, " SMTPUTF8");
    if (j->require_tls && offers(s, EXTENSION_REQUIRETLS))
        buf_add_text(out, " REQUIRETLS");
    if (offers(s, EXTENSION_DSN))
        say_dsn_of_mail(out, j);
    if (j->by_mode && offers(s, EXTENSION_DELIVERBY))
        buf_printf(out, " BY=%" PRId64 ";%c%s", fit_time_left(j), j->by_mode & BY_RETURN ? 'R' : 'N', j->by_mode & BY_TRACE ? "T" : "");
    if (j->mt_priority && offers(s, EXTENSION_MT_PRIORITY))
        buf_printf(out, " MT-PRIORITY=%d", (int)j->mt_priority - MT_PRIORITY_ZERO);
    buf_add_text(out, "\r\n");
    stream_flush_later(s->stream);
}

void transaction_say_rcpt(struct session *s, size_t i)
{
    struct buf *out = stream_output(s->stream);
    const struct job_recipient *r = &s->job->recipients[i];
    buf_printf(out, "RCPT TO:<%.*s>", SPAN_ARG(r->address));
    if (offers(s, EXTENSION_DSN))
        say_dsn_of_recipient(out, r, notify_of(s, r->notify));
    buf_add_text(out, "\r\n");
    stream_flush_later(s->stream);
}
