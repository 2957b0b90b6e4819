/* The message itself, from qmgr's frame or descriptor to the connection, in pieces: whatever its size, a session holds two pieces of it at
 * most. */
#include "delivery/session_internal.h"

#include "common/log.h"
#include "common/queueid.h"
#include "delivery/remote.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#define PIECE ((size_t)64 << 10)

static char shared[PIECE];

/* The next piece; NULL: it can't be had, errno says why (0: the file is shorter than it should be). */
static const char *next_piece(const struct job *j, uint64_t at, size_t n)
{
    if (j->fd < 0)
        return j->body.p + at;
    size_t got = 0;
    errno = 0;
    while (got < n) {
        ssize_t r = pread(j->fd, shared + got, n - got, (off_t)(j->offset + at + got));
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return NULL;
        got += (size_t)r;
    }
    return shared;
}

/* Nothing that we send may make the server believe that the message is complete: the connection ends here. */
static void abandon(struct session *s, enum verdict verdict, const char *status, struct span words)
{
    session_log(s, words);
    job_decide_rest(s->job, verdict, status, words);
    session_finish_job(s, false);
    session_drop(s);
}

static void unreadable(struct session *s)
{
    struct buf words = BUF_EMPTY(512);
    const char *why = errno ? strerror(errno) : "it is shorter than it should be";
    log_error("%s: the message's file can't be read behind octet %" PRIu64 ": %s", queueid_format(s->job->id).text, s->transaction.sent,
              why);
    buf_printf(&words, "the message can't be read from the queue: %s", why);
    abandon(s, VERDICT_DEFERRED, "4.3.0", buf_span(&words));
    buf_free(&words);
}

static void malformed(struct session *s)
{
    log_error("%s: the message in the queue has a bare CR or LF in it", queueid_format(s->job->id).text);
    abandon(s, VERDICT_FAILED, "5.6.0", SPAN_LITERAL("the message has a bare CR or LF in it, which SMTP can't carry"));
}

/* ---- converted ------------------------------------------------------------------------------------------------------------------- */

bool body_survey(struct session *s)
{
    struct job *j = s->job;
    if (j->downgrade)
        return true;
    if (!(j->downgrade = downgrade_new(j->binary)))
        log_die("out of memory to convert a message");
    for (uint64_t at = 0, n; at < j->size; at += n) {
        n = j->size - at < PIECE ? j->size - at : PIECE;
        const char *piece = next_piece(j, at, (size_t)n);
        if (!piece) {
            s->transaction.sent = at;
            downgrade_free(j->downgrade);
            j->downgrade = NULL;
            unreadable(s);
            return false;
        }
        downgrade_add(j->downgrade, span_make(piece, (size_t)n), NULL);
    }
    j->downgrade_verdict = downgrade_end(j->downgrade, NULL);
    return true;
}

/* The next piece of it, or with n == 0 its end. */
static bool add_converted(struct session *s, struct span piece)
{
    struct downgrade *d = s->job->downgrade;
    struct buf out = BUF_EMPTY(0);
    bool good = true;
    if (piece.n)
        downgrade_add(d, piece, &out);
    else
        good = downgrade_end(d, &out) != DOWNGRADE_BROKEN;
    good = good && !out.failed && stuff_add(&s->transaction.stuff, buf_span(&out), stream_output(s->stream));
    buf_free(&out);
    return good;
}

/* ---- pieces ---------------------------------------------------------------------------------------------------------------------- */

static bool add_piece(struct session *s, struct span piece)
{
    struct transaction *t = &s->transaction;
    struct buf *out = stream_output(s->stream);
    if (t->converted)
        return piece.n == 0 || add_converted(s, piece);
    if (!t->bdat)
        return stuff_add(&t->stuff, piece, out);
    buf_add_span(out, piece);
    return s->job->binary || stuff_check(&t->stuff, piece);
}

static bool add_end(struct session *s)
{
    struct transaction *t = &s->transaction;
    if (t->converted && !add_converted(s, span_make(NULL, 0)))
        return false;
    return t->bdat ? !t->stuff.cr : stuff_end(&t->stuff, stream_output(s->stream));
}

static void end(struct session *s)
{
    if (!add_end(s)) {
        malformed(s);
        return;
    }
    s->phase = SESSION_END;
    stream_flush_later(s->stream);
}

/* If the server says more already, that is looked at first. */
void body_begin(struct session *s)
{
    session_await(s, SESSION_BODY, remote.settings->remote_block_timeout);
    if (stream_input(s->stream).n)
        return;
    if (s->transaction.converted)
        downgrade_again(s->job->downgrade);
    if (s->transaction.bdat)
        buf_printf(stream_output(s->stream), "BDAT %" PRIu64 " LAST\r\n", s->job->size);
    body_continue(s);
}

void body_continue(struct session *s)
{
    struct transaction *t = &s->transaction;
    const struct job *j = s->job;
    uint64_t left = j->size - t->sent;
    size_t n = left < PIECE ? (size_t)left : PIECE;
    const char *piece = next_piece(j, t->sent, n);
    if (!piece && n) {
        unreadable(s);
        return;
    }
    if (!add_piece(s, span_make(piece, n))) {
        malformed(s);
        return;
    }
    t->sent += n;
    session_await(s, SESSION_BODY, remote.settings->remote_block_timeout);
    stream_flush_later(s->stream);
    if (t->sent == j->size)
        end(s);
}
