/* Domains and routes; and those sections that a host has without being told. */
#include "conf/check.h"

#include "common/address.h"

#include <ctype.h>
#include <stdlib.h>

#define FINGERPRINTS_MOST 15  /* TLSPOLICY_TEXT */
#define SOCKET_MOST       107 /* octets of a UNIX socket's path */

/* ---- domains ------------------------------------------------------------------------------------------------------------------- */

static bool climbs(const char *path)
{
    for (const char *p = path; (p = strstr(p, "..")); p += 2)
        if ((p == path || p[-1] == '/') && (p[2] == '/' || p[2] == '\0'))
            return true;
    return false;
}

static void check_owner(const struct check *c, size_t i)
{
    const struct settings_domain *d = &c->settings->domains[i];
    unsigned line = places_line_in(c->places, SETTINGS_DOMAINS, i, "owner");
    if (places_refused(c->places, SETTINGS_DOMAINS, i, "domain", "owner"))
        return;
    if (!*d->owner)
        report_error(c->report, line, "domain \"%s\" has a map of mailboxes and no owner; add owner = \"vmail\" (a user other than root)",
                     d->title);
    else if (strcmp(d->owner, "root") == 0 || strspn(d->owner, "0") == strlen(d->owner))
        report_error(c->report, line, "domain \"%s\": owner is root, who must not own mailboxes; make a user for them, as vmail", d->title);
    else if (!check_is_user(span_of(d->owner)))
        report_error(c->report, line, "domain \"%s\": owner \"%s\" is not a user name; write a user or a uid", d->title, d->owner);
}

static bool has_maildirs(const struct settings_domain *d)
{
    return strcmp(d->deliver, "maildir") == 0;
}

static void check_mapped(const struct check *c, size_t i)
{
    const struct settings_domain *d = &c->settings->domains[i];
    unsigned line = places_line_in(c->places, SETTINGS_DOMAINS, i, "directory");
    if (!check_is_map(span_of(d->mailboxes)))
        report_error(c->report, places_line_in(c->places, SETTINGS_DOMAINS, i, "mailboxes"),
                     "domain \"%s\": mailboxes \"%s\" is neither system nor a map; write system, hash:/path or btree:/path", d->title,
                     d->mailboxes);
    if (!has_maildirs(d))
        return;
    if (!*d->directory && !places_refused(c->places, SETTINGS_DOMAINS, i, "domain", "directory"))
        report_error(c->report, line, "domain \"%s\" has a map of mailboxes and no directory; add directory = \"/var/mail/%s\"", d->title,
                     d->title);
    else if (climbs(d->directory))
        report_error(c->report, line, "domain \"%s\": directory \"%s\" has .. in it; write it without", d->title, d->directory);
    check_owner(c, i);
}

static void check_system(const struct check *c, size_t i)
{
    const struct settings_domain *d = &c->settings->domains[i];
    const struct {
        const char *name, *value;
    } of_maps[] = {{"directory", d->directory}, {"owner", d->owner}};
    for (size_t k = 0; k < 2; k++)
        if (*of_maps[k].value && has_maildirs(d))
            report_warning(c->report, places_line_in(c->places, SETTINGS_DOMAINS, i, of_maps[k].name),
                           "domain \"%s\": %s is for maps, and mailboxes = system has no use for it; take it out", d->title,
                           of_maps[k].name);
    if (*d->maildir == '/' || climbs(d->maildir))
        report_error(c->report, places_line_in(c->places, SETTINGS_DOMAINS, i, "maildir"),
                     "domain \"%s\": maildir \"%s\" leaves the user's home; write a name below it, as Maildir", d->title, d->maildir);
}

/* ---- routes -------------------------------------------------------------------------------------------------------------------- */

static bool is_port(struct span text)
{
    unsigned port = 0;
    for (size_t i = 0; i < text.n && port < 65536; i++) {
        if (!isdigit((unsigned char)text.p[i]))
            return false;
        port = port * 10 + (unsigned)(text.p[i] - '0');
    }
    return text.n > 0 && text.n <= 5 && port > 0 && port < 65536;
}

