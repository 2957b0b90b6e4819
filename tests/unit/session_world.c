#include "tests/unit/session_world.h"

#include "common/stream.h"

#include <assert.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

static bool starts(struct span s, const char *text)
{
    return s.n >= strlen(text) && memcmp(s.p, text, strlen(text)) == 0;
}

static void add_recipient(struct buf *list, const char *local, struct span domain, struct span whole)
{
    struct buf address = {0};
    if (local)
        buf_printf(&address, "%s%.*s", local, SPAN_ARG(domain));
    else
        buf_add_span(&address, whole);
    struct record_recipient r = {
        .address = buf_span(&address), .transport = span_of("smtp"), .nexthop = span_of("example.org"), .tls = span_of("may")};
    record_recipient_add(list, &r);
    buf_free(&address);
}

static void answer_rcpt(struct channel *c, const struct message *m)
{
    struct span to = m->rcpt.recipient;
    const char *at = to.n ? memchr(to.p, '@', to.n) : NULL;
    struct span domain = at ? span_make(at, to.n - (size_t)(at - to.p)) : span_of("@local");
    struct buf list = {0};
    struct message a = {
        .type = MESSAGE_ROUTED, .id = m->id, .fd = -1, .routed = {.code = 250, .status = span_of("2.1.5"), .reply = span_of("ok")}};
    if (starts(to, "nouser@")) {
        a.routed = (struct message_routed){.code = 550, .status = span_of("5.1.1"), .reply = span_of("<nouser@example.org>: no such user")};
    } else if (starts(to, "later@")) {
        a.routed = (struct message_routed){.code = 451, .status = span_of("4.4.3"), .reply = span_of("<later@example.org>: try later")};
    } else if (m->rcpt.count && starts(to, "toomany@")) {
        a.routed = (struct message_routed){.code = 450,
                                           .status = span_of("4.7.1"),
                                           .reply = span_of("Error: too many recipients"),
                                           .rule = span_of("client { recipients }: 5 of 5 by x")};
    } else if (starts(to, "alias@")) {
        add_recipient(&list, "a", domain, to);
        add_recipient(&list, "b", domain, to);
        a.routed.recipients = (struct list){2, buf_span(&list)};
    } else {
        add_recipient(&list, NULL, domain, to);
        a.routed.recipients = (struct list){1, buf_span(&list)};
        a.routed.hold = starts(to, "hold@");
        if (starts(to, "marked@"))
            a.routed.prepend = SPAN_LITERAL("X-Mark: seen\r\nno header\r\n");
    }
    channel_send(c, &a);
    buf_free(&list);
}

/* The door: 198.51.100.1 has too many sessions, .2 sends too much, .3 waited lately. */
static void answer_door(struct world *w, struct channel *c, const struct message *m)
{
    struct message admitted = {.type = MESSAGE_ADMITTED, .id = m->id, .fd = -1}, counted = {.type = MESSAGE_COUNTED, .id = m->id, .fd = -1};
    const char *words = w->hostile_words ? w->hostile_words : "mx.example Error: too many connections from 198.51.100.1";
    if (m->type == MESSAGE_ADMIT) {
        w->admits++;
        admitted.admitted.passed = span_equal(m->admit.address, SPAN_LITERAL("198.51.100.3"));
        if (span_equal(m->admit.address, SPAN_LITERAL("198.51.100.1")))
            admitted.admitted = (struct message_admitted){.code = 421,
                                                          .status = span_of(w->hostile_status ? w->hostile_status : "4.7.0"),
                                                          .reply = span_of(words),
                                                          .rule = span_of("client { sessions }: 5 of 5 by 198.51.100.1")};
        channel_send(c, &admitted);
    } else {
        w->counts++;
        w->what = m->count.what;
        if (span_equal(m->count.address, SPAN_LITERAL("198.51.100.2")))
            counted.counted = (struct message_counted){.code = m->count.what == COUNT_TLS ? 421 : 450,
                                                       .status = span_of(w->hostile_status ? w->hostile_status : "4.7.1"),
                                                       .reply = span_of(w->hostile_words ? w->hostile_words : "Error: too much"),
                                                       .rule = span_of("client { messages }: 5 of 5 by 198.51.100.2")};
        channel_send(c, &counted);
    }
}

static void on_door(struct world *w, struct channel *c, const struct message *m)
{
    if (m->type == MESSAGE_GUEST)
        w->guests++;
    else if (m->type == MESSAGE_PASSED)
        w->passed++;
    else if (m->type == MESSAGE_LEFT)
        w->left++, w->errors = m->left.errors;
    else if (!w->door_silent)
        answer_door(w, c, m);
}

static void on_route(struct channel *c, const struct message *m, void *arg)
{
    struct world *w = arg;
    if (w->route_answers) {
        w->route_answers(w, c, m);
        return;
    }
    if (m->type != MESSAGE_CLIENT && m->type != MESSAGE_RCPT) {
        on_door(w, c, m);
        return;
    }
    w->questions++;
    if (m->type == MESSAGE_CLIENT && w->client_silent)
        return;
    if (m->type == MESSAGE_CLIENT)
        channel_send(c,
                     &(struct message){.type = MESSAGE_CLIENT_IS, .id = m->id, .fd = -1, .client_is = {.name = span_of("client.example")}});
    else if (!w->route_silent) {
        buf_clear(&w->client);
        w->pipelining = m->rcpt.pipelining != 0;
        buf_add_span(&w->client, m->rcpt.client);
        answer_rcpt(c, m);
    }
}

