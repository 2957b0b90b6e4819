/* What a listener says of TLS, clients, logins and addresses, and whether another one has its port. */
#include "conf/check.h"

#include "common/address.h"

#include <stdlib.h>

/* One that was refused counts: its own error is enough. */
static bool has_certificate(const struct check *c)
{
    return c->settings->tls_certificate.n > 0 || places_refused(c->places, SETTINGS_KINDS, 0, "tls", "certificate");
}

static void check_listener_tls(const struct check *c, size_t i)
{
    const struct settings_listener *l = &c->settings->listeners[i];
    bool certificate = has_certificate(c);
    unsigned line = places_line_in(c->places, SETTINGS_LISTENERS, i, "tls");
    if (places_refused(c->places, SETTINGS_LISTENERS, i, "listener", "tls"))
        return;
    if (!certificate && (l->tls == LISTENER_TLS_REQUIRED || l->tls == LISTENER_TLS_IMPLICIT))
        report_error(c->report, line,
                     "listener \"%s\" demands TLS, and there is no certificate; add tls { certificate = \"/path\" key = \"/path\" }",
                     l->title);
    else if (!certificate && l->tls == LISTENER_TLS_MAY && places_given_in(c->places, SETTINGS_LISTENERS, i, "tls"))
        report_warning(c->report, line,
                       "listener \"%s\" can't offer TLS without a certificate; add tls { certificate = \"/path\" key = \"/path\" }",
                       l->title);
    if (l->port == 465 && l->tls != LISTENER_TLS_IMPLICIT)
        report_warning(c->report, line, "listener \"%s\": clients of port 465 begin with TLS (RFC 8314); write tls = implicit", l->title);
}

static bool is_given(const struct check *c, size_t i, const char *name)
{
    return places_given_in(c->places, SETTINGS_LISTENERS, i, name) && !places_refused(c->places, SETTINGS_LISTENERS, i, "listener", name);
}

/* True: clients are few and known. */
static bool check_clients(const struct check *c, size_t i)
{
    const struct settings_listener *l = &c->settings->listeners[i];
    bool bound = l->clients.n > 0;
    for (size_t k = 0; k < l->clients.n; k++) {
        struct network network;
        if (!network_parse(span_of(l->clients.v[k]), &network))
            report_error(
                c->report, places_line_in(c->places, SETTINGS_LISTENERS, i, "clients"),
                "listener \"%s\": clients \"%s\" is not a network; write an address, or one with a prefix length, as in 10.0.0.0/8",
                l->title, l->clients.v[k]);
        else
            bound &= network.bits > 0;
    }
    return bound;
}

/* What is too weak for all may be right for a few old devices, but must be said for them alone. */
static void check_strength(const struct check *c, size_t i)
{
    const struct settings_listener *l = &c->settings->listeners[i];
    bool bound = check_clients(c, i), old = is_given(c, i, "tls_minimum") && l->tls_minimum < LISTENER_MINIMUM_TLS12;
    const char *name = old ? "tls_minimum" : "tls_ciphers";
    if (!bound && (old || (is_given(c, i, "tls_ciphers") && *l->tls_ciphers)))
        report_error(
            c->report, places_line_in(c->places, SETTINGS_LISTENERS, i, name),
            "listener \"%s\": %s is weaker than it should be for everybody; add clients = { \"192.0.2.0/24\" } of the devices that need it",
            l->title, name);
}

/* A word of EHLO that there is not hides nothing, and whoever wrote it thinks that it does. */
static void check_hidden(const struct check *c, size_t i)
{
    static const char *const words[] = {"PIPELINING",    "SIZE",      "LIMITS",      "STARTTLS", "AUTH",       "XCLIENT",
                                        "XFORWARD",      "DSN",       "SMTPUTF8",    "CHUNKING", "REQUIRETLS", "BINARYMIME",
                                        "FUTURERELEASE", "DELIVERBY", "MT-PRIORITY", "8BITMIME", "ETRN",       "ENHANCEDSTATUSCODES"};
    const struct settings_listener *l = &c->settings->listeners[i];
    for (size_t k = 0; k < l->hide.n; k++) {
        bool known = false;
        for (size_t w = 0; w < sizeof words / sizeof words[0]; w++)
            known |= strcasecmp(l->hide.v[k], words[w]) == 0;
        if (!known)
            report_warning(c->report, places_line_in(c->places, SETTINGS_LISTENERS, i, "hide"),
                           "listener \"%s\": hide \"%s\" is no keyword of EHLO, and hides nothing; write them as EHLO tells them", l->title,
                           l->hide.v[k]);
    }
}

