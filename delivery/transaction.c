/* One message to one server: MAIL, RCPT for each recipient, DATA or BDAT, and what the replies mean for each recipient.
 *
 *   with DATA:  MAIL RCPT... DATA | text .      | : a reply has to be waited for, if the server has PIPELINING; else behind each command
 *   with BDAT:  MAIL RCPT...      | BDAT n LAST text
 *
 * BDAT could go with the first group, too, and save a round trip. It waits, so that no text goes to a host that takes no recipient, and
 * that a connection that breaks before is known to have delivered nothing: the next host is tried at once, and nobody gets it twice.
 *
 * LMTP is the same, with DATA alone, and a reply for each recipient behind the dot (lmtp.c). BDAT has no place of its own in RFC 2033, and
 * DATA has a good one: its 354 shows a server that is out of step before the text goes out.
 *
 * Here is the order of commands and replies. The words of MAIL and RCPT are transaction_command.c's, what a reply makes of the recipients is
 * transaction_verdict.c's. */
#include "delivery/transaction_internal.h"

#include "delivery/remote.h"

bool transaction_decided(const struct session *s)
{
    return s->phase >= SESSION_MAIL && s->job->undecided < s->transaction.open_before;
}

/* ---- how it begins --------------------------------------------------------------------------------------------------------------- */

static void say_data(struct session *s)
{
    stream_write_span(s->stream, SPAN_LITERAL("DATA\r\n"));
}

static void await_rcpt(struct session *s)
{
    session_await(s, SESSION_RCPT, remote.settings->remote_rcpt_timeout);
}

static void await_data(struct session *s)
{
    session_await(s, SESSION_DATA, remote.settings->remote_data_timeout);
}

#define BDAT_LEAST ((uint64_t)64 << 10) /* octets: below, it saves nothing worth to be the rarer way */

static bool wants_bdat(const struct session *s)
{
    return !s->transaction.converted &&
           (s->job->binary || (remote.settings->remote_chunking && offers(s, EXTENSION_CHUNKING) && s->job->size >= BDAT_LEAST));
}

void transaction_begin(struct session *s)
{
    struct transaction *t = &s->transaction;
    struct job *j = s->job;
    s->messages++;
    if (s->messages_most > j->session_messages)
        s->messages_most = j->session_messages;
    if (s->extensions.limits.transactions && s->messages_most > s->extensions.limits.transactions)
        s->messages_most = s->extensions.limits.transactions;
    bool convert = fit_needs_conversion(s);
    *t = (struct transaction){.open_before = j->undecided};
    if ((convert && !body_survey(s)) || fit_left(s))
        return;
    if (fit_refused(s)) {
        session_finish_job(s, false);
        session_ready(s);
        return;
    }
    *t = (struct transaction){.pipelined = offers(s, EXTENSION_PIPELINING), .left = portion_choose(s), .open_before = j->undecided};
    if (t->left == 0) {
        session_too_full(s);
        return;
    }
    t->converted = convert && fit_converts(j);
    t->bdat = wants_bdat(s);
    t->recipient = portion_next(j, 0);
    transaction_say_mail(s);
    if (t->pipelined) {
        for (size_t i = t->recipient; i < j->count; i = portion_next(j, i + 1))
            transaction_say_rcpt(s, i);
        if (!t->bdat)
            say_data(s);
    }
    session_await(s, SESSION_MAIL, remote.settings->remote_mail_timeout);
}

/* ---- what follows a reply --------------------------------------------------------------------------------------------------------- */

static void out_of_protocol(struct session *s, const char *in_reply_to)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    buf_add_text(&words, "protocol error: ");
    session_words(s, in_reply_to, &words);
    session_trouble(s, "4.5.0", true, buf_span(&words));
    buf_free(&words);
}

/* 421: the server is about to hang up, whatever it was asked. */
static void hangs_up(struct session *s, const char *in_reply_to)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    char status[STATUS_MAX];
    if (!s->job) {
        session_drop(s);
        return;
    }
    session_words(s, in_reply_to, &words);
    reply_status(&s->reply, '4', false, status);
    session_trouble(s, status, true, buf_span(&words));
    buf_free(&words);
}

/* Nobody gets the message, and the server still has our MAIL. */
static void reset(struct session *s)
{
    session_command(s, SESSION_RSET, remote.settings->remote_quit_timeout, "RSET");
}

