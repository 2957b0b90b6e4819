/* Connections on a listener with proxy = yes, before they are sessions: the PROXY header is read, and not one octet more, as what is behind it
 * may be the beginning of TLS. Nothing is sent meanwhile.
 *
 *   ARRIVED --header--> a session of the client that it names
 *     \-----garbage, too long, nothing in time, the end, a stop--> closed, with a line in the log */
#include "smtpd/session_state.h"

#include "common/log.h"
#include "smtpd/listed.h"
#include "smtpd/proxy.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#define HEADER_SECONDS 5 /* for all of it */

struct arrival {
    TAILQ_ENTRY(arrival) link;
    struct server *server;
    const struct settings_listener *listener;
    int fd;
    struct sockaddr_storage proxy;
    struct event *event, *timer;
    size_t n;
    char header[PROXY_V2_MOST];
};

static void log_refused(enum log_level level, const struct sockaddr *proxy, const char *why)
{
    if (!log_wanted(level))
        return;
    struct buf line = BUF_EMPTY(1024), address = BUF_EMPTY(64);
    address_of_socket(proxy, &address);
    buf_add_text(&line, "reject: command=proxy");
    log_value(&line, "peer", buf_span(&address));
    log_value(&line, "reason", span_of(why));
    log_buf(level, &line);
    buf_free(&line);
    buf_free(&address);
}

/* The descriptor stays open for a session. */
static void forget(struct arrival *a)
{
    TAILQ_REMOVE(&a->server->arrivals, a, link);
    a->server->session_count--;
    event_free(a->event);
    event_free(a->timer);
    free(a);
}

static void refuse_at(struct arrival *a, enum log_level level, const char *why)
{
    struct server *server = a->server;
    log_refused(level, (const struct sockaddr *)&a->proxy, why);
    close(a->fd);
    forget(a);
    server_left(server);
}

static void refuse(struct arrival *a, const char *why)
{
    refuse_at(a, LOG_LEVEL_INFO, why);
}

static void finish(struct arrival *a, const struct sockaddr *client)
{
    struct arrival gone = *a;
    forget(a); /* its place is the session's */
    session_accept_proxied(gone.server, gone.listener, gone.fd, client, (const struct sockaddr *)&gone.proxy);
    server_left(gone.server);
}

/* Takes what was seen out of the socket. */
static bool take(struct arrival *a, size_t n)
{
    if (recv(a->fd, a->header + a->n, n, 0) != (ssize_t)n)
        return false;
    a->n += n;
    return true;
}

static void look(struct arrival *a, size_t seen)
{
    struct proxy p;
    enum proxy_result result = proxy_parse(span_make(a->header, a->n + seen), &p);
    if (result == PROXY_REFUSED)
        refuse(a, p.why);
    else if (!take(a, result == PROXY_MORE ? seen : p.length - a->n))
        refuse(a, "the header could not be read");
    else if (result == PROXY_CLIENT)
        finish(a, (const struct sockaddr *)&p.client);
    else if (result == PROXY_NOBODY)
        finish(a, NULL);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct arrival *a = arg;
    (void)what;
    ssize_t n = recv((int)fd, a->header + a->n, sizeof a->header - a->n, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        look(a, (size_t)n);
    else if (n < 0)
        refuse(a, strerror(errno));
    else if (a->n)
        refuse(a, "the connection ended inside of the PROXY header");
    else
        refuse_at(a, LOG_LEVEL_DEBUG, "nothing was said; a proxy looks like that whether the port is open");
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    refuse(arg, "no whole PROXY header in time");
}

static bool wait_for_header(struct arrival *a)
{
    struct event_base *base = a->server->base;
    a->event = event_new(base, a->fd, EV_READ | EV_PERSIST, on_readable, a);
    a->timer = evtimer_new(base, on_timer, a);
    return a->event && a->timer && event_add(a->event, NULL) == 0 &&
           evtimer_add(a->timer, &(struct timeval){.tv_sec = HEADER_SECONDS}) == 0;
}

void arrival_begin(struct server *server, const struct settings_listener *listener, int fd, const struct sockaddr *proxy)
{
    if (!listed(&listener->proxy_from, proxy)) {
        session_turn_away(server, fd, proxy, "421 4.7.0", "this port is for proxies", "listener { proxy_from }");
        return;
    }
    if (!shed_make_room(server, NULL)) {
        session_turn_away(server, fd, proxy, "421 4.7.0", "too many sessions, try again later", "limit { sessions }");
        return;
    }
    struct arrival *a = calloc(1, sizeof *a);
    if (!a) {
        close(fd);
        return;
    }
    a->server = server;
    a->listener = listener;
    a->fd = fd;
    memcpy(&a->proxy, proxy, proxy->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    TAILQ_INSERT_TAIL(&server->arrivals, a, link);
    server->session_count++;
    if (!wait_for_header(a))
        log_die("out of memory for a connection");
}

void arrivals_end(struct server *server)
{
    struct arrival *a;
    while ((a = TAILQ_FIRST(&server->arrivals)))
        refuse(a, "the program is being stopped");
}