/* [host], [192.0.2.1], [2001:db8::1], [IPv6:2001:db8::1]; moves `text` behind it. */
static bool take_bracketed(struct span *text)
{
    const char *close = memchr(text->p, ']', text->n);
    struct sockaddr_storage address;
    socklen_t length;
    if (!close)
        return false;
    struct span whole = span_make(text->p, (size_t)(close - text->p) + 1), inner = span_make(whole.p + 1, whole.n - 2);
    *text = span_make(close + 1, text->n - whole.n);
    return address_is_domain(inner, false) || address_to_socket(inner, 0, &address, &length) || address_literal(whole, &address);
}

static bool take_host(struct span *text)
{
    if (text->n == 0 || text->p[0] == ':')
        return true;
    if (text->p[0] == '[')
        return take_bracketed(text);
    const char *colon = memchr(text->p, ':', text->n);
    struct span host = span_make(text->p, colon ? (size_t)(colon - text->p) : text->n);
    *text = span_make(text->p + host.n, text->n - host.n);
    return address_is_domain(host, false);
}

static bool is_colon_and_port(struct span text)
{
    return text.n > 0 && text.p[0] == ':' && is_port(span_make(text.p + 1, text.n - 1));
}

static bool is_socket(const char *path)
{
    size_t n = strlen(path);
    for (size_t i = 0; i < n; i++)
        if (path[i] <= ' ' || path[i] > '~')
            return false;
    return path[0] == '/' && n > 1 && n <= SOCKET_MOST;
}

/* An LMTP server has no port of its own: it is always said. */
static bool is_lmtp(const char *via)
{
    if (strncmp(via, "lmtp:", 5) != 0)
        return false;
    if (strncmp(via, "lmtp:unix:", 10) == 0)
        return is_socket(via + 10);
    struct span rest = span_of(via + 5);
    return rest.n > 0 && rest.p[0] == '[' && take_bracketed(&rest) && is_colon_and_port(rest);
}

static const char smtps[] = "smtps:";

static bool is_smtps(const char *via)
{
    return strncmp(via, smtps, sizeof smtps - 1) == 0;
}

/* A host with TLS from the first byte is named itself: MX records lead to port 25 (RFC 8314 5.1). */
static bool is_smtps_host(const char *via)
{
    struct span rest = settings_nexthop(via);
    return rest.n > 0 && rest.p[0] == '[' && take_bracketed(&rest) && (rest.n == 0 || is_colon_and_port(rest));
}

static bool is_via(const char *via)
{
    if (is_smtps(via))
        return is_smtps_host(via);
    if (strncmp(via, "smtp:", 5) != 0)
        return is_lmtp(via);
    struct span rest = span_of(via + 5);
    return take_host(&rest) && (rest.n == 0 || is_colon_and_port(rest));
}

/* RFC 2033 5 */
static void check_lmtp_port(const struct check *c, unsigned line, const char *via)
{
    size_t n = strlen(via);
    if (strncmp(via, "lmtp:[", 6) == 0 && n > 4 && strcmp(via + n - 4, "]:25") == 0)
        report_error(c->report, line, "\"%s\": LMTP must not be on port 25 (RFC 2033 5); write the port of the LMTP server, as 24", via);
}

static void check_deliver(const struct check *c, size_t i)
{
    static const char *const idle[] = {"maildir", "directory", "owner"};
    const struct settings_domain *d = &c->settings->domains[i];
    unsigned line = places_line_in(c->places, SETTINGS_DOMAINS, i, "deliver");
    if (has_maildirs(d) || places_refused(c->places, SETTINGS_DOMAINS, i, "domain", "deliver"))
        return;
    if (!is_lmtp(d->deliver))
        report_error(
            c->report, line,
            "domain \"%s\": deliver \"%s\" is neither maildir nor an LMTP server; write maildir, lmtp:unix:/path or lmtp:[host]:port",
            d->title, d->deliver);
    check_lmtp_port(c, line, d->deliver);
    for (size_t k = 0; k < sizeof idle / sizeof idle[0]; k++)
        if (places_given_in(c->places, SETTINGS_DOMAINS, i, idle[k]))
            report_warning(c->report, places_line_in(c->places, SETTINGS_DOMAINS, i, idle[k]),
                           "domain \"%s\": %s is for deliver = maildir, and an LMTP server has no use for it; take it out", d->title,
                           idle[k]);
}

