#include "common/channel.h"

#include "common/log.h"
#include "common/spare.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_SIZE        ((size_t)64 << 10)
#define DESCRIPTORS_READ 16   /* in one recvmsg */
#define DESCRIPTORS_HELD 1024 /* received, and their frames not yet */
#define BACKLOG_MAX      ((size_t)512 << 20)
#define SECRETS          (1u << PROTOCOL_SMTPD_AUTH | 1u << PROTOCOL_REMOTE_CREDS) /* edges whose frames may hold passwords */
#define UNREAD_MOST      ((size_t)1 << 20) /* of answers that a client does not read: then its questions wait */

/* A descriptor that waits to be sent leaves with the first byte of its frame, which is `at` bytes into `out`. */
struct outgoing {
    size_t at;
    int fd;
};

struct channel {
    struct channel *next_dirty;
    const struct channel_handler *handler;
    void *arg;
    struct event *readable, *writable;
    char *name;
    struct buf in, out;
    size_t sent; /* of out */
    struct outgoing *outgoing;
    size_t outgoing_count, outgoing_first, outgoing_room;
    int *held; /* descriptors received, in order */
    size_t held_count;
    unsigned protocols;
    enum side side;
    int fd;
    int depth; /* handlers of this channel that are running */
    bool dirty, ended, freed, write_armed;
    bool stalled; /* a server whose client does not read its answers: whole frames may lie in `in`, and are not looked at */
    bool broken;  /* the other side takes nothing more */
};

static struct channel *dirty_channels;

static void channel_readable(evutil_socket_t fd, short what, void *arg);
static void channel_writable(evutil_socket_t fd, short what, void *arg);

struct channel *channel_new(struct event_base *base, int fd, const char *name, unsigned protocols, enum side side,
                            const struct channel_handler *handler, void *arg)
{
    struct channel *c = calloc(1, sizeof(*c));
    if (c == NULL)
        log_die("out of memory for a channel to %s", name);
    *c = (struct channel){.handler = handler, .arg = arg, .protocols = protocols, .side = side, .fd = fd};
    c->name = strdup(name);
    c->in.limit = FRAME_HEADER + FRAME_MAX + READ_SIZE;
    c->out.limit = BACKLOG_MAX;
    c->in.secret = c->out.secret = protocols & SECRETS;
    if (handler->keeps_room)
        spare_want();
    evutil_make_socket_nonblocking(fd);
    evutil_make_socket_closeonexec(fd);
    c->readable = event_new(base, fd, EV_READ | EV_PERSIST, channel_readable, c);
    c->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, channel_writable, c);
    if (c->name == NULL || c->readable == NULL || c->writable == NULL || event_add(c->readable, NULL) != 0)
        log_die("out of memory for a channel to %s", name);
    return c;
}

static void forget_dirty(struct channel *c)
{
    for (struct channel **at = &dirty_channels; *at; at = &(*at)->next_dirty) {
        if (*at == c) {
            *at = c->next_dirty;
            break;
        }
    }
    c->dirty = false;
}

static void release(struct channel *c)
{
    for (size_t i = c->outgoing_first; i < c->outgoing_count; i++)
        close(c->outgoing[i].fd);
    for (size_t i = 0; i < c->held_count; i++)
        if (c->held[i] >= 0)
            close(c->held[i]);
    event_free(c->readable);
    event_free(c->writable);
    close(c->fd);
    buf_free(&c->in);
    buf_free(&c->out);
    free(c->outgoing);
    free(c->held);
    free(c->name);
    free(c);
}

void channel_free(struct channel *c)
{
    if (c == NULL || c->freed)
        return;
    c->freed = c->ended = true;
    if (c->dirty)
        forget_dirty(c);
    event_del(c->readable);
    event_del(c->writable);
    if (c->depth == 0)
        release(c);
}

/* Tells the owner, once. The channel may be gone when this returns, unless a handler is still running above us. */
static void end(struct channel *c)
{
    if (c->ended)
        return;
    c->ended = true;
    event_del(c->readable);
    event_del(c->writable);
    c->depth++;
    c->handler->closed(c, c->arg);
    c->depth--;
    if (c->freed && c->depth == 0)
        release(c);
}

/* ---- out ----------------------------------------------------------------------------------------------------------------------- */

static bool outgoing_add(struct channel *c, int fd, size_t at)
{
    if (c->outgoing_count == c->outgoing_room) {
        size_t room = c->outgoing_room ? c->outgoing_room * 2 : 8;
        struct outgoing *more = realloc(c->outgoing, room * sizeof(*more));
        if (more == NULL)
            return false;
        c->outgoing = more;
        c->outgoing_room = room;
    }
    c->outgoing[c->outgoing_count++] = (struct outgoing){.at = at, .fd = fd};
    return true;
}

