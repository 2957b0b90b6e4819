/* Who gets a session, and who is sent away with a line. */
#include "smtpd/session_state.h"

#include "common/log.h"

#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

static void on_client_is(const struct message *m, void *arg)
{
    struct session *s = arg;
    s->client_question = 0;
    s->client_known = true;
    if (m && m->type != MESSAGE_CLIENT_IS)
        log_die("postino-route answered CLIENT with %s", message_name(m->type));
    if (m && m->client_is.name.n) {
        buf_clear(&s->name);
        buf_add_span(&s->name, m->client_is.name);
    }
    if (s->state != SESSION_WAIT || s->wait != WAIT_CLIENT)
        return;
    session_answered(s);
    session_client_known(s);
    session_resume(s);
}

void session_name_told(struct session *s, const char *name)
{
    peer_cancel(s->server->route, s->client_question);
    s->client_question = 0;
    s->client_known = true;
    buf_clear(&s->name);
    buf_add_text(&s->name, name);
}

void session_ask_name(struct session *s)
{
    session_name_told(s, "unknown");
    s->client_known = false;
    struct message m = {
        .type = MESSAGE_CLIENT, .fd = -1, .client = {.address = buf_span(&s->client), .listener = span_of(s->listener->title)}};
    s->client_question = peer_ask(s->server->route, &m, on_client_is, s);
}

/* Sends a stranger away without a session. */
void session_turn_away(struct server *server, int fd, const struct sockaddr *client, const char *code, const char *why, const char *rule)
{
    char reply[600];
    int n = snprintf(reply, sizeof reply, "%s %s %s\r\n", code, server->settings->hostname, why);
    struct buf line = BUF_EMPTY(2048), address = BUF_EMPTY(64);
    address_of_socket(client, &address);
    buf_add_text(&line, "reject: command=connect");
    log_value(&line, "client", buf_span(&address));
    log_value(&line, "reason", span_of(why));
    log_value(&line, "rule", span_of(rule));
    log_buf(LOG_LEVEL_INFO, &line);
    buf_free(&line);
    buf_free(&address);
    if (write(fd, reply, (size_t)n) < 0)
        log_debug("reject: the client was gone before it could be told");
    close(fd);
}

static void turn_away_local(const struct server *server, int fd, uid_t uid)
{
    char reply[600];
    int n = snprintf(reply, sizeof reply, "421 4.7.0 %s too many local sessions, try again later\r\n", server->settings->hostname);
    log_info("reject: command=connect client=\"local[uid %lu]\" reason=\"too many local sessions\" rule=\"limit { sessions }\"",
             (unsigned long)uid);
    if (write(fd, reply, (size_t)n) < 0)
        log_debug("reject: the client was gone before it could be told");
    close(fd);
}

/* A listener that is bound to networks is not there for others. */
static bool is_let_in(const struct settings_listener *l, const struct sockaddr *client)
{
    struct network network;
    for (size_t i = 0; i < l->clients.n; i++)
        if (network_parse(span_of(l->clients.v[i]), &network) && network_contains(&network, client))
            return true;
    return l->clients.n == 0;
}

static bool is_free(const struct server *server, const struct sockaddr *client)
{
    for (size_t i = 0; i < server->relay_from_count; i++)
        if (network_contains(&server->relay_from[i], client))
            return true;
    return false;
}

bool session_trusted(const struct session *s)
{
    return session_submits(s) || s->login.len > 0 || is_free(s->server, (const struct sockaddr *)&s->address);
}

/* Who is not let in, or has too many sessions, is told so, and gets none. */
static struct session *counted_session(struct server *server, const struct settings_listener *listener, int fd,
                                       const struct sockaddr *client)
{
    if (!is_let_in(listener, client)) {
        session_turn_away(server, fd, client, "554 5.7.1", "this service is not for your network", "listener { clients }");
        return NULL;
    }
    bool counted = !is_free(server, client);
    if (counted && !clients_enter(server->clients, client, server->settings->limit_sessions_client)) {
        session_turn_away(server, fd, client, "421 4.7.0", "too many sessions from your address", "limit { sessions_client }");
        return NULL;
    }
    struct session *s = NULL;
    if (shed_make_room(server, counted ? client : NULL))
        s = session_new(server, listener, fd);
    else
        session_turn_away(server, fd, client, "421 4.7.0", "too many sessions, try again later", "limit { sessions }");
    if (s) {
        s->counted = counted;
        s->stranger = session_is_stranger(server, client);
    } else if (counted) {
        clients_leave(server->clients, client);
    }
    return s;
}

static void set_address(struct session *s, const struct sockaddr *client)
{
    memcpy(&s->address, client, client->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    buf_clear(&s->client);
    address_of_socket(client, &s->client);
}

static void begin(struct session *s, const struct sockaddr *client)
{
    set_address(s, client);
    session_trust(s);
    session_ask_name(s);
    session_begin(s);
}

bool session_move(struct session *s, const struct sockaddr *client)
{
    struct server *server = s->server;
    if (s->counted)
        clients_leave(server->clients, (const struct sockaddr *)&s->address);
    shed_moves(s);
    set_address(s, client);
    s->counted = false;
    if (!is_let_in(s->listener, client)) {
        session_end(s, 554, "5.7.1", "%s this service is not for your network", server->settings->hostname);
        return false;
    }
    if (is_free(server, client))
        return true;
    s->counted = clients_enter(server->clients, client, server->settings->limit_sessions_client);
    if (!s->counted)
        session_end(s, 421, "4.7.0", "%s too many sessions from your address", server->settings->hostname);
    return s->counted;
}

void session_accept(struct server *server, const struct settings_listener *listener, int fd, const struct sockaddr *client)
{
    if (listener->proxy) {
        arrival_begin(server, listener, fd, client);
        return;
    }
    struct session *s = counted_session(server, listener, fd, client);
    if (s)
        begin(s, client);
}

void session_accept_proxied(struct server *server, const struct settings_listener *listener, int fd, const struct sockaddr *client,
                            const struct sockaddr *proxy)
{
    struct session *s =
        client ? counted_session(server, listener, fd, client) : session_new(server, listener, fd); /* which has its place */
    if (!s)
        return;
    s->nobody = !client;
    if (client)
        address_of_socket(proxy, &s->peer);
    begin(s, client ? client : proxy);
}

static uint64_t sessions_of(const struct server *server, uid_t uid)
{
    const struct session *s;
    uint64_t n = 0;
    TAILQ_FOREACH(s, &server->sessions, link)
    n += s->local && s->uid == uid;
    return n;
}

/* The host's users get a quarter of the sessions, so that none of them can keep the network out, and each of them a quarter of that; root is never
 * turned away. */
static bool has_too_many_local(const struct server *server, uid_t uid)
{
    uint64_t local = (server->settings->limit_sessions + 3) / 4;
    return uid != 0 && (server->local_count >= local || sessions_of(server, uid) >= (local + 3) / 4);
}

void session_accept_local(struct server *server, const struct settings_listener *listener, int fd, uid_t uid)
{
    if (has_too_many_local(server, uid) || (!shed_make_room(server, NULL) && uid != 0)) {
        turn_away_local(server, fd, uid);
        return;
    }
    struct session *s = session_new(server, listener, fd);
    if (!s)
        return;
    server->local_count++;
    s->local = s->client_known = true;
    s->uid = uid;
    session_begin(s);
}
