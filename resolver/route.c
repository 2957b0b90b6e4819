/* postino-route: who is this client, may this recipient be, and where does it go? */
#include "common/log.h"
#include "common/peer.h"
#include "common/program.h"
#include "resolver/door.h"
#include "resolver/routing.h"
#include "resolver/screen.h"
#include "resolver/users.h"

#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#define OPEN_FILES 1024 /* an edge for each smtpd, twice in a reload */

/* A CLIENT whose name is asked for: NAME --answer, or client_name_timeout--> CLIENT_IS. */
struct client {
    LIST_ENTRY(client) link;
    struct edge *edge;
    uint32_t id;
    uint32_t question;
    struct event *timer;
    bool may_relay;
};

/* A RCPT that routing took, on its way through the rules of `access`. */
struct rcpt {
    LIST_ENTRY(rcpt) link;
    struct edge *edge;
    uint32_t id;
    struct ruling ruling;
    struct screen *screen;
};

struct edge {
    struct channel *channel;
    struct doorway *doorway; /* NULL before its first question */
    LIST_HEAD(, client) clients;
    LIST_HEAD(, rcpt) rcpts;
};

static struct {
    const struct settings *settings;
    struct routing *routing;
    struct door *door;
    struct screens *screens;
    struct peer *dns;
    size_t open; /* clients and rcpts */
} self;

static void one_less(void)
{
    if (--self.open == 0 && program_draining())
        program_end();
}

/* ---- CLIENT -------------------------------------------------------------------------------------------------------------------- */

static void answer_client(struct edge *edge, uint32_t id, struct span name, bool may_relay)
{
    struct message m = {.type = MESSAGE_CLIENT_IS, .id = id, .fd = -1, .client_is = {.name = name, .may_relay = may_relay}};
    channel_send(edge->channel, &m);
}

static void client_free(struct client *c)
{
    peer_cancel(self.dns, c->question);
    event_free(c->timer);
    LIST_REMOVE(c, link);
    free(c);
    one_less();
}

static void client_named(const struct message *m, void *arg)
{
    struct client *c = arg;
    c->question = 0;
    answer_client(c->edge, c->id, m != NULL ? m->named.name : SPAN_LITERAL("unknown"), c->may_relay);
    client_free(c);
}

static void client_timed_out(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct client *c = arg;
    answer_client(c->edge, c->id, SPAN_LITERAL("unknown"), c->may_relay);
    client_free(c);
}

static void ask_name(struct edge *edge, const struct message *m, bool may_relay)
{
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL || (c->timer = evtimer_new(program_base(), client_timed_out, c)) == NULL)
        log_die("out of memory for a client");
    c->edge = edge;
    c->id = m->id;
    c->may_relay = may_relay;
    LIST_INSERT_HEAD(&edge->clients, c, link);
    self.open++;
    evtimer_add(c->timer, &(struct timeval){.tv_sec = (time_t)self.settings->dns_client_name_timeout});
    struct message question = {.type = MESSAGE_NAME, .fd = -1, .name = {.address = m->client.address}};
    c->question = peer_ask(self.dns, &question, client_named, c);
}

static void take_client(struct edge *edge, const struct message *m)
{
    bool may_relay = routing_client_may_relay(self.routing, m->client.address);
    if (self.settings->dns_client_names)
        ask_name(edge, m, may_relay);
    else
        answer_client(edge, m->id, SPAN_LITERAL("unknown"), may_relay);
}

/* ---- RCPT ---------------------------------------------------------------------------------------------------------------------- */

/* With the recipient in front, where the words don't name what they are about. */
static void refuse_by_routing(const struct ruling *ruling, struct span recipient, struct message_routed *out, struct buf *text)
{
    buf_printf(text, "<%.*s>: %.*s", SPAN_ARG(recipient), SPAN_ARG(buf_span(&ruling->reply)));
    out->reply = buf_span(text);
    out->rule = span_of(ruling->by);
}

struct path {
    struct span sender, recipient;
};

