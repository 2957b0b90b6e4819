#include "resolver/stub.h"

#include "common/address.h"
#include "common/log.h"
#include "resolver/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    UNDER_WAY = 2048, /* sockets at a time */
    UDP_SIZE = 1232,
    TCP_SIZE = 2 + 65535,
    FIRST_WAIT = 2, /* seconds; doubled each time */
    MOST_WAIT = 16,
    TRIES = 8, /* over all servers, before it is given up */
    NAME_OCTETS = 255,
    QUERY = 2 + 12 + NAME_OCTETS + 4 + 11 /* with the length that TCP wants in front, and OPT */
};

struct stub {
    TAILQ_ENTRY(stub) link; /* while it waits for a socket */
    bool waiting, tcp, connected;
    uint8_t query[QUERY];
    size_t query_length;
    char *name;
    uint16_t id, type;
    unsigned server, tries, refused;
    int fd;
    struct event *event, *again;
    uint8_t *in; /* TCP */
    size_t have;
    stub_fn *done;
    void *arg;
};
TAILQ_HEAD(stubs, stub);

static struct {
    struct event_base *base;
    const struct nameservers *servers;
    struct sockaddr_storage address[NAMESERVERS];
    socklen_t length[NAMESERVERS];
    struct stubs waiting;
    size_t under_way;
    unsigned first; /* the server that answered last is asked first */
} self;

/* ---- the question ---------------------------------------------------------------------------------------------------------------- */

static uint8_t *put16(uint8_t *to, unsigned v)
{
    to[0] = (uint8_t)(v >> 8);
    to[1] = (uint8_t)v;
    return to + 2;
}

/* Labels of plain names; NULL: it is none. */
static uint8_t *put_name(uint8_t *to, const char *name)
{
    const uint8_t *end = to + NAME_OCTETS - 1;
    while (*name && strcmp(name, ".") != 0) {
        size_t n = strcspn(name, ".");
        if (n == 0 || n > 63 || n + 1 > (size_t)(end - to) || memchr(name, '\\', n) != NULL)
            return NULL;
        *to++ = (uint8_t)n;
        memcpy(to, name, n);
        to += n;
        name += n + (name[n] == '.');
    }
    *to++ = 0;
    return to;
}

/* RD and AD; one question; OPT (RFC 6891) with DO, without which some resolvers leave out that the answer is proved. */
static bool make_query(struct stub *s)
{
    static const uint8_t head[] = {0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1};
    static const uint8_t opt[] = {0, 0, 41, UDP_SIZE >> 8, UDP_SIZE & 255, 0, 0, 0x80, 0, 0, 0};
    memcpy(s->query + 4, head, sizeof head);
    uint8_t *p = put_name(s->query + 2 + 12, s->name);
    if (p == NULL)
        return false;
    p = put16(p, s->type);
    p = put16(p, 1);
    memcpy(p, opt, sizeof opt);
    s->query_length = (size_t)(p + sizeof opt - s->query);
    put16(s->query, (unsigned)s->query_length - 2);
    return true;
}

