/* The settings outside of the titled sections: what a text must look like, and which belong together. */
#include "conf/check.h"

#include "common/address.h"
#include "conf/access_words.h"

#include <ctype.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- the host's name ----------------------------------------------------------------------------------------------------------------- */

static bool is_full_name(const char *name)
{
    return strchr(name, '.') && address_is_domain(span_of(name), false);
}

static void take_system_name(const struct check *c)
{
    char name[256] = "";
    if (gethostname(name, sizeof name - 1) < 0)
        *name = '\0';
    if (!is_full_name(name)) {
        report_error(c->report, 0,
                     "hostname is not set, and the system's name (%s) is not a full one; add a line hostname = \"%s.example.org\"", name,
                     *name ? name : "mx1");
        return;
    }
    char *copy = strdup(name);
    if (!copy)
        return;
    free(c->settings->hostname);
    c->settings->hostname = copy;
}

/* The default names /etc/aliases. A host without that file has no aliases, and its mail must not wait for a map. */
static void drop_absent_aliases(const struct check *c)
{
    struct strings *aliases = &c->settings->aliases;
    struct buf compiled = BUF_EMPTY(SETTING_TEXT_MOST);
    if (places_line(c->places, "", "aliases") || aliases->n != 1 || !check_is_map(span_of(aliases->v[0])))
        return;
    const char *path = strchr(aliases->v[0], ':') + 1;
    buf_printf(&compiled, "%s.db", path);
    if (access(path, F_OK) < 0 && access(buf_text(&compiled), F_OK) < 0) {
        free(aliases->v[0]);
        aliases->n = 0;
    }
    buf_free(&compiled);
}

void check_complete(const struct check *c)
{
    drop_absent_aliases(c);
    unsigned line = places_line(c->places, "", "hostname");
    if (places_refused(c->places, SETTINGS_KINDS, 0, "", "hostname"))
        return;
    if (!*c->settings->hostname)
        take_system_name(c);
    else if (!is_full_name(c->settings->hostname))
        report_error(c->report, line, "hostname \"%s\" is not a full name; write one with a dot, as in mx1.example.org",
                     c->settings->hostname);
}

/* ---- forms --------------------------------------------------------------------------------------------------------------------- */

bool check_is_map(struct span spec)
{
    static const char *const kinds[] = {"hash:/", "btree:/"};
    for (size_t i = 0; i < 2; i++)
        if (spec.n > strlen(kinds[i]) && memcmp(spec.p, kinds[i], strlen(kinds[i])) == 0)
            return true;
    return false;
}

bool check_is_user(struct span name)
{
    for (size_t i = 0; i < name.n; i++)
        if (!isalnum((unsigned char)name.p[i]) && !strchr("_.-", name.p[i]))
            return false;
    return name.n > 0 && name.n <= 64 && name.p[0] != '-';
}

static bool all_digits(const char *text)
{
    return *text && text[strspn(text, "0123456789")] == '\0';
}

typedef bool fits_fn(struct span item);

static void check_list(const struct check *c, const char *section, const char *name, const struct strings *list, fits_fn *fits,
                       const char *wanted)
{
    for (size_t i = 0; i < list->n; i++)
        if (!fits(span_of(list->v[i])))
            report_error(c->report, places_line_item(c->places, section, name, i, list->n), "%s \"%s\" is not %s", name, list->v[i],
                         wanted);
}

static bool is_network(struct span text)
{
    struct network network;
    return network_parse(text, &network);
}

static void check_rule(const struct check *c, unsigned line, const char *text)
{
    struct access_words words;
    struct error error;
    if (access_words_parse(text, &words, &error) != 0)
        report_error(c->report, line, "access \"%s\": %s", text, error.text);
}

void check_each_rule(const struct check *c, void (*call)(const struct check *, unsigned line, const char *rule))
{
    const struct settings *s = c->settings;
    for (size_t i = 0; i < s->access.n; i++)
        call(c, places_line_item(c->places, "", "access", i, s->access.n), s->access.v[i]);
    for (size_t k = 0; k < s->listener_count; k++)
        for (size_t i = 0; i < s->listeners[k].access.n; i++)
            call(c, places_line_in(c->places, SETTINGS_LISTENERS, k, "access"), s->listeners[k].access.v[i]);
}

