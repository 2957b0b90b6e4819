/* What a stream has to say. It gathers, and leaves once a turn, in one write. The memory passes through one spare: a session that has nothing to say holds
 * none. What a peer does not take waits for the write event. */
#include "common/log.h"
#include "common/stream_internal.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUTPUT_LOW ((size_t)32 << 10) /* below it drained() is called */
#define SPARE_MAX  ((size_t)64 << 10)
#define STATE_DEAD 7 /* TCP_CLOSE of <netinet/tcp.h>, whose tcp_info is too short, and which does not go with <linux/tcp.h> */

static char *spare;
static size_t spare_size;
static TAILQ_HEAD(, stream) dirty = TAILQ_HEAD_INITIALIZER(dirty);
static unsigned flush_round;

/* The memory goes to the next stream that writes. */
void stream_release_output(struct stream *s)
{
    s->output_start = 0;
    if (s->output.data && !spare && !s->output.secret && s->output.cap <= SPARE_MAX) {
        spare = s->output.data;
        spare_size = s->output.cap;
        s->output = BUF_EMPTY(STREAM_OUTPUT_MOST);
    } else {
        buf_free(&s->output);
        s->output.secret = false;
    }
}

size_t stream_backlog(const struct stream *s)
{
    return s->output.len - s->output_start;
}

/* What the kernel has it may send even after close(), unless the connection is dead. tcpi_unacked is no help: who did not acknowledge may have read it. */
bool stream_unsent(const struct stream *s)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    return stream_backlog(s) > 0 ||
           (getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_state == STATE_DEAD && info.tcpi_notsent_bytes > 0);
}

struct buf *stream_output(struct stream *s)
{
    if (!s->output.data && spare) {
        s->output.data = spare;
        s->output.cap = spare_size;
        spare = NULL;
    }
    return &s->output;
}

void stream_flush_later(struct stream *s)
{
    if (s->queued || s->blocked || s->state == STREAM_CLOSED || s->state == STREAM_LINGERING)
        return;
    s->queued = true;
    s->round = flush_round;
    TAILQ_INSERT_TAIL(&dirty, s, link);
}

void stream_unqueue(struct stream *s)
{
    if (s->queued)
        TAILQ_REMOVE(&dirty, s, link);
    s->queued = false;
}

void stream_write(struct stream *s, const void *p, size_t n)
{
    buf_add(stream_output(s), p, n);
    stream_flush_later(s);
}

void stream_write_span(struct stream *s, struct span what)
{
    stream_write(s, what.p, what.n);
}

void stream_write_secret(struct stream *s, struct span what)
{
    stream_output(s)->secret = true;
    stream_write_span(s, what);
}

void stream_wait_writable(struct stream *s)
{
    if (s->blocked)
        return;
    s->blocked = true;
    event_add(&s->write_event, NULL);
}

static enum stream_io plain_write(struct stream *s, const char *p, size_t n, size_t *sent)
{
    ssize_t done = write(s->fd, p, n);
    if (done >= 0) {
        *sent = (size_t)done;
        return STREAM_IO_DONE;
    }
    return errno == EAGAIN || errno == EINTR ? STREAM_IO_AGAIN : STREAM_IO_ERROR;
}

/* The peer may have said why it hung up: that is read first, if the owner reads. */
static void write_error(struct stream *s)
{
    char text[300];
    int saved = errno;
    if (s->ssl && s->tls_broken && !saved) {
        stream_fail(s, stream_tls_error(s, "TLS", text, sizeof text));
        return;
    }
    s->write_failed = true;
    s->failed_errno = saved ? saved : EPIPE;
    stream_release_output(s);
    if (stream_wants_more(s) && !(s->ssl && s->tls_broken))
        stream_update_reading(s);
    else
        stream_fail(s, strerror(s->failed_errno));
}

static size_t sendable(const struct stream *s)
{
    size_t n = stream_backlog(s);
    if (s->state == STREAM_HANDSHAKE && n > s->plain_left)
        n = s->plain_left;
    return n;
}

enum stream_io stream_send(struct stream *s)
{
    enum stream_io how = STREAM_IO_DONE;
    if (sendable(s) > 0)
        log_flush(); /* before a peer can know of it */
    for (size_t n; how == STREAM_IO_DONE && (n = sendable(s)) > 0;) {
        size_t sent = 0;
        const char *p = s->output.data + s->output_start;
        bool plain = !s->ssl || s->state == STREAM_HANDSHAKE;
        how = plain ? plain_write(s, p, n, &sent) : stream_tls_write(s, p, n, &sent);
        s->output_start += sent;
        if (s->state == STREAM_HANDSHAKE)
            s->plain_left -= sent;
    }
    if (stream_backlog(s) == 0) {
        stream_release_output(s);
    } else if (s->output_start > OUTPUT_LOW) {
        buf_consume(&s->output, s->output_start);
        s->output_start = 0;
    }
    return how;
}

void stream_flush(struct stream *s)
{
    if (s->output.failed) {
        stream_fail(s, "too much output waits for a peer that does not take it");
        return;
    }
    if (s->write_failed)
        stream_release_output(s);
    if (s->write_failed || s->state == STREAM_CONNECTING)
        return;
    size_t before = stream_backlog(s);
    enum stream_io how = stream_send(s);
    if (how == STREAM_IO_ERROR) {
        write_error(s);
        return;
    }
    if (how == STREAM_IO_AGAIN)
        stream_wait_writable(s);
    else if (s->state == STREAM_HANDSHAKE)
        stream_begin_handshake(s);
    else if (s->state == STREAM_CLOSING)
        stream_finish_close(s);
    else if (s->state == STREAM_OPEN && s->handler->drained && before && stream_backlog(s) < OUTPUT_LOW) {
        stream_enter(s);
        s->handler->drained(s, s->arg);
        stream_leave(s);
    }
}

/* A stream that gets more to send while we are at it waits for the next turn, which is made to come at once. */
void streams_flush(void)
{
    struct stream *s;
    unsigned now = flush_round++;
    while ((s = TAILQ_FIRST(&dirty)) && s->round == now) {
        TAILQ_REMOVE(&dirty, s, link);
        s->queued = false;
        stream_flush(s);
    }
    if ((s = TAILQ_FIRST(&dirty)))
        event_active(&s->timer, EV_TIMEOUT, 0);
}
