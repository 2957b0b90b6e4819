/* Life and events of a stream: how it comes to be, what its events mean in each state, its one deadline, and its end. Its octets are in stream_input.c and
 * stream_output.c, what OpenSSL needs is in stream_tls.c.
 *
 * System calls: a timer is moved only when it fires too early, and interest in input is withdrawn only when input comes that nobody wants. A session that
 * answers one command at a time so costs one read, one write and its share of epoll_wait a command. */
#include "common/clock.h"
#include "common/stream_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLOSE_TIME   10000 /* ms for a peer to take our last words */
#define LINGER_TIME  2000  /* ms for it to close then */
#define MILLISECONDS 1000

static size_t open_streams;
TAILQ_HEAD(stream_list, stream); /* those that have waited longest first */
static struct stream_list closing = TAILQ_HEAD_INITIALIZER(closing), lingering = TAILQ_HEAD_INITIALIZER(lingering);

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

static void stop_events(struct stream *s)
{
    event_del(&s->read_event);
    event_del(&s->write_event);
    s->reading = s->blocked = false;
    stream_unqueue(s);
}

static void stand_among(struct stream *s, struct stream_list *gone)
{
    if (s->gone)
        TAILQ_REMOVE(s->gone, s, gone_link);
    s->gone = gone;
    if (gone)
        TAILQ_INSERT_TAIL(gone, s, gone_link);
}

void stream_destroy(struct stream *s)
{
    stand_among(s, NULL);
    stop_events(s);
    event_del(&s->timer);
    stream_tls_close(s, false);
    stream_forget_input(s);
    stream_release_output(s);
    close(s->fd);
    free(s);
    open_streams--;
}

size_t streams_open(void)
{
    return open_streams;
}

bool streams_drop_one(void)
{
    struct stream *s = TAILQ_FIRST(&lingering);
    if (!s && !(s = TAILQ_FIRST(&closing)))
        return false;
    stand_among(s, NULL);
    stream_free(s);
    return true;
}

void stream_own(struct stream *s, const struct stream_handler *handler, void *arg)
{
    s->handler = handler;
    s->arg = arg;
}

void stream_free(struct stream *s)
{
    if (!s)
        return;
    if (s->depth == 0) {
        stream_destroy(s);
        return;
    }
    s->freed = true;
    s->state = STREAM_CLOSED;
    stop_events(s);
}

bool stream_call_ended(struct stream *s, enum stream_end end, const char *why)
{
    stream_enter(s);
    s->handler->ended(s, end, why, s->arg);
    return stream_leave(s);
}

void stream_fail(struct stream *s, const char *why)
{
    stop_events(s);
    if (s->state == STREAM_CLOSING || s->state == STREAM_LINGERING) {
        stream_destroy(s);
        return;
    }
    s->state = STREAM_CLOSED;
    stream_call_ended(s, STREAM_ERROR, why);
}

/* ---- timeout --------------------------------------------------------------------------------------------------------------------- */

static void arm(struct stream *s, uint64_t now)
{
    uint64_t wait = s->deadline > now ? s->deadline - now : 0;
    struct timeval t = {(time_t)(wait / MILLISECONDS), (suseconds_t)(wait % MILLISECONDS * 1000)};
    event_add(&s->timer, &t);
    s->armed = s->deadline;
}

bool stream_local(const struct stream *s, struct sockaddr_storage *out)
{
    socklen_t size = sizeof *out;
    return getsockname(s->fd, (struct sockaddr *)out, &size) == 0;
}

void stream_timeout(struct stream *s, uint64_t milliseconds)
{
    uint64_t now = clock_monotonic_ms();
    s->deadline = milliseconds ? now + milliseconds : 0;
    if (s->deadline && (!s->armed || s->armed > s->deadline))
        arm(s, now);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct stream *s = arg;
    s->armed = 0;
    if (!s->deadline || s->state == STREAM_CLOSED)
        return;
    uint64_t now = clock_monotonic_ms();
    if (now < s->deadline) {
        arm(s, now);
        return;
    }
    s->deadline = 0;
    if (s->state == STREAM_CLOSING || s->state == STREAM_LINGERING) {
        stream_destroy(s);
        return;
    }
    s->want_input = false;
    stream_call_ended(s, STREAM_TIMEOUT, "timeout");
}

/* ---- the end --------------------------------------------------------------------------------------------------------------------- */

/* All is said. A server waits a moment for the other side to close: closing with unread input would send a reset, which may overtake our
 * last reply. */
