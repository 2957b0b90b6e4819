/* What a stream hears. One read buffer serves all streams of the process: what an owner does not consume in readable() is copied to memory of the stream's
 * own, and given back as soon as it is consumed; so an idle session holds no buffer. */
#include "common/stream_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static char shared[STREAM_READ_SIZE];

void stream_update_reading(struct stream *s)
{
    if (!stream_wants_more(s) && !(s->state == STREAM_OPEN && s->want_input && s->replay))
        return; /* interest is withdrawn by the next event, if one comes at all */
    stream_set_reading(s, !s->eof);
    if (s->replay || s->tls_more || s->write_failed)
        event_active(&s->read_event, EV_READ, 0);
}

void stream_stop_reading(struct stream *s)
{
    stream_set_reading(s, false);
}

void stream_begin_handshake(struct stream *s)
{
    stream_set_reading(s, true);
    event_active(&s->read_event, EV_READ, 0);
}

void stream_forget_input(struct stream *s)
{
    free(s->kept);
    s->kept = s->in = NULL;
    s->in_len = 0;
}

/* Moves what the owner left in the shared buffer to memory of the stream's own. */
static bool keep_rest(struct stream *s)
{
    char *own = s->in_len ? malloc(s->in_len) : NULL;
    if (s->in_len && !own) {
        stream_forget_input(s);
        stream_fail(s, "out of memory");
        return false;
    }
    if (own)
        memcpy(own, s->in, s->in_len);
    free(s->kept);
    s->kept = s->in = own;
    return true;
}

static bool call_readable(struct stream *s)
{
    stream_enter(s);
    s->handler->readable(s, s->arg);
    return stream_leave(s);
}

static enum stream_io plain_read(struct stream *s, char *to, size_t room, size_t *got)
{
    ssize_t n = read(s->fd, to, room);
    if (n > 0) {
        *got = (size_t)n;
        return STREAM_IO_DONE;
    }
    if (n == 0)
        return STREAM_IO_EOF;
    return errno == EAGAIN || errno == EINTR ? STREAM_IO_AGAIN : STREAM_IO_ERROR;
}

/* Nothing more to be had from a peer that no longer takes what we say: that is what ended it. */
static void end_of_input(struct stream *s, enum stream_io how)
{
    char text[300];
    int saved = errno;
    if (s->write_failed) {
        stream_fail(s, strerror(s->failed_errno));
    } else if (how == STREAM_IO_EOF) {
        s->eof = true;
        s->deadline = 0;
        stream_set_reading(s, false);
        stream_call_ended(s, STREAM_EOF, "connection closed by peer");
    } else if (how == STREAM_IO_ERROR) {
        stream_fail(s, s->ssl && s->tls_broken ? stream_tls_error(s, "TLS", text, sizeof text) : strerror(saved));
    }
}

static void read_new(struct stream *s)
{
    size_t left = s->in_len, got = 0;
    if (left)
        memcpy(shared, s->in, left);
    enum stream_io how =
        s->ssl ? stream_tls_read(s, shared + left, s->input_limit - left, &got) : plain_read(s, shared + left, s->input_limit - left, &got);
    if (how != STREAM_IO_DONE) {
        end_of_input(s, how);
        return;
    }
    free(s->kept);
    s->kept = NULL;
    s->in = shared;
    s->in_len = left + got;
    if (call_readable(s) && s->state != STREAM_CLOSED && keep_rest(s) && s->state == STREAM_OPEN)
        stream_update_reading(s);
}

static void read_open(struct stream *s)
{
    if (s->replay && s->want_input) {
        s->replay = false;
        if (s->in_len && (!call_readable(s) || s->state != STREAM_OPEN))
            return;
        stream_update_reading(s);
        return;
    }
    if (stream_wants_more(s))
        read_new(s);
    else
        stream_set_reading(s, false);
}

static void discard(struct stream *s)
{
    size_t got;
    if (plain_read(s, shared, sizeof shared, &got) > STREAM_IO_AGAIN)
        stream_destroy(s);
}

void stream_on_read(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct stream *s = arg;
    if (s->state == STREAM_OPEN)
        read_open(s);
    else if (s->state == STREAM_HANDSHAKE)
        stream_handshake(s);
    else if (s->state == STREAM_LINGERING)
        discard(s);
    else
        stream_set_reading(s, false);
}

struct span stream_input(const struct stream *s)
{
    return span_make(s->in, s->in_len);
}

void stream_consume(struct stream *s, size_t n)
{
    if (n > s->in_len)
        n = s->in_len;
    bool was_full = s->in_len >= s->input_limit;
    s->in_len -= n;
    s->in = s->in_len ? s->in + n : NULL;
    if (s->in_len == 0 && s->kept)
        stream_forget_input(s);
    if (was_full && s->depth == 0)
        stream_update_reading(s);
}

void stream_consume_secret(struct stream *s, size_t n)
{
    if (s->in_len)
        explicit_bzero(s->in, n < s->in_len ? n : s->in_len);
    stream_consume(s, n);
}

void stream_want_input(struct stream *s, bool want)
{
    if (s->want_input == want)
        return;
    s->want_input = want;
    if (!want || s->state != STREAM_OPEN)
        return;
    s->replay = s->in_len > 0;
    stream_update_reading(s);
}
