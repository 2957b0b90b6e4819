/* What a client sends, cut into lines: commands, responses to a challenge; or the text of a message, for intake.c and verb_bdat.c. */
#include "smtpd/session_state.h"

#define BACKLOG_MOST  ((size_t)64 << 10) /* of replies that a client does not read: then its commands wait too */
#define COMMAND_MOST  ((size_t)65536)    /* limit { command_line } is no larger */
#define RESPONSE_LINE ((size_t)12290)    /* of SASL, with CR LF: RFC 4954 4.3 */

static bool is_bdat(const struct session *s, struct span line)
{
    return s->state == SESSION_COMMAND && line.n >= 4 && strncasecmp(line.p, "BDAT", 4) == 0;
}

/* Instead of credentials, too: what follows is a command again. Behind a BDAT it is octets of a message, and nobody knows how many. */
static void line_refused(struct session *s, struct span line, const char *why)
{
    if (is_bdat(s, line)) {
        session_end(s, 500, "5.5.2", "%s", why);
        return;
    }
    session_refuse(s, "unknown", 500, "5.5.2", "%s", why);
    if (s->state == SESSION_RESPONSE)
        s->state = SESSION_COMMAND;
    session_auth_cancel(s);
}

static void take_line(struct session *s, struct span line)
{
    bool crlf = line.n && line.p[line.n - 1] == '\r';
    if (crlf)
        line.n--;
    else if (s->server->settings->limit_bare_newline == BARE_REFUSE) {
        line_refused(s, line, "a line ends with CR LF; this one had a LF alone");
        return;
    }
    if (s->state == SESSION_RESPONSE)
        session_auth_response(s, line);
    else
        session_command(s, line);
}

/* A line is copied out, so that nothing points into the stream's buffers while a verb acts on the stream. False: there is no whole line
 * yet. */
static bool next_line(struct session *s)
{
    static char copy[COMMAND_MOST];
    size_t most = (size_t)s->server->settings->limit_command_line;
    if (s->state == SESSION_RESPONSE && most < RESPONSE_LINE)
        most = RESPONSE_LINE;
    struct span in = stream_input(s->stream);
    const char *lf = in.n ? memchr(in.p, '\n', in.n) : NULL;
    size_t n = lf ? (size_t)(lf - in.p) + 1 : in.n;
    if (!lf && n <= most)
        return false;
    bool too_long = s->skipping_line || n > most;
    if (too_long && !s->skipping_line && is_bdat(s, in)) {
        line_refused(s, in, "line too long");
        return true;
    }
    if (!too_long)
        memcpy(copy, in.p, n);
    stream_consume_secret(s->stream, n);
    s->skipping_line = !lf;
    s->due = lf ? 0 : s->due;
    if (!too_long)
        take_line(s, span_make(copy, n - 1));
    else if (lf)
        line_refused(s, span_of(""), "line too long");
    explicit_bzero(copy, too_long ? 0 : n); /* it may have had a password */
    return true;
}

void session_input(struct session *s)
{
    for (bool more = true; more && s->stream && !s->stalled;) {
        if (s->state == SESSION_TEXT) {
            if (s->chunk.reading)
                session_chunk(s);
            else
                intake_take(s);
            more = s->state != SESSION_TEXT;
        } else {
            more = (s->state == SESSION_COMMAND || s->state == SESSION_RESPONSE) && next_line(s);
        }
        session_end_if_due(s);
        if (s->stream && stream_backlog(s->stream) > BACKLOG_MOST) {
            s->stalled = true;
            stream_flush_later(s->stream);
        }
    }
}
