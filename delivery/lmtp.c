/* LMTP (RFC 2033) where it differs from SMTP: behind the dot the server says of each recipient that it accepted what became of the message, in
 * the order of RCPT. Those that it said yes to have it, whatever happens to the connection later; only the others are tried again.
 *
 *   BODY -- a refusal comes early --> the recipient whose turn it is; the text goes on for the others
 *   END  -- reply --> the recipient whose turn it is --> END, until all are decided --> IDLE
 *    `--- lost, or no reply --> those that are left: nobody knows whether they have it (RFC 1047)
 */
#include "delivery/session_internal.h"

#include "delivery/remote.h"

#include <errno.h>

/* True: all are decided. */
static bool judge(struct session *s, const char *in_reply_to)
{
    struct transaction *t = &s->transaction;
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    char status[STATUS_MAX];
    size_t i = portion_next(s->job, t->recipient);
    enum verdict verdict;
    if (s->reply.code / 100 == 2) {
        reply_text(&s->reply, &words);
        reply_status(&s->reply, '2', false, status);
        verdict = transaction_verdict(s);
    } else {
        verdict = transaction_refusal(s, in_reply_to, status, &words) ? VERDICT_FAILED : VERDICT_DEFERRED;
    }
    job_decide(s->job, i, verdict, status, buf_span(&words));
    t->recipient = portion_next(s->job, i + 1);
    buf_free(&words);
    return t->recipient == s->job->count;
}

/* The first reply has end_timeout, and so have all others together: a server that drips them holds a delivery no longer than that. */
void lmtp_end_reply(struct session *s)
{
    bool first = !s->transaction.replied;
    s->transaction.replied = true;
    if (s->reply.code / 100 == 3) {
        transaction_lost(s, "meaningless reply from", "");
    } else if (judge(s, "end of DATA command")) {
        portion_over(s, false);
        session_ready(s);
    } else if (first) {
        session_await(s, SESSION_END, remote.settings->remote_end_timeout);
    }
}

bool lmtp_cut_reply(struct session *s)
{
    if (!judge(s, "end of DATA command"))
        return false;
    portion_over(s, false);
    session_drop(s);
    return true;
}

void lmtp_early_reply(struct session *s)
{
    if (s->reply.code / 100 < 4) {
        session_troublef(s, "4.5.0", "protocol error: host %s said %u before the end of the message", s->peer, s->reply.code);
    } else if (judge(s, "a part of the message")) {
        portion_over(s, false);
        session_drop(s);
    }
}

const char *lmtp_advice(const char *why)
{
    static const struct {
        int error;
        const char *advice;
    } known[] = {
        {ENOENT, "start the LMTP server, or correct the path in via or deliver (Dovecot: service lmtp { unix_listener })"},
        {ENOTDIR, "correct the path in via or deliver: a part of it is no directory"},
        {ELOOP, "its symbolic links go round: name the socket itself in via or deliver"},
        {EACCES,
         "let the user postino-lmtp connect to it: the socket needs its write permission, and each directory above it the permission to "
         "search"},
        {ECONNREFUSED, "start the LMTP server: nobody listens on it, or it is no socket"},
        {EPROTOTYPE, "it is a socket of another kind: name that of an LMTP server in via or deliver"},
        {EAGAIN, "too many connections wait for the LMTP server: let it have more processes (Dovecot: service lmtp { process_limit }), or "
                 "lower sessions of the route"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(why, strerror(known[i].error)) == 0)
            return known[i].advice;
    return "look at the LMTP server that listens on it";
}