static void answer_rcpt(struct edge *edge, uint32_t id, struct path path, const struct ruling *ruling, const struct access *access)
{
    struct message answer = {.type = MESSAGE_ROUTED, .id = id, .fd = -1};
    struct buf text = BUF_EMPTY(8192), sender = BUF_EMPTY(1024);
    routing_sender(path.sender, &sender);
    answer.routed = (struct message_routed){.code = (uint16_t)ruling->code,
                                            .status = span_of(ruling->status),
                                            .reply = buf_span(&ruling->reply),
                                            .rule = span_of(ruling->rule),
                                            .sender = buf_span(&sender),
                                            .recipients = ruling->targets};
    if (access != NULL) {
        answer.routed.rule = buf_span(&access->rule);
        answer.routed.hold = access->hold;
        answer.routed.prepend = buf_span(&access->prepend);
    }
    if (access != NULL && access->code != 250) {
        answer.routed.code = (uint16_t)access->code;
        answer.routed.status = span_of(access->status);
        answer.routed.reply = buf_span(&access->reply);
        answer.routed.recipients = (struct list){0};
    }
    if (access == NULL && ruling->code != 250 && ruling->rule == NULL)
        refuse_by_routing(ruling, path.recipient, &answer.routed, &text);
    channel_send(edge->channel, &answer);
    buf_free(&text);
    buf_free(&sender);
}

static void rcpt_free(struct rcpt *r)
{
    LIST_REMOVE(r, link);
    ruling_free(&r->ruling);
    free(r);
    one_less();
}

static void screened(const struct access *access, void *arg)
{
    struct rcpt *r = arg;
    answer_rcpt(r->edge, r->id, (struct path){access->facts.sender, access->facts.recipient}, &r->ruling, access);
    rcpt_free(r);
}

static void screen(struct edge *edge, const struct message *m, struct ruling *ruling)
{
    struct rcpt *r = calloc(1, sizeof *r);
    if (r == NULL)
        log_die("out of memory for a recipient");
    *r = (struct rcpt){.edge = edge, .id = m->id, .ruling = *ruling};
    LIST_INSERT_HEAD(&edge->rcpts, r, link);
    self.open++;
    bool trusted = m->rcpt.may_relay != 0 || routing_client_may_relay(self.routing, m->rcpt.client);
    struct screen *open = screen_start(self.screens, &m->rcpt, trusted, r->ruling.certificate_listed, screened, r);
    if (open != NULL)
        r->screen = open;
}

static struct doorway *doorway_of(struct edge *edge)
{
    if (edge->doorway == NULL)
        edge->doorway = doorway_new(self.door);
    return edge->doorway;
}

/* False, and the answer is said: the client has named too many. */
static bool may_ask(struct edge *edge, const struct message *m)
{
    struct message answer;
    struct buf text = BUF_EMPTY(1024);
    bool may = doorway_rcpt(doorway_of(edge), m, &answer, &text);
    if (!may)
        channel_send(edge->channel, &answer);
    buf_free(&text);
    return may;
}

/* Who may not relay, or writes to nobody, costs no question to others. */
static void take_rcpt(struct edge *edge, const struct message *m)
{
    struct ruling ruling;
    if (!may_ask(edge, m))
        return;
    routing_decide(self.routing, &m->rcpt, &ruling);
    if (ruling.code == 250 && screens_rules_for(self.screens, m->rcpt.listener)) {
        screen(edge, m, &ruling);
        return;
    }
    answer_rcpt(edge, m->id, (struct path){m->rcpt.sender, m->rcpt.recipient}, &ruling, NULL);
    ruling_free(&ruling);
}

/* ---- the door ------------------------------------------------------------------------------------------------------------------ */

static void take_question(struct edge *edge, const struct message *m)
{
    struct message answer;
    struct buf text = BUF_EMPTY(1024);
    if (m->type == MESSAGE_ADMIT)
        doorway_admit(doorway_of(edge), m, &answer, &text);
    else
        doorway_count(doorway_of(edge), m, &answer, &text);
    channel_send(edge->channel, &answer);
    buf_free(&text);
}

/* ---- edges --------------------------------------------------------------------------------------------------------------------- */

static void edge_message(struct channel *c, const struct message *m, void *arg)
{
    (void)c;
    if (m->type == MESSAGE_CLIENT)
        take_client(arg, m);
    else if (m->type == MESSAGE_RCPT)
        take_rcpt(arg, m);
    else if (m->type == MESSAGE_ADMIT || m->type == MESSAGE_COUNT)
        take_question(arg, m);
    else
        doorway_notice(doorway_of(arg), m);
}

static void edge_closed(struct channel *c, void *arg)
{
    struct edge *edge = arg;
    struct client *client;
    while ((client = LIST_FIRST(&edge->clients)) != NULL)
        client_free(client);
    struct rcpt *r;
    while ((r = LIST_FIRST(&edge->rcpts)) != NULL) {
        screen_cancel(r->screen);
        rcpt_free(r);
    }
    doorway_free(edge->doorway);
    channel_free(c);
    free(edge);
}

