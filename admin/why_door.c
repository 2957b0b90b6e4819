#include "admin/why_door.h"

#include "common/address.h"
#include "resolver/fairtable.h"

#include <inttypes.h>
#include <stdio.h>

static bool is_in(const struct strings *networks, const char *client)
{
    struct sockaddr_storage ss;
    socklen_t len;
    struct network network;
    bool found = false;
    for (size_t i = 0; address_to_socket(span_of(client), 0, &ss, &len) && i < networks->n; i++)
        found |= network_parse(span_of(networks->v[i]), &network) && network_contains(&network, (struct sockaddr *)&ss);
    return found;
}

static void greeting(const struct settings *s, const char *listener)
{
    static const char *const actions[] = {"logged", "refused at RCPT with 550", "dropped with 521"};
    const struct settings_listener *l = settings_listener(s, span_of(listener));
    if (!s->smtpd_greet_delay)
        puts("greeting: at once");
    else if (l != NULL && (l->auth == LISTENER_AUTH_REQUIRED || l->tls == LISTENER_TLS_IMPLICIT))
        printf("greeting: at once, by listener \"%s\"\n", listener);
    else
        printf("greeting: after %" PRIu64 " s, by smtpd { greet_delay }, or at once within %" PRIu64
               " s of that\n  who speaks before it is %s\n",
               s->smtpd_greet_delay, s->smtpd_greet_passed, actions[s->smtpd_greet_action]);
}

static void limits(const struct settings *s, const char *client)
{
    const struct {
        const char *name, *unit;
        uint64_t most;
    } all[] = {{"sessions", "at a time", s->client_sessions}, {"connections", "a minute", s->client_connections},
               {"messages", "a minute", s->client_messages},  {"recipients", "a minute", s->client_recipients},
               {"errors", "a minute", s->client_errors},      {"tls", "a minute", s->client_tls},
               {"auth", "a minute", s->client_auth}};
    char own[64], network[64];
    prefix_name(client, strlen(client), false, own, sizeof own);
    prefix_name(client, strlen(client), true, network, sizeof network);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (!all[i].most)
            continue;
        printf("limit: client { %s }: %" PRIu64 " %s for %s", all[i].name, all[i].most, all[i].unit, own);
        if (s->client_networks)
            printf(", %" PRIu64 " for %s", all[i].most * s->client_networks, network);
        puts("");
    }
}

bool why_listener(const struct settings *s, const char *client, const char *listener, const char *login, struct why_refusal *r)
{
    const struct settings_listener *l = settings_listener(s, span_of(listener));
    if (!l)
        return false;
    if (l->clients.n > 0 && !is_in(&l->clients, client))
        *r = (struct why_refusal){554, "5.7.1", "this service is not for your network", "listener { clients }"};
    else if (l->auth == LISTENER_AUTH_REQUIRED && !*login)
        *r = (struct why_refusal){530, "5.7.0", "authentication required (or with --login, who it is)", "listener { auth = required }"};
    else
        return false;
    return true;
}

void why_door(const struct settings *s, const char *client, const char *listener, bool trusted)
{
    if (trusted || is_in(&s->client_exempt, client)) {
        printf("greeting: at once, and no limits, by %s\n", trusted ? "relay_from" : "client { exempt }");
        return;
    }
    greeting(s, listener);
    limits(s, client);
}