/* An end that is found while sending is told later, from the event loop: the sender is in the middle of something. */
static void end_later(struct channel *c)
{
    c->broken = true;
    shutdown(c->fd, SHUT_RDWR);
    event_active(c->readable, EV_READ, 0);
}

void channel_send(struct channel *c, const struct message *m)
{
    size_t at = c->out.len;
    if (c->ended || (m->fd >= 0 && !outgoing_add(c, m->fd, at))) {
        if (m->fd >= 0)
            close(m->fd);
        return;
    }
    if (!message_encode(&c->out, m)) {
        log_error("channel to %s: %s can't be sent (too long, a line end in a text, or no memory); closing the channel", c->name,
                  message_name(m->type));
        if (m->fd >= 0)
            close(c->outgoing[--c->outgoing_count].fd);
        end_later(c);
        return;
    }
    if (!c->dirty) {
        c->dirty = true;
        c->next_dirty = dirty_channels;
        dirty_channels = c;
    }
}

bool channel_flushed(const struct channel *c)
{
    return c->out.len == c->sent;
}

size_t channel_backlog(const struct channel *c)
{
    return c->out.len - c->sent;
}

/* How much may go in one sendmsg, and with which descriptor: a descriptor's frame begins a sendmsg, and the next one's ends it. */
static size_t next_piece(const struct channel *c, int *fd)
{
    size_t until = c->out.len, first = c->outgoing_first;
    *fd = -1;
    if (first < c->outgoing_count && c->outgoing[first].at == c->sent)
        *fd = c->outgoing[first++].fd;
    if (first < c->outgoing_count)
        until = c->outgoing[first].at;
    return until - c->sent;
}

static ssize_t send_piece(const struct channel *c, size_t n, int fd)
{
    struct iovec iov = {.iov_base = c->out.data + c->sent, .iov_len = n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    if (fd >= 0) {
        memset(&control, 0, sizeof(control));
        msg.msg_control = control.room;
        msg.msg_controllen = sizeof(control.room);
        struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(h), &fd, sizeof(int));
    }
    return sendmsg(c->fd, &msg, MSG_NOSIGNAL);
}

static void forget_sent(struct channel *c)
{
    if (c->sent == c->out.len) {
        bool large = c->out.cap > READ_SIZE * 4;
        if (c->out.secret && c->out.data)
            explicit_bzero(c->out.data, c->out.len);
        c->out.len = c->sent = 0;
        c->outgoing_first = c->outgoing_count = 0;
        if (large)
            buf_free(&c->out);
    } else if (c->sent > READ_SIZE * 4 && c->sent > c->out.len / 2) {
        for (size_t i = c->outgoing_first; i < c->outgoing_count; i++)
            c->outgoing[i].at -= c->sent;
        buf_consume(&c->out, c->sent);
        c->sent = 0;
    }
}

/* True while the channel is fit: everything was sent, or the socket is full and we wait for it. */
static bool flush(struct channel *c)
{
    while (c->sent < c->out.len) {
        int fd;
        size_t n = next_piece(c, &fd);
        ssize_t sent = send_piece(c, n, fd);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (sent < 0)
            return false;
        if (fd >= 0) {
            close(fd);
            c->outgoing_first++;
        }
        c->sent += (size_t)sent;
    }
    forget_sent(c);
    return true;
}

static void arm_writable(struct channel *c)
{
    bool wanted = c->sent < c->out.len;
    if (wanted == c->write_armed)
        return;
    c->write_armed = wanted;
    if (wanted)
        event_add(c->writable, NULL);
    else
        event_del(c->writable);
}

/* channel_readable() looks at what lies there already. */
static void resume_if_drained(struct channel *c)
{
    if (!c->stalled || c->out.len - c->sent > UNREAD_MOST / 2)
        return;
    event_add(c->readable, NULL);
    event_active(c->readable, EV_READ, 0);
}

/* What others are told stands in the log before they can act on it, unless the log takes nothing now. */
static void flush_and_arm(struct channel *c)
{
    log_flush();
    if (!flush(c)) {
        end_later(c);
        return;
    }
    arm_writable(c);
    resume_if_drained(c);
}

void channels_flush(void)
{
    spare_keep();
    while (dirty_channels) {
        struct channel *c = dirty_channels;
        dirty_channels = c->next_dirty;
        c->dirty = false;
        if (!c->write_armed && !c->ended)
            flush_and_arm(c);
    }
}

