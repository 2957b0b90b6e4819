/* Life, buffers and events of a stream. What OpenSSL needs is in stream_tls.c.
 *
 * Memory: one read buffer serves all streams of the process. What an owner does not consume in readable() is copied to memory of the
 * stream's own, and given back as soon as it is consumed; so an idle session holds no buffer. Output buffers pass through one spare in the
 * same way.
 *
 * System calls: interest in input is withdrawn only when input comes that nobody wants, and a timer is moved only when it fires too early.
 * A session that answers one command at a time so costs one read, one write and its share of epoll_wait a command. */
#include "common/clock.h"
#include "common/stream_internal.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE    ((size_t)128 << 10) /* the shared buffer, and so the largest input limit */
#define OUTPUT_MAX   ((size_t)8 << 20)
#define OUTPUT_LOW   ((size_t)32 << 10) /* below it drained() is called */
#define SPARE_MAX    ((size_t)64 << 10)
#define CLOSE_TIME   10000 /* ms for a peer to take our last words */
#define LINGER_TIME  2000  /* ms for it to close then */
#define MILLISECONDS 1000
#define STATE_DEAD   7 /* TCP_CLOSE of <netinet/tcp.h>, whose tcp_info is too short, and which does not go with <linux/tcp.h> */

static char shared[READ_SIZE];
static char *spare;
static size_t spare_size;
static TAILQ_HEAD(, stream) dirty = TAILQ_HEAD_INITIALIZER(dirty);
static unsigned flush_round;
static size_t open_streams;
TAILQ_HEAD(stream_list, stream); /* those that have waited longest first */
static struct stream_list closing = TAILQ_HEAD_INITIALIZER(closing), lingering = TAILQ_HEAD_INITIALIZER(lingering);

static void flush(struct stream *);
static void read_open(struct stream *);

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

static void forget_input(struct stream *s)
{
    free(s->kept);
    s->kept = s->in = NULL;
    s->in_len = 0;
}

/* The memory goes to the next stream that writes. */
static void release_output(struct stream *s)
{
    s->output_start = 0;
    if (s->output.data && !spare && !s->output.secret && s->output.cap <= SPARE_MAX) {
        spare = s->output.data;
        spare_size = s->output.cap;
        s->output = BUF_EMPTY(OUTPUT_MAX);
    } else {
        buf_free(&s->output);
        s->output.secret = false;
    }
}

static void stop_events(struct stream *s)
{
    event_del(&s->read_event);
    event_del(&s->write_event);
    s->reading = s->blocked = false;
    if (s->queued)
        TAILQ_REMOVE(&dirty, s, link);
    s->queued = false;
}

static void stand_among(struct stream *s, struct stream_list *gone)
{
    if (s->gone)
        TAILQ_REMOVE(s->gone, s, gone_link);
    s->gone = gone;
    if (gone)
        TAILQ_INSERT_TAIL(gone, s, gone_link);
}

static void destroy(struct stream *s)
{
    stand_among(s, NULL);
    stop_events(s);
    event_del(&s->timer);
    stream_tls_close(s, false);
    forget_input(s);
    release_output(s);
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

void stream_enter(struct stream *s)
{
    s->depth++;
}

bool stream_leave(struct stream *s)
{
    if (--s->depth > 0 || !s->freed)
        return true;
    destroy(s);
    return false;
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
        destroy(s);
        return;
    }
    s->freed = true;
    s->state = STREAM_CLOSED;
    stop_events(s);
}

static bool call_ended(struct stream *s, enum stream_end end, const char *why)
{
    stream_enter(s);
    s->handler->ended(s, end, why, s->arg);
    return stream_leave(s);
}

void stream_fail(struct stream *s, const char *why)
{
    stop_events(s);
    if (s->state == STREAM_CLOSING || s->state == STREAM_LINGERING) {
        destroy(s);
        return;
    }
    s->state = STREAM_CLOSED;
    call_ended(s, STREAM_ERROR, why);
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
        destroy(s);
        return;
    }
    s->want_input = false;
    call_ended(s, STREAM_TIMEOUT, "timeout");
}

/* ---- input ----------------------------------------------------------------------------------------------------------------------- */

static bool wants_more(const struct stream *s)
{
    return s->state == STREAM_OPEN && s->want_input && !s->eof && s->in_len < s->input_limit;
}

static void set_reading(struct stream *s, bool on)
{
    if (s->reading == on)
        return;
    s->reading = on;
    if (on)
        event_add(&s->read_event, NULL);
    else
        event_del(&s->read_event);
}