static void add_edge(const char *role, int fd)
{
    static const struct channel_handler handler = {.message = edge_message, .closed = edge_closed};
    struct edge *edge = calloc(1, sizeof *edge);
    if (edge == NULL)
        log_die("out of memory for an edge");
    LIST_INIT(&edge->clients);
    LIST_INIT(&edge->rcpts);
    unsigned protocols = 1u << PROTOCOL_ROUTING;
    if (strcmp(role, "smtpd") == 0)
        protocols |= 1u << PROTOCOL_SMTPD_ROUTE;
    edge->channel = channel_new(program_base(), fd, role, protocols, SIDE_SERVER, &handler, edge);
}

static struct peer *dns(void)
{
    if (self.dns == NULL)
        self.dns = peer_new(program_base(), "dns", 1u << PROTOCOL_ROUTE_DNS | 1u << PROTOCOL_RESOLVING);
    return self.dns;
}

static void peer(const char *role, uint32_t instance, int fd)
{
    (void)instance;
    if (strcmp(role, "dns") == 0)
        peer_connect(dns(), fd);
    else
        add_edge(role, fd);
}

/* ---- start --------------------------------------------------------------------------------------------------------------------- */

static int prepare(const struct settings *s, struct error *error)
{
    (void)s, (void)error;
    users_warm_up();
    return 0;
}

/* "hash:/etc/postino/users" is read in /etc/postino. */
static void allow_directory_of(struct sandbox *out, const char *map)
{
    const char *path = strchr(map, '/');
    if (path != NULL)
        sandbox_directory_of(out, path, SANDBOX_READ);
}

/* Without such a rule there are no sockets of the network. */
static void allow_service(struct span service, struct sandbox *out)
{
    struct sockaddr_storage address;
    socklen_t length;
    if (!access_service_address(service, &address, &length) || address.ss_family == AF_UNIX)
        return;
    out->calls |= SANDBOX_STREAM_TO;
    sandbox_port(out, ntohs(((const struct sockaddr_in *)&address)->sin_port)); /* sin6_port lies in the same place */
}

static void allow_rules(const struct strings *rules, struct sandbox *out)
{
    struct access_words words;
    struct error ignored;
    for (size_t i = 0; i < rules->n; i++) {
        if (access_words_parse(rules->v[i], &words, &ignored) != 0)
            continue;
        if (words.word == ACCESS_check_policy_service)
            allow_service(words.argument, out);
        if (words.word < ACCESS_check_ccert_access || words.word > ACCESS_check_recipient_access)
            continue;
        char *map = strndup(words.argument.p, words.argument.n);
        if (map != NULL)
            allow_directory_of(out, map);
        free(map);
    }
}

static void sandbox(const struct settings *s, struct sandbox *out)
{
    users_sandbox(out);
    out->open_files = OPEN_FILES;
    for (size_t i = 0; i < s->aliases.n; i++)
        allow_directory_of(out, s->aliases.v[i]);
    for (size_t i = 0; i < s->sender_logins.n; i++)
        allow_directory_of(out, s->sender_logins.v[i]);
    for (size_t i = 0; i < s->relay_clientcerts.n; i++)
        allow_directory_of(out, s->relay_clientcerts.v[i]);
    for (size_t i = 0; i < s->relay_recipients.n; i++)
        allow_directory_of(out, s->relay_recipients.v[i]);
    for (size_t i = 0; i < s->domain_count; i++)
        allow_directory_of(out, s->domains[i].mailboxes);
    allow_rules(&s->access, out);
    for (size_t i = 0; i < s->listener_count; i++)
        allow_rules(&s->listeners[i].access, out);
}

static int start(const struct settings *s, struct error *error)
{
    self.settings = s;
    dns();
    self.door = door_new(s);
    self.routing = routing_new(s, users_find, error);
    if (self.routing != NULL)
        self.screens = screens_new(program_base(), s, dns(), error);
    return self.screens != NULL ? 0 : -1;
}

static void drain(void)
{
    if (self.open == 0)
        program_end();
}

static const struct program route_program = {
    .name = "route",
    .sandbox = sandbox,
    .prepare = prepare,
    .start = start,
    .peer = peer,
    .drain = drain,
};

int main(int argc, char **argv)
{
    return program_main(&route_program, argc, argv);
}