/* As many as go with a recipient. */
static void check_fingerprints(const struct check *c, size_t i)
{
    const struct settings_route *r = &c->settings->routes[i];
    unsigned line = places_line_in(c->places, SETTINGS_ROUTES, i, "fingerprints");
    unsigned char sum[32];
    for (size_t k = 0; k < r->fingerprints.n; k++) {
        struct span text = span_of(r->fingerprints.v[k]);
        if (!tlspolicy_fingerprint(&text, sum) || text.n)
            report_error(c->report, line,
                         "route \"%s\": fingerprint \"%s\" is no SHA-256 sum; write its 64 hexadecimal digits, without colons", r->title,
                         r->fingerprints.v[k]);
    }
    if (r->fingerprints.n > FINGERPRINTS_MOST)
        report_error(c->report, line, "route \"%s\" has more than %d fingerprints; take some out", r->title, FINGERPRINTS_MOST);
    if (r->tls == TLSPOLICY_FINGERPRINT && !r->fingerprints.n)
        report_error(c->report, places_line_in(c->places, SETTINGS_ROUTES, i, "tls"),
                     "route \"%s\" demands a fingerprint, and has none; add fingerprints = { SHA-256 of the certificate }", r->title);
    if (r->tls != TLSPOLICY_FINGERPRINT && r->fingerprints.n)
        report_warning(c->report, line, "route \"%s\" has fingerprints that are not looked at; write tls = fingerprint", r->title);
}

/* "smtp:[localhost]:3587", a tunnel most often. */
static bool names_localhost(const char *via)
{
    static const char name[] = "localhost";
    const char *host = strchr(via, ':');
    host = host ? host + 1 : "";
    host += *host == '[';
    return strncasecmp(host, name, sizeof name - 1) == 0 && (!host[sizeof name - 1] || strchr("]:", host[sizeof name - 1]));
}

static bool has_port(const char *via, const char *colon_port)
{
    size_t n = strlen(via), tail = strlen(colon_port);
    return n > tail && strcmp(via + n - tail, colon_port) == 0;
}

/* RFC 8314 3.3, 7.3 */
static void check_port_of_tls(const struct check *c, size_t i, unsigned line)
{
    const struct settings_route *r = &c->settings->routes[i];
    if (strncmp(r->via, "smtp:[", 6) == 0 && has_port(r->via, "]:465"))
        report_warning(c->report, line, "route \"%s\": hosts begin with TLS on port 465, and smtp: waits for a greeting; write smtps:%s",
                       r->title, settings_nexthop(r->via).p);
    if (is_smtps(r->via) && (has_port(r->via, "]:25") || has_port(r->via, "]:587")))
        report_warning(c->report, line,
                       "route \"%s\": hosts begin without TLS on ports 25 and 587, and smtps: with it; write smtp:%s, or port 465",
                       r->title, settings_nexthop(r->via).p);
}

/* Nothing goes to such a host in plain text: what would be content with that is refused, and never silently raised. */
static void check_smtps(const struct check *c, size_t i)
{
    struct settings_route *r = &c->settings->routes[i];
    if (!is_smtps(r->via))
        return;
    if (!places_given_in(c->places, SETTINGS_ROUTES, i, "tls"))
        r->tls = TLSPOLICY_VERIFY;
    if (!tlspolicy_fits_smtps((enum tlspolicy)r->tls))
        report_error(
            c->report, places_line_in(c->places, SETTINGS_ROUTES, i, "tls"),
            "route \"%s\": tls = %s would do without the TLS that smtps: begins with; write verify, dane, dane-only, fingerprint or "
            "encrypt, or take tls out (verify)",
            r->title, tlspolicy_word((enum tlspolicy)r->tls));
}