static void mail_reply(struct session *s)
{
    struct transaction *t = &s->transaction;
    if (class_of(s) != 2 && class_of(s) < 4) {
        out_of_protocol(s, "MAIL FROM command");
        return;
    }
    if (class_of(s) != 2) {
        t->mail_refused = true;
        if (!transaction_refuse_rest(s, "MAIL FROM command"))
            return;
    }
    if (t->pipelined) {
        await_rcpt(s);
    } else if (t->mail_refused) {
        session_ready(s);
    } else {
        transaction_say_rcpt(s, t->recipient);
        await_rcpt(s);
    }
}

static void judge_recipient(struct session *s)
{
    struct transaction *t = &s->transaction;
    if (class_of(s) == 2) {
        s->job->recipients[t->recipient].accepted = true;
        t->accepted++;
    } else {
        transaction_refuse_recipient(s);
    }
    t->recipient = portion_next(s->job, t->recipient + 1);
}

static void after_last_recipient(struct session *s)
{
    struct transaction *t = &s->transaction;
    if (s->job && portion_next(s->job, 0) == s->job->count && !portion_over(s, false))
        return;
    bool data_said = t->pipelined && !t->bdat;
    if (!data_said && (t->accepted == 0 || !s->job)) { /* not s->job: it refused MAIL, and takes recipients */
        reset(s);
        return;
    }
    if (t->bdat) {
        body_begin(s);
        return;
    }
    if (!data_said)
        say_data(s);
    await_data(s);
}

static void rcpt_reply(struct session *s)
{
    struct transaction *t = &s->transaction;
    if (s->job) {
        if (class_of(s) == 3) {
            out_of_protocol(s, "RCPT TO command");
            return;
        }
        judge_recipient(s);
    } else if (class_of(s) == 2) {
        t->accepted++;
    }
    if (--t->left == 0) {
        after_last_recipient(s);
        return;
    }
    if (!t->pipelined && s->job)
        transaction_say_rcpt(s, t->recipient);
    await_rcpt(s);
}

static void data_reply(struct session *s)
{
    struct transaction *t = &s->transaction;
    if (class_of(s) == 3 && s->job) {
        t->recipient = 0;
        body_begin(s);
    } else if (class_of(s) == 3 && (t->accepted || s->site->lmtp)) { /* it refused MAIL, and goes on as if it had not: it would deliver what
                                                                      * we end; and how many replies an LMTP server has for nobody is not told */
        session_drop(s);
    } else if (class_of(s) == 3) { /* nobody was accepted, and yet it takes a message: an empty one, for nobody (RFC 2920 3.1) */
        stream_write_span(s->stream, SPAN_LITERAL(".\r\n"));
        session_await(s, SESSION_END, remote.settings->remote_end_timeout);
    } else if (class_of(s) == 2) {
        if (s->job)
            out_of_protocol(s, "DATA command");
        else
            session_drop(s);
    } else {
        if (s->job && !transaction_refuse_rest(s, "DATA command"))
            return;
        if (t->mail_refused)
            session_ready(s);
        else
            reset(s);
    }
}

/* It offers BDAT, and does not know it: once more, with DATA. Behind a BDAT that it has not read as one, it may have read the text as
 * commands; nothing more goes over this connection. */
static bool without_bdat(struct session *s)
{
    if (!s->transaction.bdat || !s->job || (s->reply.code != 500 && s->reply.code != 502))
        return false;
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    session_words(s, "BDAT command", &words);
    buf_add_text(&words, "; once more without BDAT");
    session_log(s, buf_span(&words));
    buf_free(&words);
    stream_free(s->stream);
    s->stream = NULL;
    s->data_only = true;
    session_connect(s);
    return true;
}

/* A reply before the message is out. A refusal is taken, and the rest kept to ourselves. */
static void early_reply(struct session *s)
{
    if (class_of(s) < 4) {
        out_of_protocol(s, "a part of the message");
        return;
    }
    if (without_bdat(s))
        return;
    if (transaction_refuse_rest(s, s->transaction.bdat ? "BDAT command" : "a part of the message"))
        session_drop(s);
}

static void end_reply(struct session *s)
{
    if (!s->job) {
        session_ready(s);
    } else if (class_of(s) == 2) {
        if (transaction_relayed(s))
            session_ready(s);
    } else if (class_of(s) == 3) {
        transaction_lost(s, "meaningless reply from", "");
    } else if (s->transaction.bdat) {
        if (without_bdat(s))
            return;
        if (transaction_refuse_rest(s, "BDAT command"))
            reset(s); /* RFC 3030 2: what is left of the transaction is not known */
    } else if (transaction_refuse_rest(s, "end of DATA command")) {
        session_ready(s);
    }
}

