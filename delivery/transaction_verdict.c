/* What a reply makes of the recipients: delivered, refused for good or for now, or put off until another address was asked. */
#include "delivery/transaction_internal.h"

bool transaction_refusal(const struct session *s, const char *in_reply_to, char status[STATUS_MAX], struct buf *words)
{
    bool final = class_of(s) == 5;
    session_words(s, in_reply_to, words);
    buf_add_text(words, login_advice(s));
    reply_status(&s->reply, final ? '5' : '4', login_is_missed(s), status);
    return final;
}

static void log_put_off(const struct session *s, struct span why)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS + 64);
    buf_add_span(&words, why);
    buf_add_text(&words, session_host(s)->address.ss_family == AF_INET6 ? "; once more over IPv4" : "; once more over IPv6");
    session_log(s, buf_span(&words));
    buf_free(&words);
}

bool transaction_refuse_rest(struct session *s, const char *in_reply_to)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    char status[STATUS_MAX];
    bool final = transaction_refusal(s, in_reply_to, status, &words), put_off = session_may_change_family(s);
    if (put_off) {
        log_put_off(s, buf_span(&words));
        portion_put_off_rest(s->job, status, buf_span(&words));
        session_change_family(s);
    } else {
        portion_decide_rest(s->job, final ? VERDICT_FAILED : VERDICT_DEFERRED, status, buf_span(&words));
    }
    buf_free(&words);
    return !put_off && portion_over(s, false);
}

/* 552 to RCPT means "too many recipients" in the words of older servers, and is to be taken as 452 (RFC 5321 4.5.3.1.10). LMTP servers are
 * newer, and mean a full mailbox by it. */
void transaction_refuse_recipient(struct session *s)
{
    bool too_many = s->reply.code == 552 && !s->site->lmtp;
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    char status[STATUS_MAX];
    struct transaction *t = &s->transaction;
    bool final = class_of(s) == 5 && !too_many;
    session_words(s, "RCPT TO command", &words);
    buf_add_text(&words, login_advice(s));
    reply_status(&s->reply, final ? '5' : '4', too_many || login_is_missed(s), status);
    if (final && session_may_change_family(s)) {
        log_put_off(s, buf_span(&words));
        job_put_off(s->job, t->recipient, status, buf_span(&words));
        s->job->recipients[t->recipient].chosen = false;
        t->put_off = true;
    } else {
        job_decide(s->job, t->recipient, final ? VERDICT_FAILED : VERDICT_DEFERRED, status, buf_span(&words));
    }
    buf_free(&words);
}

/* An LMTP server that does not report delivers by itself.
 * RFC 2852 4.1.4: its sender is told where a trace is wanted, and where the deadline that he wanted to be told at goes no further. */
enum verdict transaction_verdict(const struct session *s)
{
    const struct job *j = s->job;
    if (s->site->lmtp && !offers(s, EXTENSION_DSN))
        return VERDICT_DELIVERED;
    if (j->by_mode & BY_TRACE || (j->by_mode & BY_NOTIFY && !offers(s, EXTENSION_DELIVERBY)))
        return VERDICT_TRACED;
    return offers(s, EXTENSION_DSN) ? VERDICT_PASSED_ON : VERDICT_RELAYED;
}

bool transaction_relayed(struct session *s)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    char status[STATUS_MAX];
    reply_text(&s->reply, &words);
    reply_status(&s->reply, '2', false, status);
    portion_decide_rest(s->job, transaction_verdict(s), status, buf_span(&words));
    buf_free(&words);
    return portion_over(s, false);
}