static void say_verdict(struct channel *c, uint32_t question, struct span credentials)
{
    static const struct {
        const char *end;
        enum auth_verdict verdict;
    } table[] = {{"secret", AUTH_YES}, {"down", AUTH_NOT_NOW}, {"refused", AUTH_REFUSED}, {"busy", AUTH_BUSY}, {"odd", AUTH_MALFORMED}};
    enum auth_verdict verdict = AUTH_NO;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        size_t n = strlen(table[i].end);
        if (credentials.n >= n && memcmp(credentials.p + credentials.n - n, table[i].end, n) == 0)
            verdict = table[i].verdict;
    }
    struct message a = {
        .type = MESSAGE_AUTHED, .id = question, .fd = -1, .authed = {.verdict = (uint16_t)verdict, .login = span_of("ann")}};
    channel_send(c, &a);
}

static void on_auth(struct channel *c, const struct message *m, void *arg)
{
    struct world *w = arg;
    struct message more = {.type = MESSAGE_AUTHED, .id = m->id, .fd = -1, .authed = {.verdict = AUTH_MORE, .challenge = span_of("go on")}};
    struct message offered = {.type = MESSAGE_OFFERED, .id = m->id, .fd = -1, .offered = {.mechanisms = span_of("PLAIN LOGIN")}};
    if (m->type == MESSAGE_MECHANISMS)
        channel_send(c, &offered);
    else if (m->type == MESSAGE_CANCEL)
        w->cancels++;
    else if (m->type == MESSAGE_USAGE)
        channel_send(c, &(struct message){.type = MESSAGE_USED, .id = m->id, .fd = -1, .used = {.beyond = w->beyond}});
    else if (m->type == MESSAGE_RESPONSE)
        say_verdict(c, m->id, m->response.response);
    else if (span_equal(m->auth.mechanism, span_of("NONE")))
        channel_send(c, &(struct message){.type = MESSAGE_AUTHED, .id = m->id, .fd = -1, .authed = {.verdict = AUTH_UNOFFERED}});
    else if (m->auth.has_response)
        say_verdict(c, m->id, m->auth.response);
    else
        channel_send(c, &more);
}

static void on_auth_unless_silent(struct channel *c, const struct message *m, void *arg)
{
    struct world *w = arg;
    if (!w->auth_silent)
        on_auth(c, m, arg);
}

static void keep(struct buf *to, struct span what)
{
    buf_clear(to);
    buf_add_span(to, what);
}

static void keep_put(struct world *w, const struct message_put *put)
{
    struct list list = put->recipients;
    struct record_recipient r;
    w->puts++;
    w->flags = put->flags;
    w->times =
        (struct times){.release = put->release, .deliver_by = put->deliver_by, .by_mode = put->by_mode, .mt_priority = put->mt_priority};
    keep(&w->sender, put->sender);
    keep(&w->flow, put->flow);
    buf_clear(&w->recipients);
    buf_clear(&w->wishes);
    buf_printf(&w->wishes, "%u %.*s", put->ret, SPAN_ARG(put->envid));
    while (record_recipient_next(&list, &r)) {
        buf_printf(&w->recipients, "%.*s<%.*s> ", SPAN_ARG(r.address), SPAN_ARG(r.original));
        buf_printf(&w->wishes, " %.*s: %u %.*s", SPAN_ARG(r.address), r.notify, SPAN_ARG(r.orcpt));
    }
    keep(&w->body, buf_span(&w->pieces));
    buf_add_span(&w->body, put->body);
    buf_clear(&w->pieces);
}

static void answer_stored(struct world *w, struct channel *c, uint32_t id)
{
    struct message a = {
        .type = MESSAGE_STORED, .id = id, .fd = -1, .stored = {.code = (uint16_t)w->store_code, .reply = span_of("disk full")}};
    channel_send(c, &a);
}

static void answer_flush(struct channel *c, const struct message *m)
{
    struct message a = {.type = MESSAGE_FLUSHED, .id = m->id, .fd = -1, .flushed = {.code = FLUSH_DONE, .count = 7u + m->flush.below}};
    if (span_equal(m->flush.domain, span_of("soon.example")))
        a.flushed.code = FLUSH_TOO_SOON;
    if (span_equal(m->flush.domain, span_of("empty.example")))
        a.flushed.count = 0;
    if (!span_equal(m->flush.domain, span_of("silent.example")))
        channel_send(c, &a);
}