static void check_client_certificates(const struct check *c, size_t i)
{
    const struct settings_listener *l = &c->settings->listeners[i];
    unsigned line = places_line_in(c->places, SETTINGS_LISTENERS, i, "tls_client");
    if (l->tls_client == LISTENER_CLIENT_NONE || places_refused(c->places, SETTINGS_LISTENERS, i, "listener", "tls"))
        return;
    if (l->tls == LISTENER_TLS_NONE)
        report_error(c->report, line, "listener \"%s\" has no TLS, and so no certificates of clients; set tls, or take tls_client out",
                     l->title);
    else if (l->tls == LISTENER_TLS_MAY && l->tls_client != LISTENER_CLIENT_ASK)
        report_warning(c->report, line, "listener \"%s\": clients need no certificate without TLS; write tls = required", l->title);
    if (l->tls_client == LISTENER_CLIENT_VERIFIED && !*c->settings->tls_client_authorities)
        report_error(c->report, line,
                     "listener \"%s\": nobody vouches for certificates of clients; set tls { client_authorities = \"/path\" }", l->title);
}

static void check_listener_auth(const struct check *c, size_t i)
{
    const struct settings_listener *l = &c->settings->listeners[i];
    bool certificate = has_certificate(c);
    unsigned line = places_line_in(c->places, SETTINGS_LISTENERS, i, "auth");
    if (l->auth == LISTENER_AUTH_NONE || places_refused(c->places, SETTINGS_LISTENERS, i, "listener", "tls"))
        return;
    if (l->tls == LISTENER_TLS_NONE)
        report_error(c->report, line,
                     "listener \"%s\" has AUTH without TLS, which would show passwords to the network; write tls = required", l->title);
    else if (l->tls == LISTENER_TLS_MAY && !certificate)
        report_error(
            c->report, line,
            "listener \"%s\" offers AUTH over TLS alone, and there is no certificate; add tls { certificate = \"/path\" key = \"/path\" }",
            l->title);
    if (l->port == 25 && l->auth == LISTENER_AUTH_REQUIRED)
        report_warning(c->report, line,
                       "listener \"%s\" takes no mail from other hosts, as they don't log in on port 25; use port 587 or 465", l->title);
}

static void check_addresses(const struct check *c, size_t i)
{
    const struct settings_listener *l = &c->settings->listeners[i];
    for (size_t k = 0; k < l->address.n; k++) {
        struct sockaddr_storage address;
        socklen_t length;
        if (!address_to_socket(span_of(l->address.v[k]), (unsigned)l->port, &address, &length))
            report_error(c->report, places_line_in(c->places, SETTINGS_LISTENERS, i, "address"),
                         "listener \"%s\": address \"%s\" is not an IPv4 or IPv6 address; write one, as in 192.0.2.1 or 2001:db8::1",
                         l->title, l->address.v[k]);
    }
}

/* Of addresses written in two ways ("::1", "0:0::1") the text made of both is compared. */
static bool same_address(const char *a, const char *b)
{
    struct sockaddr_storage one, two;
    socklen_t length;
    struct buf text[2] = {BUF_EMPTY(128), BUF_EMPTY(128)};
    if (!address_to_socket(span_of(a), 0, &one, &length) || !address_to_socket(span_of(b), 0, &two, &length))
        return false;
    address_of_socket((const struct sockaddr *)&one, &text[0]);
    address_of_socket((const struct sockaddr *)&two, &text[1]);
    bool same = span_equal(buf_span(&text[0]), buf_span(&text[1]));
    buf_free(&text[0]);
    buf_free(&text[1]);
    return same;
}

/* The address that both want; NULL: none. Without addresses a listener wants all of them. */
static const char *shared_address(const struct strings *a, const struct strings *b)
{
    if (a->n == 0 || b->n == 0)
        return a->n + b->n == 0 ? "all addresses" : a->n ? a->v[0] : b->v[0];
    for (size_t i = 0; i < a->n; i++)
        for (size_t k = 0; k < b->n; k++)
            if (same_address(a->v[i], b->v[k]))
                return a->v[i];
    return NULL;
}

static void check_twice(const struct check *c, size_t i)
{
    const struct settings_listener *l = &c->settings->listeners[i];
    for (size_t k = 0; k < i; k++) {
        const struct settings_listener *other = &c->settings->listeners[k];
        if (*l->socket || *other->socket)
            continue;
        bool known = !places_refused(c->places, SETTINGS_LISTENERS, i, "listener", "port") &&
                     !places_refused(c->places, SETTINGS_LISTENERS, k, "listener", "port");
        const char *shared = known && l->port == other->port ? shared_address(&l->address, &other->address) : NULL;
        if (shared)
            report_error(c->report, places_line_in(c->places, SETTINGS_LISTENERS, i, "port"),
                         "listener \"%s\" wants port %u of %s, which listener \"%s\" has; change one", l->title, (unsigned)l->port, shared,
                         other->title);
    }
}

void check_listener(const struct check *c, size_t i)
{
    check_listener_tls(c, i);
    check_strength(c, i);
    check_hidden(c, i);
    check_client_certificates(c, i);
    check_listener_auth(c, i);
    check_proxy(c, i);
    check_lmtp(c, i);
    check_addresses(c, i);
    check_twice(c, i);
}