static const char *command_of(enum session_phase phase)
{
    switch (phase) {
    case SESSION_MAIL:
        return "MAIL FROM command";
    case SESSION_RCPT:
        return "RCPT TO command";
    case SESSION_DATA:
        return "DATA command";
    case SESSION_BODY:
        return "a part of the message";
    case SESSION_END:
        return "end of DATA command";
    default:
        return "RSET command";
    }
}

/* Said before the end of the message was written: it can't be about the whole of it. */
static bool is_early(const struct session *s)
{
    return s->job && stream_backlog(s->stream) > 0;
}

/* A refusal in a connection that carried others' mail may be for that: "too many messages", "one domain a session". It is nobody's answer until a connection of
 * the job's own has given it, and no `reply` section hears of it. */
static bool asked_afresh(struct session *s)
{
    bool before_text = s->phase == SESSION_MAIL || s->phase == SESSION_RCPT || s->phase == SESSION_DATA;
    if (!s->shared || !s->job || !before_text || s->reply.code < 400 || transaction_decided(s))
        return false;
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    session_words(s, command_of(s->phase), &words);
    buf_add_text(&words, "; once more over a connection of its own");
    said_free(&s->job->said);
    session_trouble(s, "4.0.0", false, buf_span(&words));
    buf_free(&words);
    return true;
}

void transaction_reply(struct session *s)
{
    bool lmtp = s->site->lmtp;
    s->refused |= s->reply.code >= 400;
    if (asked_afresh(s))
        return;
    if (s->reply.code == 421 && !(lmtp && s->phase == SESSION_END)) { /* there it is one recipient's */
        hangs_up(s, command_of(s->phase));
        return;
    }
    switch (s->phase) {
    case SESSION_MAIL:
        mail_reply(s);
        break;
    case SESSION_RCPT:
        rcpt_reply(s);
        break;
    case SESSION_DATA:
        data_reply(s);
        break;
    case SESSION_BODY:
        lmtp ? lmtp_early_reply(s) : early_reply(s);
        break;
    case SESSION_END:
        if (is_early(s))
            lmtp ? lmtp_early_reply(s) : early_reply(s);
        else
            lmtp ? lmtp_end_reply(s) : end_reply(s);
        break;
    default:
        if (class_of(s) == 2)
            session_ready(s);
        else
            session_drop(s);
        break;
    }
}

/* ---- a connection that breaks ---------------------------------------------------------------------------------------------------- */

static const char *doing(enum session_phase phase)
{
    switch (phase) {
    case SESSION_MAIL:
        return "sending MAIL FROM";
    case SESSION_RCPT:
        return "sending RCPT TO";
    case SESSION_DATA:
        return "sending DATA command";
    default:
        return "sending message body";
    }
}

/* Nobody can know whether the server has the message: it is sent again, at worst for a second time (RFC 1047). */
static void lost_after_dot(struct session *s, const char *how, const char *why)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    bool decided = transaction_decided(s);
    buf_printf(&words, "%s %s after the end of the message was sent%s: it may have been taken, and be delivered twice", how, s->peer, why);
    session_log(s, buf_span(&words));
    portion_decide_rest(s->job, VERDICT_IN_DOUBT, "4.4.2", buf_span(&words));
    if (s->transaction.put_off)
        job_decide_rest(s->job, VERDICT_DEFERRED, "4.7.25",
                        SPAN_LITERAL("refused for the address that it came from; it will be tried over another"));
    portion_over(s, !decided);
    session_drop(s);
    buf_free(&words);
}

/* Where the end of the message has not left this host, no server can have it. */
void transaction_lost(struct session *s, const char *how, const char *why)
{
    if (!s->job)
        session_drop(s);
    else if (s->phase == SESSION_END && !stream_unsent(s->stream))
        lost_after_dot(s, how, why);
    else
        session_troublef(s, "4.4.2", "%s %s while %s%s", how, s->peer, doing(s->phase), why);
}

/* Too long a reply to the end of the message still says what became of it. If it were not believed, a server that always says so much would get the
 * message again and again. */
static bool believed(struct session *s)
{
    if (s->phase != SESSION_END || !s->job || !s->reply.cut || class_of(s) == 3 || is_early(s))
        return false;
    if (s->site->lmtp)
        return lmtp_cut_reply(s);
    if (without_bdat(s))
        return true;
    if (class_of(s) == 2 ? transaction_relayed(s)
                         : transaction_refuse_rest(s, s->transaction.bdat ? "BDAT command" : "end of DATA command"))
        session_drop(s);
    return true;
}

void transaction_broken(struct session *s)
{
    struct buf why = BUF_EMPTY(256);
    buf_printf(&why, ": %s", s->reply.wrong);
    if (!believed(s))
        transaction_lost(s, "broken reply from", buf_text(&why));
    buf_free(&why);
}