static void on_qmgr(struct channel *c, const struct message *m, void *arg)
{
    struct world *w = arg;
    static uint64_t next = 1;
    switch (m->type) {
    case MESSAGE_FLUSH:
        answer_flush(c, m);
        break;
    case MESSAGE_LEASE:
        if (w->lease_silent)
            break;
        channel_send(c,
                     &(struct message){.type = MESSAGE_LEASED, .id = m->id, .fd = -1, .leased = {.first = next, .count = m->lease.count}});
        next += m->lease.count;
        break;
    case MESSAGE_APPEND:
        w->appends++;
        buf_add_span(&w->pieces, m->append.piece);
        if (!w->append_silent)
            answer_stored(w, c, m->id);
        break;
    case MESSAGE_DROP:
        w->drops++;
        buf_clear(&w->pieces);
        break;
    case MESSAGE_PUT:
        keep_put(w, &m->put);
        if (!w->qmgr_silent)
            answer_stored(w, c, m->id);
        break;
    default:
        abort();
    }
}

static void on_closed(struct channel *c, void *arg)
{
    (void)c, (void)arg;
    abort();
}

static struct channel *fake(struct world *w, struct peer *peer, const char *name, unsigned protocols, const struct channel_handler *handler)
{
    int fd[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0)
        abort();
    peer_connect(peer, fd[0]);
    return channel_new(w->base, fd[1], name, protocols, SIDE_SERVER, handler, w);
}

#define ROUTE_SPEAKS (1u << PROTOCOL_SMTPD_ROUTE | 1u << PROTOCOL_ROUTING)
#define AUTH_SPEAKS  (1u << PROTOCOL_SMTPD_AUTH)
#define QMGR_SPEAKS  (1u << PROTOCOL_SMTPD_QMGR)

static const struct channel_handler route_handler = {.message = on_route, .closed = on_closed};
static const struct channel_handler auth_handler = {.message = on_auth_unless_silent, .closed = on_closed};
static const struct channel_handler qmgr_handler = {.message = on_qmgr, .closed = on_closed};

/* A test has its context in the place of what makes contexts. */
SSL_CTX *tls_context(struct tls *tls, const struct settings_listener *listener)
{
    (void)listener;
    return (SSL_CTX *)(void *)tls;
}

void world_open(struct world *w)
{
    *w = (struct world){.store_code = 250};
    signal(SIGPIPE, SIG_IGN);
    w->base = event_base_new();
    w->settings = settings_new();
    free(w->settings->hostname);
    w->settings->hostname = strdup("mx.example");
    static char title[] = "smtp";
    w->listener = (struct settings_listener){
        .title = title, .tls = LISTENER_TLS_MAY, .auth = LISTENER_AUTH_MAY, .priority = LISTENER_PRIORITY_NORMAL};
    struct server *s = &w->server;
    s->base = w->base;
    s->settings = w->settings;
    s->clients = clients_new();
    s->route = peer_new(w->base, "route", ROUTE_SPEAKS);
    s->auth = peer_new(w->base, "auth", AUTH_SPEAKS);
    s->qmgr = peer_new(w->base, "qmgr", QMGR_SPEAKS);
    w->route = fake(w, s->route, "smtpd", ROUTE_SPEAKS, &route_handler);
    w->auth = fake(w, s->auth, "smtpd", AUTH_SPEAKS, &auth_handler);
    w->qmgr = fake(w, s->qmgr, "smtpd", QMGR_SPEAKS, &qmgr_handler);
    server_init(s);
    s->ids = ids_new(s->qmgr);
}

void world_kill_auth(struct world *w)
{
    channel_free(w->auth);
    world_turn(w);
    w->auth = fake(w, w->server.auth, "smtpd", AUTH_SPEAKS, &auth_handler);
}

void world_kill_route(struct world *w)
{
    channel_free(w->route);
    world_turn(w);
    w->route = fake(w, w->server.route, "smtpd", ROUTE_SPEAKS, &route_handler);
}

void world_kill_qmgr(struct world *w)
{
    channel_free(w->qmgr);
    world_turn(w);
    w->qmgr = fake(w, w->server.qmgr, "smtpd", QMGR_SPEAKS, &qmgr_handler);
}

void world_turn(struct world *w)
{
    streams_flush();
    channels_flush();
    event_base_loop(w->base, EVLOOP_NONBLOCK);
    streams_flush();
    channels_flush();
}

void world_lend(struct world *w, struct strings *setting, size_t n, char **list)
{
    assert(w->lent_count < sizeof w->lent / sizeof w->lent[0]);
    w->lent[w->lent_count].setting = setting;
    w->lent[w->lent_count++].own = *setting;
    *setting = (struct strings){n, list};
}

void world_close(struct world *w)
{
    while (w->lent_count > 0) {
        w->lent_count--;
        *w->lent[w->lent_count].setting = w->lent[w->lent_count].own;
    }
    struct server *s = &w->server;
    server_free(s);
    ids_free(s->ids);
    clients_free(s->clients);
    channel_free(w->route);
    channel_free(w->auth);
    channel_free(w->qmgr);
    peer_free(s->route);
    peer_free(s->auth);
    peer_free(s->qmgr);
    struct buf *bufs[] = {&w->body, &w->sender, &w->recipients, &w->flow, &w->client, &w->pieces, &w->wishes};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++)
        buf_free(bufs[i]);
    settings_free(w->settings);
    event_base_free(w->base);
}