static void check_access(const struct check *c)
{
    const struct settings *s = c->settings;
    check_each_rule(c, check_rule);
    struct access_zone zone;
    struct error error;
    for (size_t i = 0; i < s->dnsbl_zones.n; i++)
        if (access_zone_parse(span_of(s->dnsbl_zones.v[i]), true, &zone, &error) != 0)
            report_error(c->report, places_line_item(c->places, "dnsbl", "zones", i, s->dnsbl_zones.n), "zones: %s", error.text);
    if (s->dnsbl_zones.n > ACCESS_ZONES)
        report_error(c->report, places_line(c->places, "dnsbl", "zones"), "zones: %zu of them, and %d may be asked at once; take some out",
                     s->dnsbl_zones.n, ACCESS_ZONES);
}

static bool is_domain_or_below(struct span text)
{
    if (text.n > 1 && text.p[0] == '.')
        text = span_make(text.p + 1, text.n - 1);
    return address_is_domain(text, false);
}

static bool is_server(struct span text)
{
    struct sockaddr_storage address;
    socklen_t length;
    return address_of_resolver(text, &address, &length);
}

static bool is_on_loopback(struct span text)
{
    struct sockaddr_storage address;
    socklen_t length;
    return address_of_resolver(text, &address, &length) && address_is_loopback(&address);
}

/* ---- single settings ----------------------------------------------------------------------------------------------------------- */

static void check_networks(const struct check *c)
{
    const struct strings *list = &c->settings->relay_from;
    check_list(c, "", "relay_from", list, is_network, "a network; write an address, or one with a prefix length, as in 10.0.0.0/8");
    check_list(c, "client", "exempt", &c->settings->client_exempt, is_network, "a network; write an address, or one with a prefix length");
    for (size_t i = 0; i < list->n; i++) {
        struct network network;
        if (network_parse(span_of(list->v[i]), &network) && network.bits == 0)
            report_warning(c->report, places_line_item(c->places, "", "relay_from", i, list->n),
                           "relay_from \"%s\" lets everybody send to anywhere through this host; name your own networks", list->v[i]);
    }
}

