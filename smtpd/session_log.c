/* What a session says to the log. Whatever a client said goes there by log_value(). */
#include "smtpd/session_state.h"

void session_log_client(const struct session *s, struct buf *line)
{
    struct buf who = BUF_EMPTY(512);
    if (s->local)
        buf_printf(&who, "local[uid %lu]", (unsigned long)s->uid);
    else
        buf_printf(&who, "%.*s[%.*s]", SPAN_ARG(buf_span(&s->name)), SPAN_ARG(buf_span(&s->client)));
    log_value(line, "client", buf_span(&who));
    if (s->peer.len)
        log_value(line, "peer", buf_span(&s->peer));
    buf_free(&who);
}

void session_log(const struct session *s, enum log_level level, const char *event, const char *key, const char *value)
{
    if (!log_wanted(level))
        return;
    struct buf line = BUF_EMPTY(4096);
    buf_printf(&line, "%s:", event);
    session_log_client(s, &line);
    if (key)
        log_value(&line, key, span_of(value));
    log_buf(level, &line);
    buf_free(&line);
}

static void log_path(struct buf *line, const char *key, struct span address)
{
    struct buf path = BUF_EMPTY(1024);
    buf_printf(&path, "<%.*s>", SPAN_ARG(address));
    log_value(line, key, buf_span(&path));
    buf_free(&path);
}

void session_log_refused(const struct session *s, const char *about, struct span reply)
{
    struct buf line = BUF_EMPTY(8192);
    buf_add_text(&line, "reject:");
    log_value(&line, "command", span_of(about));
    session_log_client(s, &line);
    log_value(&line, "reply", reply);
    if (s->envelope.open)
        log_path(&line, "from", buf_span(&s->envelope.sender));
    if (s->recipient.len)
        log_path(&line, "to", buf_span(&s->recipient));
    if (s->rule.n > 0)
        log_value(&line, "rule", s->rule);
    log_value(&line, "helo", buf_span(&s->helo));
    log_value(&line, "proto", span_of(session_protocol(s)));
    if (s->login.len)
        log_value(&line, "login", buf_span(&s->login));
    session_log_forwarded(s, &line);
    log_buf(LOG_LEVEL_INFO, &line);
    buf_free(&line);
}

/* RFC 3848; RFC 6531 4.3 for what was sent with SMTPUTF8. */
const char *session_protocol(const struct session *s)
{
    static const char *const names[4][4] = {{"ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA"},
                                            {"UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA"},
                                            {"LMTP", "LMTPS", "LMTPA", "LMTPSA"},
                                            {"UTF8LMTP", "UTF8LMTPS", "UTF8LMTPA", "UTF8LMTPSA"}};
    bool lmtp = session_is_lmtp(s), utf8 = s->envelope.utf8;
    if (session_submits(s))
        return "local";
    if (!s->esmtp && !utf8)
        return "SMTP";
    return names[(lmtp ? 2 : 0) + utf8][(s->login.len ? 2 : 0) + s->tls_active];
}