static void new_number(struct stub *s)
{
    if (getrandom(&s->id, sizeof s->id, 0) != sizeof s->id)
        log_die("no random numbers from the system");
    put16(s->query + 2, s->id);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

static void pump(void);

static void close_socket(struct stub *s)
{
    if (s->event != NULL)
        event_free(s->event);
    if (s->fd >= 0)
        close(s->fd);
    free(s->in);
    s->event = NULL;
    s->fd = -1;
    s->in = NULL;
    s->have = 0;
}

void stub_cancel(struct stub *s)
{
    if (s->waiting)
        TAILQ_REMOVE(&self.waiting, s, link);
    else
        self.under_way--;
    close_socket(s);
    event_free(s->again);
    free(s->name);
    free(s);
    pump();
}

static void finish(struct stub *s, const void *packet, size_t n, const char *why)
{
    if (packet != NULL)
        self.first = s->server;
    s->done(packet, n, why, s->arg);
    stub_cancel(s);
}

/* ---- one try --------------------------------------------------------------------------------------------------------------------- */

static void on_udp(evutil_socket_t fd, short what, void *arg);
static void on_tcp(evutil_socket_t fd, short what, void *arg);

static void try_again_in(struct stub *s, struct timeval wait)
{
    if (evtimer_add(s->again, &wait) < 0)
        log_die("out of memory for a timer");
}

/* Each failure costs a try, so that a resolver whose TCP is shut is not asked as fast as it can refuse. */
static void try_at_once(struct stub *s)
{
    if (s->tries >= TRIES) {
        finish(s, NULL, 0, "the resolver hangs up");
        return;
    }
    close_socket(s);
    s->server = (s->server + 1) % (unsigned)self.servers->n;
    try_again_in(s, (struct timeval){0});
}

static bool open_socket(struct stub *s, int type, short what, event_callback_fn callback)
{
    const struct sockaddr *to = (const struct sockaddr *)&self.address[s->server];
    s->fd = socket(to->sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return false;
    if (connect(s->fd, to, self.length[s->server]) < 0 && errno != EINPROGRESS)
        return false;
    s->event = event_new(self.base, s->fd, (short)(what | EV_PERSIST), callback, s);
    return s->event != NULL && event_add(s->event, NULL) == 0;
}

static struct timeval patience(const struct stub *s)
{
    unsigned wait = FIRST_WAIT << (s->tries < 4 ? s->tries : 4);
    return (struct timeval){.tv_sec = wait < MOST_WAIT ? wait : MOST_WAIT};
}

/* What fails here (no descriptor, no memory) is tried again by the timer. */
static void attempt(evutil_socket_t fd, short what, void *arg)
{
    struct stub *s = arg;
    (void)fd, (void)what;
    if (s->fd >= 0) { /* it was silent */
        close_socket(s);
        s->server = (s->server + 1) % (unsigned)self.servers->n;
    }
    try_again_in(s, patience(s));
    s->tries++;
    s->tcp = s->connected = false;
    new_number(s);
    if (open_socket(s, SOCK_DGRAM, EV_READ, on_udp))
        (void)!send(s->fd, s->query + 2, s->query_length - 2, 0);
}

static void pump(void)
{
    struct stub *s;
    while (self.under_way < UNDER_WAY && (s = TAILQ_FIRST(&self.waiting)) != NULL) {
        TAILQ_REMOVE(&self.waiting, s, link);
        s->waiting = false;
        s->server = self.first;
        self.under_way++;
        try_again_in(s, (struct timeval){0});
    }
}

/* ---- answers --------------------------------------------------------------------------------------------------------------------- */

/* To this question, and whole: `truncated` says that only its beginning is. */
static bool is_answer(const struct stub *s, const uint8_t *packet, size_t n, bool *truncated)
{
    struct wire wire;
    if (n < 12 || (unsigned)(packet[0] << 8 | packet[1]) != s->id || !wire_open(&wire, packet, n))
        return false;
    *truncated = wire.truncated;
    return wire.asked_type == s->type && strcasecmp(wire.asked, strcmp(s->name, ".") == 0 ? "" : s->name) == 0;
}

static void over_tcp(struct stub *s)
{
    close_socket(s);
    s->tcp = true;
    s->in = malloc(TCP_SIZE);
    if (s->in == NULL || !open_socket(s, SOCK_STREAM, EV_WRITE, on_tcp))
        try_at_once(s);
}

static void is_refused(struct stub *s)
{
    char why[160];
    if (++s->refused < self.servers->n) {
        try_at_once(s);
        return;
    }
    snprintf(why, sizeof why, "resolver %s: %s", self.servers->address[s->server], strerror(errno));
    finish(s, NULL, 0, why);
}

static void on_udp(evutil_socket_t fd, short what, void *arg)
{
    struct stub *s = arg;
    uint8_t packet[4096];
    bool truncated;
    (void)what;
    ssize_t n = recv(fd, packet, sizeof packet, 0);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        is_refused(s);
    else if (n < 0 || !is_answer(s, packet, (size_t)n, &truncated))
        return;
    else if (truncated)
        over_tcp(s);
    else
        finish(s, packet, (size_t)n, "");
}

static void say_over_tcp(struct stub *s)
{
    ssize_t n = send(s->fd, s->query, s->query_length, MSG_NOSIGNAL);
    event_free(s->event);
    s->event = event_new(self.base, s->fd, EV_READ | EV_PERSIST, on_tcp, s);
    s->connected = true;
    if (n != (ssize_t)s->query_length || s->event == NULL || event_add(s->event, NULL) < 0)
        try_at_once(s);
}

static void on_tcp(evutil_socket_t fd, short what, void *arg)
{
    struct stub *s = arg;
    bool truncated = false;
    (void)what;
    if (!s->connected) {
        say_over_tcp(s);
        return;
    }
    ssize_t n = recv(fd, s->in + s->have, TCP_SIZE - s->have, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        try_at_once(s);
        return;
    }
    s->have += (size_t)n;
    size_t wanted = s->have < 2 ? TCP_SIZE : 2u + (unsigned)(s->in[0] << 8 | s->in[1]);
    if (s->have < wanted)
        return;
    if (is_answer(s, s->in + 2, wanted - 2, &truncated) && !truncated)
        finish(s, s->in + 2, wanted - 2, "");
    else
        finish(s, NULL, 0, "malformed answer");
}

/* ---- asking ---------------------------------------------------------------------------------------------------------------------- */

struct stub *stub_ask(const char *name, uint16_t type, stub_fn *done, void *arg)
{
    struct stub *s = calloc(1, sizeof *s);
    if (s == NULL || (s->name = strdup(name)) == NULL || (s->again = evtimer_new(self.base, attempt, s)) == NULL)
        log_die("out of memory for a DNS question");
    s->type = type;
    s->fd = -1;
    s->done = done;
    s->arg = arg;
    s->waiting = true;
    TAILQ_INSERT_TAIL(&self.waiting, s, link);
    if (!make_query(s)) {
        stub_cancel(s);
        return NULL;
    }
    pump();
    return s;
}

int stub_setup(struct event_base *base, const struct nameservers *servers, struct error *error)
{
    self.base = base;
    self.servers = servers;
    TAILQ_INIT(&self.waiting);
    if (servers->n == 0)
        return error_set(error, "dns { trust_ad } takes a dns { server } on loopback");
    for (size_t i = 0; i < servers->n; i++)
        if (!address_of_resolver(span_of(servers->address[i]), &self.address[i], &self.length[i]) || !address_is_loopback(&self.address[i]))
            return error_set(error, "dns { server = \"%s\" } is not on loopback, so its AD bit is not believed", servers->address[i]);
    return 0;
}