/* As auth/conversation.c knows them. */
static bool is_mechanism(struct span text)
{
    static const char *const names[] = {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (span_equal_nocase(text, span_of(names[i])))
            return true;
    return false;
}

static bool is_password_mechanism(struct span text)
{
    return span_equal_nocase(text, SPAN_LITERAL("PLAIN")) || span_equal_nocase(text, SPAN_LITERAL("LOGIN"));
}

static bool is_scram_or_password(struct span text)
{
    return is_password_mechanism(text) || (text.n > 5 && strncasecmp(text.p, "SCRAM", 5) == 0);
}

/* A back end that can't do a mechanism would have clients take it and fail. */
static void check_mechanisms(const struct check *c)
{
    const struct settings *s = c->settings;
    size_t before = c->report->error_count;
    check_list(c, "auth", "mechanisms", &s->auth_mechanisms, is_mechanism,
               "a mechanism that is known here; write SCRAM-SHA-256-PLUS, SCRAM-SHA-256, OAUTHBEARER, XOAUTH2, PLAIN or LOGIN");
    if (c->report->error_count != before)
        return;
    if (s->auth_backend == AUTH_BACKEND_PAM)
        check_list(c, "auth", "mechanisms", &s->auth_mechanisms, is_password_mechanism, "one that PAM can do; PLAIN and LOGIN are");
    else if (s->auth_backend == AUTH_BACKEND_FILE)
        check_list(c, "auth", "mechanisms", &s->auth_mechanisms, is_scram_or_password,
                   "one that a password file can do; OAuth takes backend = dovecot");
}

static void check_delimiter(const struct check *c)
{
    const char *delimiter = c->settings->recipient_delimiter;
    if (*delimiter && !strchr("+-_=#!$%&/?^~", *delimiter))
        report_error(c->report, places_line(c->places, "", "recipient_delimiter"),
                     "recipient_delimiter \"%s\" can't part an address; take + or another of -_=#!$%%&/?^~", delimiter);
}

/* It goes into headers and file names of reports as it is. */
static bool is_plain_address(const char *text)
{
    struct address a;
    return address_parse(span_of(text), 0, &a) && !strpbrk(text, " \t\"\\<>(),;:!") && address_is_domain(a.domain, false);
}

static void check_tlsrpt(const struct check *c)
{
    const struct settings *s = c->settings;
    if (s->tlsrpt_from[0] && !is_plain_address(s->tlsrpt_from))
        report_error(c->report, places_line(c->places, "tlsrpt", "from"),
                     "from \"%s\" is no plain address; write it like reports@example.org", s->tlsrpt_from);
    if (s->tlsrpt_contact[0] && !is_plain_address(s->tlsrpt_contact))
        report_error(c->report, places_line(c->places, "tlsrpt", "contact"),
                     "contact \"%s\" is no plain address; write it like postmaster@example.org", s->tlsrpt_contact);
}

/* Who wants reports to go out, and does not say from whom, has none. */
static void check_tlsrpt_is_on(const struct check *c)
{
    static const char *const names[] = {"mail", "organization", "contact"};
    for (size_t i = 0; !c->settings->tlsrpt_from[0] && i < sizeof names / sizeof *names; i++) {
        unsigned line = places_line(c->places, "tlsrpt", names[i]);
        if (!line)
            continue;
        report_warning(c->report, line, "tlsrpt has no from, so that nothing is counted or sent; add from = \"tls-reports@%s\"",
                       c->settings->hostname);
        return;
    }
}

static void check_users(const struct check *c)
{
    const char *users = c->settings->users;
    unsigned line = places_line(c->places, "", "users");
    if (all_digits(users)) {
        unsigned long long first = strtoull(users, NULL, 10);
        if (first == 0 || first > INT32_MAX)
            report_error(c->report, line, "users \"%s\" is not the first of eleven uids other than root's; take a range that nobody uses",
                         users);
    } else if (!check_is_user(span_of(users)) || isdigit((unsigned char)*users)) {
        report_error(c->report, line, "users \"%s\" is neither the beginning of user names nor a number; write postino-, or a first uid",
                     users);
    }
}

static void check_log(const struct check *c)
{
    const char *to = c->settings->log_to;
    if (strcmp(to, "syslog") != 0 && strcmp(to, "stderr") != 0 && *to != '/')
        report_error(c->report, places_line(c->places, "log", "to"),
                     "to \"%s\" is no place for a log; write syslog, stderr or the absolute path of a file", to);
}

static void check_files(const struct check *c, const char *name, const struct strings *files)
{
    for (size_t i = 0; i < files->n; i++)
        if (*files->v[i] != '/')
            report_error(c->report, places_line_item(c->places, "tls", name, i, files->n),
                         "%s \"%s\" is not an absolute path; write it from the root directory on", name, files->v[i]);
}

/* The first key is that of the first certificate, and so on. */
static void check_tls(const struct check *c)
{
    const struct settings *s = c->settings;
    size_t certificates = s->tls_certificate.n, keys = s->tls_key.n;
    unsigned certificate = places_line(c->places, "tls", "certificate"), key = places_line(c->places, "tls", "key");
    check_files(c, "certificate", &s->tls_certificate);
    check_files(c, "key", &s->tls_key);
    if (certificates > 0 && keys == 0 && !places_refused(c->places, SETTINGS_KINDS, 0, "tls", "key"))
        report_error(c->report, certificate, "tls has a certificate but no key; add key = \"/path\" of its private key");
    else if (keys > 0 && certificates == 0 && !places_refused(c->places, SETTINGS_KINDS, 0, "tls", "certificate"))
        report_error(c->report, key, "tls has a key but no certificate; add certificate = \"/path\" of its chain");
    else if (keys != certificates)
        report_error(c->report, key, "tls has %zu certificates and %zu keys; name the key of each certificate, in the same order",
                     certificates, keys);
    if (certificates > CHECK_CERTIFICATES)
        report_error(c->report, certificate, "tls has %zu certificates, and %d are the most; put several names into one", certificates,
                     CHECK_CERTIFICATES);
}

/* Between this host and another one anybody could set the AD bit. */
static void check_trust_ad(const struct check *c, bool recursive)
{
    const struct strings *list = &c->settings->dns_server;
    if (list->n == 0 || recursive)
        report_error(c->report, places_line(c->places, "dns", "trust_ad"),
                     "trust_ad believes a resolver on this host; name it, as in server = \"127.0.0.1\"");
    else
        check_list(c, "dns", "server", list, is_on_loopback,
                   "on loopback (127.0.0.0/8 or ::1), so its AD bit can't be believed; take trust_ad out, or name a resolver on this host");
}

static void check_servers(const struct check *c)
{
    const struct strings *list = &c->settings->dns_server;
    size_t before = c->report->error_count;
    bool recursive = list->n == 1 && strcmp(list->v[0], "recursive") == 0;
    if (!recursive)
        check_list(c, "dns", "server", list, is_server, "a resolver; write address, address@port, or \"recursive\" alone");
    if (c->settings->dns_trust_ad && c->report->error_count == before)
        check_trust_ad(c, recursive);
}

/* ---- settings together --------------------------------------------------------------------------------------------------------- */

static void check_retries(const struct check *c)
{
    const struct settings *s = c->settings;
    if (s->queue_retry_first > s->queue_retry_most) {
        unsigned line = places_line(c->places, "queue", "retry_first");
        report_error(c->report, line ? line : places_line(c->places, "queue", "retry_most"),
                     "retry_first is longer than retry_most; make it shorter, or the other longer");
    }
    if (s->queue_retry_first > s->queue_lifetime)
        report_warning(c->report, places_line(c->places, "queue", "lifetime"),
                       "lifetime is shorter than retry_first, so that mail is tried once alone; make it longer");
}

struct directory {
    const char *name, *path;
};

static void check_directories(const struct check *c)
{
    const struct settings *s = c->settings;
    const struct directory all[] = {{"spool", s->directory_spool}, {"run", s->directory_run},     {"empty", s->directory_empty},
                                    {"sts", s->directory_sts},     {"creds", s->directory_creds}, {"dns", s->directory_dns}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        unsigned line = places_line(c->places, "directory", all[i].name);
        if (*all[i].path == '\0')
            continue;
        if (strspn(all[i].path, "/") == strlen(all[i].path))
            report_error(c->report, line, "%s is the root directory; name one of its own", all[i].name);
        for (size_t k = 0; k < i; k++)
            if (strcmp(all[i].path, all[k].path) == 0)
                report_error(c->report, line ? line : places_line(c->places, "directory", all[k].name),
                             "%s and %s are the same directory; name one for each", all[k].name, all[i].name);
    }
}

void check_settings(const struct check *c)
{
    const struct settings *s = c->settings;
    check_networks(c);
    check_peers(c);
    check_access(c);
    check_list(c, "", "relay_to", &s->relay_to, is_domain_or_below, "a domain; write example.org, or .example.org for all below it");
    check_mechanisms(c);
    check_list(c, "", "sender_logins", &s->sender_logins, check_is_map, "a map; write hash:/path or btree:/path");
    check_list(c, "", "relay_clientcerts", &s->relay_clientcerts, check_is_map, "a map; write hash:/path or btree:/path");
    check_list(c, "", "relay_recipients", &s->relay_recipients, check_is_map, "a map; write hash:/path or btree:/path");
    check_list(c, "", "aliases", &s->aliases, check_is_map, "a map; write hash:/path or btree:/path");
    check_list(c, "", "admins", &s->admins, check_is_user, "a user name; write one of this host's");
    check_delimiter(c);
    check_users(c);
    check_log(c);
    check_tls(c);
    check_servers(c);
    check_retries(c);
    check_tlsrpt(c);
    check_tlsrpt_is_on(c);
    check_directories(c);
}
