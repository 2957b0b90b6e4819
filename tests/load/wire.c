#include "tests/load/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t now_us;
static uint64_t stood_us;
int loop;
uint16_t server_port;

void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "load: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(1);
}

uint64_t clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000 - stood_us;
}

void clock_stood(uint64_t us)
{
    stood_us += us;
}

void wire_watch(int fd, struct fired *who, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = who};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &e) != 0)
        die("epoll: %s", strerror(errno));
}

static void want(struct actor *a, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = a};
    if (a->interest != events && epoll_ctl(loop, EPOLL_CTL_MOD, a->fd, &e) != 0)
        die("epoll: %s", strerror(errno));
    a->interest = events;
}

static void want_as_needed(struct actor *a)
{
    bool more = a->connecting || a->out_at < a->out_len;
    want(a, (a->deaf ? 0 : EPOLLIN) | (more ? EPOLLOUT : 0));
}

void actor_wake_in(struct actor *a, uint64_t milliseconds)
{
    a->wake = now_us + milliseconds * 1000;
}

/* ---- output ---------------------------------------------------------------------------------------------------------------------- */

static ssize_t put(struct actor *a, const char *p, size_t n)
{
    if (!a->ssl || a->handshaking)
        return send(a->fd, p, n, MSG_NOSIGNAL);
    int done = SSL_write(a->ssl, p, (int)n);
    errno = EAGAIN;
    return done > 0 ? done : -1;
}

static void flush(struct actor *a)
{
    while (a->out_at < a->out_len) {
        ssize_t n = put(a, a->out + a->out_at, a->out_len - a->out_at);
        if (n < 0)
            break;
        a->out_at += (size_t)n;
    }
    if (a->out_at == a->out_len)
        a->out_at = a->out_len = 0;
    want_as_needed(a);
}

void actor_send(struct actor *a, const void *p, size_t n)
{
    if (a->fd < 0)
        return;
    if (a->out_len + n > a->out_cap) {
        a->out_cap = (a->out_len + n) * 2;
        a->out = realloc(a->out, a->out_cap);
        if (a->out == NULL)
            die("out of memory");
    }
    memcpy(a->out + a->out_len, p, n);
    a->out_len += n;
    if (!a->connecting && !a->handshaking)
        flush(a);
}

void actor_say(struct actor *a, const char *text)
{
    actor_send(a, text, strlen(text));
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

void actor_close(struct actor *a, bool reset)
{
    if (a->fd < 0)
        return;
    if (reset)
        setsockopt(a->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    SSL_free(a->ssl);
    a->ssl = NULL;
    close(a->fd);
    free(a->out);
    a->out = NULL;
    a->fd = -1;
    a->out_len = a->out_at = a->out_cap = a->line_len = 0;
    a->connecting = a->handshaking = false;
}

static void over(struct actor *a)
{
    actor_close(a, false);
    a->kind->ended(a, false);
}

static void fire(void *self, uint32_t events);

void actor_open(struct actor *a)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(a->source)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(server_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, small = 2048;
    a->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (a->fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(a->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(a->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (a->deaf)
        setsockopt(a->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (bind(a->fd, (struct sockaddr *)&from, sizeof from) != 0)
        die("bind: %s", strerror(errno));
    a->fired.fire = fire;
    a->connecting = true;
    a->step = 0;
    a->messages = 0;
    if (connect(a->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
        actor_close(a, false);
        a->kind->ended(a, errno == EADDRNOTAVAIL);
        return;
    }
    a->interest = (a->deaf ? 0 : EPOLLIN) | EPOLLOUT;
    wire_watch(a->fd, &a->fired, a->interest);
}

/* ---- TLS ------------------------------------------------------------------------------------------------------------------------- */

void actor_start_tls(struct actor *a)
{
    static SSL_CTX *context;
    if (context == NULL) {
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    a->ssl = SSL_new(context);
    if (a->ssl == NULL || SSL_set_fd(a->ssl, a->fd) != 1)
        die("no TLS");
    SSL_set_connect_state(a->ssl);
    a->handshaking = true;
    fire(a, EPOLLIN);
}

/* False: it is over, and the actor was told. */
static bool handshake(struct actor *a)
{
    int done = SSL_do_handshake(a->ssl);
    if (done == 1) {
        a->handshaking = false;
        a->kind->secured(a);
        return a->fd >= 0;
    }
    if (SSL_get_error(a->ssl, done) == SSL_ERROR_WANT_READ)
        return false;
    over(a);
    return false;
}

/* ---- input ----------------------------------------------------------------------------------------------------------------------- */

static ssize_t get(struct actor *a, char *to, size_t room)
{
    if (!a->ssl)
        return recv(a->fd, to, room, 0);
    int n = SSL_read(a->ssl, to, (int)room);
    if (n > 0)
        return n;
    errno = EAGAIN;
    return SSL_get_error(a->ssl, n) == SSL_ERROR_WANT_READ ? -1 : 0;
}

static void take(struct actor *a, const char *p, size_t n)
{
    for (size_t i = 0; i < n && a->fd >= 0; i++) {
        if (p[i] != '\n') {
            if (a->line_len < sizeof a->line - 1)
                a->line[a->line_len++] = p[i];
            continue;
        }
        a->line[a->line_len] = '\0';
        bool last = a->line_len > 3 && a->line[3] != '-';
        a->line_len = 0;
        if (last)
            a->kind->reply(a, atoi(a->line));
    }
}

static void read_all(struct actor *a)
{
    char piece[16384];
    for (int i = 0; i < 4 && a->fd >= 0; i++) {
        bool secure = a->ssl != NULL;
        ssize_t n = get(a, piece, sizeof piece);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            over(a);
            return;
        }
        take(a, piece, (size_t)n);
        if (a->fd < 0 || secure != (a->ssl != NULL) || (size_t)n < sizeof piece)
            return;
    }
}

static void fire(void *self, uint32_t events)
{
    struct actor *a = self;
    if (a->fd < 0)
        return;
    if (a->connecting) {
        int error = 0;
        socklen_t size = sizeof error;
        if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error) {
            over(a);
            return;
        }
        if (!(events & EPOLLOUT))
            return;
        a->connecting = false;
        flush(a);
    }
    if (a->handshaking && (!handshake(a) || a->handshaking))
        return;
    if (a->fd >= 0 && (events & EPOLLOUT)) {
        flush(a);
        if (a->out_len == 0 && a->kind->writable)
            a->kind->writable(a);
    }
    if (a->fd < 0)
        return;
    if (events & EPOLLIN)
        read_all(a);
    else if (events & (EPOLLHUP | EPOLLERR))
        over(a);
}