void stream_update_reading(struct stream *s)
{
    if (!wants_more(s) && !(s->state == STREAM_OPEN && s->want_input && s->replay))
        return; /* interest is withdrawn by the next event, if one comes at all */
    set_reading(s, !s->eof);
    if (s->replay || s->tls_more || s->write_failed)
        event_active(&s->read_event, EV_READ, 0);
}

void stream_stop_reading(struct stream *s)
{
    set_reading(s, false);
}

void stream_begin_handshake(struct stream *s)
{
    set_reading(s, true);
    event_active(&s->read_event, EV_READ, 0);
}

/* Moves what the owner left in the shared buffer to memory of the stream's own. */
static bool keep_rest(struct stream *s)
{
    char *own = s->in_len ? malloc(s->in_len) : NULL;
    if (s->in_len && !own) {
        forget_input(s);
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
        set_reading(s, false);
        call_ended(s, STREAM_EOF, "connection closed by peer");
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
    if (wants_more(s))
        read_new(s);
    else
        set_reading(s, false);
}

static void discard(struct stream *s)
{
    size_t got;
    if (plain_read(s, shared, sizeof shared, &got) > STREAM_IO_AGAIN)
        destroy(s);
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
        forget_input(s);
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

/* ---- output ---------------------------------------------------------------------------------------------------------------------- */

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
    release_output(s);
    if (wants_more(s) && !(s->ssl && s->tls_broken))
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

static enum stream_io send_some(struct stream *s)
{
    enum stream_io how = STREAM_IO_DONE;
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
        release_output(s);
    } else if (s->output_start > OUTPUT_LOW) {
        buf_consume(&s->output, s->output_start);
        s->output_start = 0;
    }
    return how;
}

/* All is said. A server waits a moment for the other side to close: closing with unread input would send a reset, which may overtake our
 * last reply. */
static void finish_close(struct stream *s)
{
    bool silent = s->silent && !s->ssl; /* over TLS its close_notify may come */
    stream_tls_close(s, true);
    if (!s->accepted || s->eof || silent || shutdown(s->fd, SHUT_WR) < 0) {
        destroy(s);
        return;
    }
    s->state = STREAM_LINGERING;
    stand_among(s, &lingering);
    stream_timeout(s, LINGER_TIME);
    set_reading(s, true);
}

static void flush(struct stream *s)
{
    if (s->output.failed) {
        stream_fail(s, "too much output waits for a peer that does not take it");
        return;
    }
    if (s->write_failed)
        release_output(s);
    if (s->write_failed || s->state == STREAM_CONNECTING)
        return;
    size_t before = stream_backlog(s);
    enum stream_io how = send_some(s);
    if (how == STREAM_IO_ERROR) {
        write_error(s);
        return;
    }
    if (how == STREAM_IO_AGAIN)
        stream_wait_writable(s);
    else if (s->state == STREAM_HANDSHAKE)
        stream_begin_handshake(s);
    else if (s->state == STREAM_CLOSING)
        finish_close(s);
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
        flush(s);
    }
    if ((s = TAILQ_FIRST(&dirty)))
        event_active(&s->timer, EV_TIMEOUT, 0);
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
        send_some(s);
        stream_tls_close(s, true);
    }
    stream_free(s);
}

/* ---- events ---------------------------------------------------------------------------------------------------------------------- */

static void handshake(struct stream *s)
{
    char text[300];
    if (s->plain_left) { /* it must not go ahead of our 220 */
        set_reading(s, false);
        return;
    }
    enum stream_io how = stream_tls_handshake(s);
    if (how == STREAM_IO_AGAIN)
        return;
    if (how != STREAM_IO_DONE) {
        s->tls_broken = true;
        stream_fail(s, stream_tls_error(s, "TLS handshake", text, sizeof text));
        return;
    }
    s->state = STREAM_OPEN;
    if (stream_backlog(s))
        stream_flush_later(s);
    stream_enter(s);
    if (s->handler->secured)
        s->handler->secured(s, s->arg);
    if (stream_leave(s) && s->state == STREAM_OPEN)
        stream_update_reading(s);
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct stream *s = arg;
    if (s->state == STREAM_OPEN)
        read_open(s);
    else if (s->state == STREAM_HANDSHAKE)
        handshake(s);
    else if (s->state == STREAM_LINGERING)
        discard(s);
    else
        set_reading(s, false);
}

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
        handshake(s);
    } else {
        if (s->tls_more)
            event_active(&s->read_event, EV_READ, 0);
        flush(s);
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
    s->input_limit = input_limit < READ_SIZE ? input_limit : READ_SIZE;
    s->output = BUF_EMPTY(OUTPUT_MAX);
    event_assign(&s->read_event, base, fd, EV_READ | EV_PERSIST, on_read, s);
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