static void channel_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    flush_and_arm(arg);
}

/* ---- in ------------------------------------------------------------------------------------------------------------------------ */

static bool hold(struct channel *c, const int *fds, size_t n)
{
    int *held = c->held_count + n <= DESCRIPTORS_HELD ? realloc(c->held, (c->held_count + n) * sizeof(int)) : NULL;
    if (held)
        c->held = held;
    for (size_t i = 0; i < n; i++) {
        if (held)
            c->held[c->held_count++] = fds[i];
        else if (fds[i] >= 0)
            close(fds[i]);
    }
    return held != NULL;
}

/* The other side sends one at a time, and no read goes beyond one: where there is room for it in the message and nothing came, it is this one. */
static bool hold_lost(struct channel *c)
{
    static const int lost = -1;
    if (!c->handler->takes_loss)
        log_error("channel to %s: no room for a descriptor (too many open files); closing it", c->name);
    return c->handler->takes_loss && hold(c, &lost, 1);
}

static bool hold_descriptors(struct channel *c, struct msghdr *msg)
{
    bool cut = msg->msg_flags & MSG_CTRUNC, ok = true;
    size_t count = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        int fds[DESCRIPTORS_READ];
        memcpy(fds, CMSG_DATA(h), n * sizeof(int));
        ok = hold(c, fds, n) && ok;
        count += n;
    }
    if (cut && count == 0)
        return hold_lost(c);
    if (cut || !ok)
        log_error("channel to %s: more descriptors than are allowed; closing it", c->name);
    return ok && !cut;
}

/* Reads once. 1: something came; 0: nothing now; -1: the end. */
static int read_once(struct channel *c)
{
    if (!buf_reserve(&c->in, READ_SIZE))
        return -1;
    union {
        char room[CMSG_SPACE(sizeof(int) * DESCRIPTORS_READ)];
        struct cmsghdr align;
    } control;
    size_t room = c->in.cap - c->in.len;
    struct iovec iov = {.iov_base = c->in.data + c->in.len, .iov_len = room};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room)};
    if (c->handler->keeps_room)
        spare_give();
    ssize_t n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC);
    if (c->handler->keeps_room)
        spare_keep();
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
    if (n == 0)
        return -1;
    if (!hold_descriptors(c, &msg))
        return -1;
    c->in.len += (size_t)n;
    return 1;
}

static bool take_descriptor(struct channel *c, struct message *m, bool wanted)
{
    if (!wanted)
        return true;
    if (c->held_count == 0)
        return false;
    m->fd = c->held[0];
    m->fd_lost = m->fd < 0;
    c->held_count--;
    memmove(c->held, c->held + 1, c->held_count * sizeof(int));
    return true;
}

/* Only a server waits: if both sides did, neither would read again. */
static bool stall_if_unread(struct channel *c)
{
    if (c->side != SIDE_SERVER || c->out.len - c->sent <= UNREAD_MOST)
        return false;
    c->stalled = true;
    event_del(c->readable);
    return true;
}

/* Hands on the whole frames that are there; false when one is bad. */
static bool dispatch(struct channel *c)
{
    size_t done = 0;
    bool ok = true;
    while (!c->ended && c->in.len > done && !stall_if_unread(c)) {
        struct message m;
        struct error error;
        size_t used;
        bool wants_fd;
        enum side from = c->side == SIDE_CLIENT ? SIDE_SERVER : SIDE_CLIENT;
        int got = message_decode(span_make(c->in.data + done, c->in.len - done), c->protocols, from, &m, &used, &wants_fd, &error);
        if (got == 1 && !take_descriptor(c, &m, wants_fd))
            got = error_set(&error, "%s came without its descriptor", message_name(m.type));
        if (got < 0) {
            log_error("bad frame from %s: %s; closing the channel", c->name, error.text);
            ok = false;
        }
        if (got != 1)
            break;
        done += used;
        c->handler->message(c, &m, c->arg);
    }
    buf_consume(&c->in, done);
    if (c->in.len == 0 && c->in.cap > READ_SIZE * 4)
        buf_free(&c->in);
    return ok;
}

static void channel_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct channel *c = arg;
    c->depth++;
    bool left = c->stalled;
    c->stalled = false;
    int got = c->broken && c->side == SIDE_SERVER ? -1 : left ? 1 : read_once(c);
    bool ok = got >= 0;
    if (got > 0)
        ok = dispatch(c);
    c->depth--;
    if (c->freed) {
        if (c->depth == 0)
            release(c);
    } else if (!ok) {
        end(c);
    }
}
