/* Logins to next hosts: what a login section must have, and which routes may use one. */
#include "conf/check.h"

#include "common/address.h"
#include "common/httpsurl.h"
#include "common/sasl.h"
#include "common/secretfile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

static unsigned line_of(const struct check *c, size_t i, const char *name)
{
    return places_line_in(c->places, SETTINGS_LOGINS, i, name);
}

/* ---- a login --------------------------------------------------------------------------------------------------------------------- */

static void check_given(const struct check *c, size_t i, const char *name, const char *value, const char *example)
{
    if (!*value && !places_refused(c->places, SETTINGS_LOGINS, i, "login", name))
        report_error(c->report, line_of(c, i, NULL), "login \"%s\" has no %s; add %s = \"%s\"", c->settings->logins[i].title, name, name,
                     example);
}

static void check_login_mechanisms(const struct check *c, size_t i)
{
    const struct settings_login *l = &c->settings->logins[i];
    for (size_t k = 0; k < l->mechanisms.n; k++) {
        unsigned one = sasl_mechanism(span_of(l->mechanisms.v[k]));
        if (!one)
            report_error(c->report, line_of(c, i, "mechanisms"),
                         "login \"%s\": mechanism \"%s\" is not known here; write SCRAM-SHA-256-PLUS, SCRAM-SHA-1-PLUS, SCRAM-SHA-256, "
                         "SCRAM-SHA-1, CRAM-MD5, PLAIN or LOGIN, or with token_url OAUTHBEARER or XOAUTH2",
                         l->title, l->mechanisms.v[k]);
        else if (!*l->token_url != !(one & SASL_TOKEN))
            report_error(c->report, line_of(c, i, "mechanisms"), "login \"%s\": mechanism \"%s\" is %s", l->title, l->mechanisms.v[k],
                         *l->token_url ? "for passwords; with token_url write OAUTHBEARER or XOAUTH2"
                                       : "for tokens; add token_url = \"https://host/path\"");
    }
}

static void check_tokens(const struct check *c, size_t i)
{
    const struct settings_login *l = &c->settings->logins[i];
    struct httpsurl url;
    if (!*l->token_url && (*l->client_id || *l->client_secret || *l->scope))
        report_error(c->report, line_of(c, i, NULL), "login \"%s\" has no token_url for its client; add token_url = \"https://host/path\"",
                     l->title);
    if (!*l->token_url)
        return;
    if (!httpsurl_parse(l->token_url, &url))
        report_error(c->report, line_of(c, i, "token_url"), "login \"%s\": token_url \"%s\" is none; write https://host/path", l->title,
                     l->token_url);
    check_given(c, i, "client_id", l->client_id, "id");
}

static bool is_used(const struct settings *s, const char *title)
{
    for (size_t i = 0; i < s->route_count; i++)
        if (strcmp(s->routes[i].login, title) == 0)
            return true;
    return false;
}

void check_login(const struct check *c, size_t i)
{
    const struct settings_login *l = &c->settings->logins[i];
    check_given(c, i, "user", l->user, "name");
    if (!*l->token_url || !*l->client_secret)
        check_given(c, i, "secret", l->secret, "/etc/postino/secret");
    check_tokens(c, i);
    check_login_mechanisms(c, i);
    if (!is_used(c->settings, l->title))
        report_warning(c->report, line_of(c, i, NULL), "login \"%s\" is used by no route; add login = \"%s\" to a route, or take it out",
                       l->title, l->title);
}

/* ---- a route with a login -------------------------------------------------------------------------------------------------------- */

static bool is_login(const struct settings *s, const char *title)
{
    for (size_t i = 0; i < s->login_count; i++)
        if (strcmp(s->logins[i].title, title) == 0)
            return true;
    return false;
}

static bool is_insecure(const struct settings *s, const char *title)
{
    for (size_t i = 0; i < s->login_count; i++)
        if (strcmp(s->logins[i].title, title) == 0)
            return s->logins[i].insecure;
    return false;
}

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
    return address->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* "smtp:[127.0.0.1]:2525": a tunnel, or another program of this host. */
static bool leads_to_loopback(const char *via)
{
    struct sockaddr_storage address;
    socklen_t length;
    const char *open = strchr(via, '['), *close = open ? strchr(open, ']') : NULL;
    if (!close)
        return false;
    struct span whole = span_make(open, (size_t)(close - open) + 1), inner = span_make(open + 1, whole.n - 2);
    return (address_to_socket(inner, 0, &address, &length) || address_literal(whole, &address)) && is_loopback(&address);
}

/* "smtp:" and "smtp::587": the recipient's own domain. */
static bool leads_everywhere(const char *via)
{
    return strcmp(via, "smtp:") == 0 || strncmp(via, "smtp::", 6) == 0;
}

void check_route_login(const struct check *c, size_t i)
{
    struct settings_route *r = &c->settings->routes[i];
    unsigned line = places_line_in(c->places, SETTINGS_ROUTES, i, "login");
    if (!*r->login)
        return;
    bool near = leads_to_loopback(r->via);
    if (!places_given_in(c->places, SETTINGS_ROUTES, i, "tls") && !near)
        r->tls = TLSPOLICY_VERIFY;
    if (!is_login(c->settings, r->login))
        report_error(c->report, line, "route \"%s\": there is no login \"%s\"; add login \"%s\" { user = \"name\"  secret = \"/path\" }",
                     r->title, r->login, r->login);
    else if (leads_everywhere(r->via))
        report_error(c->report, line, "route \"%s\" would log in at every domain's host; name one, as in via = \"smtp:[host]:587\"",
                     r->title);
    else if (strncmp(r->via, "lmtp:unix:", 10) == 0)
        report_error(c->report, line, "route \"%s\" leads to a socket of this host, where nobody logs in; take its login out", r->title);
    else if (r->tls <= TLSPOLICY_ENCRYPT && !near && !is_insecure(c->settings, r->login))
        report_error(
            c->report, line,
            "route \"%s\" logs in where TLS proves nothing: nobody would be told anything; write tls = verify, or insecure = yes into "
            "the login",
            r->title);
}

/* ---- their files ----------------------------------------------------------------------------------------------------------------- */

static void check_file(const struct check *c, size_t i, const char *name, const char *path)
{
    struct buf secret = {0};
    struct error error;
    if (*path && geteuid() != 0 && access(path, R_OK) < 0 && errno == EACCES)
        report_warning(c->report, line_of(c, i, name), "secret file %s can't be read by you, and was not checked; check as root", path);
    else if (*path && secretfile_read(path, &secret, &error) < 0)
        report_error(c->report, line_of(c, i, name), "login \"%s\": %s", c->settings->logins[i].title, error.text);
    buf_free(&secret);
}

/* postino-creds could not start without them. */
static void check_authorities_of_tokens(const struct check *c)
{
    const struct settings *s = c->settings;
    for (size_t i = 0; i < s->login_count; i++)
        if (*s->logins[i].token_url && access(s->tls_authorities, R_OK) < 0) {
            report_error(
                c->report, line_of(c, i, "token_url"),
                "login \"%s\" fetches tokens, and the authorities' %s can't be read: %s; install ca-certificates, or set authorities",
                s->logins[i].title, s->tls_authorities, strerror(errno));
            return;
        }
}

void check_login_files(const struct check *c)
{
    check_authorities_of_tokens(c);
    for (size_t i = 0; i < c->settings->login_count; i++)
        check_file(c, i, "secret", c->settings->logins[i].secret);
    for (size_t i = 0; i < c->settings->login_count; i++)
        check_file(c, i, "client_secret", c->settings->logins[i].client_secret);
}