static void check_route(const struct check *c, size_t i)
{
    check_smtps(c, i);
    check_fingerprints(c, i);
    const struct settings_route *r = &c->settings->routes[i];
    unsigned line = places_line_in(c->places, SETTINGS_ROUTES, i, "via");
    if (places_refused(c->places, SETTINGS_ROUTES, i, "route", "via"))
        return;
    if (!*r->via)
        report_error(c->report, line, "route \"%s\" leads nowhere; add via = \"smtp:[host]:port\"", r->title);
    else if (is_smtps(r->via) && !is_via(r->via))
        report_error(
            c->report, line,
            "route \"%s\": via \"%s\" is no next hop; write smtps:[host] or smtps:[host]:port: no domain's MX hosts begin with TLS",
            r->title, r->via);
    else if (!is_via(r->via))
        report_error(c->report, line,
                     "route \"%s\": via \"%s\" is no next hop; write smtp:domain, smtp:[host], smtp:[host]:port, smtp:, smtps:[host], "
                     "smtps:[host]:port, lmtp:unix:/path or lmtp:[host]:port",
                     r->title, r->via);
    check_lmtp_port(c, line, r->via);
    check_port_of_tls(c, i, line);
    if (names_localhost(r->via) && !c->settings->remote_loopback && !*r->proxy)
        report_warning(
            c->report, line,
            "route \"%s\": localhost is this host's loopback, where mail goes by address alone, and so it waits; write [127.0.0.1], or "
            "remote { loopback = yes }",
            r->title);
    if (strncmp(r->via, "lmtp:unix:", 10) == 0 && places_given_in(c->places, SETTINGS_ROUTES, i, "tls") && r->tls != TLSPOLICY_NONE)
        report_error(c->report, places_line_in(c->places, SETTINGS_ROUTES, i, "tls"),
                     "route \"%s\" leads to a socket of this host, where there is no TLS; take tls out", r->title);
    if (settings_domain(c->settings, span_of(r->title)))
        report_error(c->report, places_line_in(c->places, SETTINGS_ROUTES, i, NULL),
                     "route \"%s\" is a domain of this host as well; take out the route or the domain", r->title);
}

/* ---- what every host has ------------------------------------------------------------------------------------------------------- */

static bool is_listed(const struct strings *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcasecmp(list->v[i], name) == 0)
            return true;
    return false;
}

static bool is_routed(const struct settings *s, const char *name)
{
    for (size_t i = 0; i < s->route_count; i++)
        if (strcasecmp(s->routes[i].title, name) == 0)
            return true;
    return false;
}

static void add(const struct check *c, enum settings_kind kind, struct span title)
{
    if (!settings_append(c->settings, kind, title))
        report_error(c->report, 0, "out of memory");
}

/* Mail to the host's own name must not be looked for elsewhere: it would come back. */
static void add_own_domain(const struct check *c, const char *name)
{
    struct buf lower = BUF_EMPTY(256);
    for (const char *p = name; *p; p++)
        buf_add_char(&lower, (char)tolower((unsigned char)*p));
    struct span title = buf_span(&lower);
    if (title.n > 0 && !settings_domain(c->settings, title) && !is_routed(c->settings, name) && !is_listed(&c->settings->relay_to, name))
        add(c, SETTINGS_DOMAINS, title);
    buf_free(&lower);
}

void check_sections(const struct check *c)
{
    for (size_t i = 0; i < c->settings->listener_count; i++)
        check_listener(c, i);
    for (size_t i = 0; i < c->settings->domain_count; i++) {
        if (strcmp(c->settings->domains[i].mailboxes, "system") == 0)
            check_system(c, i);
        else
            check_mapped(c, i);
        check_deliver(c, i);
    }
    for (size_t i = 0; i < c->settings->route_count; i++) {
        check_route(c, i);
        check_route_login(c, i);
    }
    for (size_t i = 0; i < c->settings->login_count; i++)
        check_login(c, i);
    for (size_t i = 0; i < c->settings->site_count; i++)
        check_site(c, i);
    for (size_t i = 0; i < c->settings->reply_count; i++)
        check_reply(c, i);
    check_sources(c);
    if (c->settings->listener_count == 0)
        add(c, SETTINGS_LISTENERS, SPAN_LITERAL("smtp"));
    add_own_domain(c, c->settings->hostname);
    add_own_domain(c, "localhost");
}