void stream_finish_close(struct stream *s)
{
    bool silent = s->silent && !s->ssl; /* over TLS its close_notify may come */
    stream_tls_close(s, true);
    if (!s->accepted || s->eof || silent || shutdown(s->fd, SHUT_WR) < 0) {
        stream_destroy(s);
        return;
    }
    s->state = STREAM_LINGERING;
    stand_among(s, &lingering);
    stream_timeout(s, LINGER_TIME);
    stream_set_reading(s, true);
}

void stream_promised_silence(struct stream *s)
{
    s->silent = s->in_len == 0;
}

void stream_close_after_flush(struct stream *s)
{
    bool nothing_to_say = s->state == STREAM_CLOSED || s->state == STREAM_CONNECTING || (s->state == STREAM_HANDSHAKE && !s->plain_left);
    if (nothing_to_say || s->write_failed) {
        stream_free(s);
        return;
    }
    if (s->state == STREAM_HANDSHAKE) {
        s->output.len = s->output_start + s->plain_left; /* the rest was not for everybody's eyes */
        stream_tls_close(s, false);
    }
    s->state = STREAM_CLOSING;
    stand_among(s, &closing);
    s->want_input = false;
    s->in_len = 0;
    stream_timeout(s, CLOSE_TIME);
    stream_flush_later(s);
}

void stream_close_at_once(struct stream *s)
{
    if (s->state == STREAM_OPEN && !s->write_failed && !s->output.failed) {
        stream_send(s);
        stream_tls_close(s, true);
    }
    stream_free(s);
}

/* ---- events ---------------------------------------------------------------------------------------------------------------------- */

static void finish_connect(struct stream *s)
{
    socklen_t size = sizeof s->failed_errno;
    if (!s->failed_errno && getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &s->failed_errno, &size) < 0)
        s->failed_errno = errno;
    if (s->failed_errno) {
        stream_fail(s, strerror(s->failed_errno));
        return;
    }
    s->state = STREAM_OPEN;
    if (stream_backlog(s))
        stream_flush_later(s);
    stream_enter(s);
    s->handler->connected(s, s->arg);
    if (stream_leave(s) && s->state == STREAM_OPEN)
        stream_update_reading(s);
}

static void on_write(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct stream *s = arg;
    s->blocked = false;
    if (s->state == STREAM_CONNECTING) {
        finish_connect(s);
    } else if (s->state == STREAM_HANDSHAKE && !s->plain_left) {
        stream_handshake(s);
    } else {
        if (s->tls_more)
            event_active(&s->read_event, EV_READ, 0);
        stream_flush(s);
    }
}

static struct stream *stream_new(struct event_base *base, int fd, size_t input_limit, const struct stream_handler *handler, void *arg)
{
    struct stream *s = calloc(1, sizeof *s);
    if (!s) {
        close(fd);
        return NULL;
    }
    open_streams++;
    s->base = base;
    s->fd = fd;
    s->handler = handler;
    s->arg = arg;
    s->want_input = true;
    s->input_limit = input_limit < STREAM_READ_SIZE ? input_limit : STREAM_READ_SIZE;
    s->output = BUF_EMPTY(STREAM_OUTPUT_MOST);
    event_assign(&s->read_event, base, fd, EV_READ | EV_PERSIST, stream_on_read, s);
    event_assign(&s->write_event, base, fd, EV_WRITE, on_write, s);
    event_assign(&s->timer, base, -1, 0, on_timer, s);
    return s;
}

struct stream *stream_accepted(struct event_base *base, int fd, size_t input_limit, const struct stream_handler *handler, void *arg)
{
    struct stream *s = stream_new(base, fd, input_limit, handler, arg);
    if (!s)
        return NULL;
    s->accepted = true;
    s->state = STREAM_OPEN;
    stream_update_reading(s);
    return s;
}

struct stream *stream_connect(struct event_base *base, const struct sockaddr *to, socklen_t len, size_t input_limit,
                              const struct stream_handler *handler, void *arg, struct error *error)
{
    int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_set(error, "cannot make a socket: %s", strerror(errno));
        return NULL;
    }
    return stream_connect_from(base, fd, to, len, input_limit, handler, arg, error);
}

struct stream *stream_connect_from(struct event_base *base, int fd, const struct sockaddr *to, socklen_t len, size_t input_limit,
                                   const struct stream_handler *handler, void *arg, struct error *error)
{
    struct stream *s = stream_new(base, fd, input_limit, handler, arg);
    if (!s) {
        error_set(error, "out of memory");
        return NULL;
    }
    s->state = STREAM_CONNECTING;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* an accepted socket has it from its listener */
    if (connect(fd, to, len) < 0 && errno != EINPROGRESS) {
        s->failed_errno = errno;
        event_active(&s->write_event, EV_WRITE, 0);
    } else {
        stream_wait_writable(s);
    }
    return s;
}
