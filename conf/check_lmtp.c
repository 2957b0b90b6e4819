/* Listeners with protocol = lmtp, and those on a socket. */
#include "conf/check.h"

#define SOCKET_MOST 107 /* octets of a UNIX socket's path */

static unsigned line_in(const struct check *c, size_t listener, const char *name)
{
    return places_line_in(c->places, SETTINGS_LISTENERS, listener, name);
}

/* What is about clients of the network. */
static void check_idle_settings(const struct check *c, size_t i)
{
    static const char *const names[] = {"port",   "address", "tls",         "auth",        "proxy",     "proxy_from",
                                        "access", "clients", "tls_minimum", "tls_ciphers", "tls_client"};
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++)
        if (places_given_in(c->places, SETTINGS_LISTENERS, i, names[k]))
            report_error(c->report, line_in(c, i, names[k]), "listener \"%s\" is a socket, whose clients are this host's; take out %s",
                         c->settings->listeners[i].title, names[k]);
}

static void check_socket(const struct check *c, size_t i)
{
    const struct settings_listener *l = &c->settings->listeners[i];
    unsigned line = line_in(c, i, "socket");
    if (l->protocol != LISTENER_PROTOCOL_LMTP)
        report_error(c->report, line, "listener \"%s\": a socket is for LMTP; add protocol = lmtp, or take out socket", l->title);
    if (strcmp(l->title, "submit") == 0 || strcmp(l->title, "queue") == 0)
        report_error(c->report, line, "listener \"%s\" has the name of a socket that every host has; give it another", l->title);
    if (strlen(l->socket) > SOCKET_MOST)
        report_error(c->report, line, "listener \"%s\": socket \"%s\" is too long: %d octets at most", l->title, l->socket, SOCKET_MOST);
    for (size_t k = 0; k < i; k++)
        if (strcmp(l->socket, c->settings->listeners[k].socket) == 0)
            report_error(c->report, line, "listener \"%s\" wants the socket of listener \"%s\"; change one", l->title,
                         c->settings->listeners[k].title);
    check_idle_settings(c, i);
}

void check_lmtp(const struct check *c, size_t i)
{
    const struct settings_listener *l = &c->settings->listeners[i];
    if (places_refused(c->places, SETTINGS_LISTENERS, i, "listener", "protocol") ||
        places_refused(c->places, SETTINGS_LISTENERS, i, "listener", "socket") ||
        places_refused(c->places, SETTINGS_LISTENERS, i, "listener", "port"))
        return;
    if (*l->socket)
        check_socket(c, i);
    else if (l->protocol == LISTENER_PROTOCOL_LMTP && l->port == 25)
        report_error(c->report, line_in(c, i, "port"),
                     "listener \"%s\": LMTP must not be on port 25 (RFC 2033 5); write port = 24, or socket = \"/run/postino/lmtp\"",
                     l->title);
}
