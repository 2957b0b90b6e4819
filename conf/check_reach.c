/* Whether the programs can reach what the configuration names, each as the user that it will be: a file that root can read may be closed to
 * postino-route. Only root can look at that; whether a map is there is looked at for everybody. */
#include "conf/check.h"

#include "common/sandbox.h"
#include "conf/access_words.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct who {
    const char *program;
    uid_t uid;
    gid_t gid;
};

static bool is_allowed(const struct stat *st, const struct who *who, mode_t right /* S_IROTH, S_IXOTH */)
{
    if (st->st_uid == who->uid)
        return st->st_mode & right << 6;
    return st->st_mode & (st->st_gid == who->gid ? right << 3 : right);
}

/* The first part of the path that is closed to it, in `part`; false: none is. `right`: for the last part, S_IROTH or S_IWOTH. Access control lists are not looked at: they could open what
 * looks closed, so that what is found is a warning. */
static bool closed_part(const char *path, const struct who *who, mode_t right, char part[PATH_MAX])
{
    char whole[PATH_MAX];
    struct stat st;
    if (!realpath(path, whole))
        return false;
    for (char *slash = whole; slash; slash = strchr(slash + 1, '/')) {
        size_t n = slash == whole ? 1 : (size_t)(slash - whole);
        memcpy(part, whole, n);
        part[n] = '\0';
        if (stat(part, &st) == 0 && !is_allowed(&st, who, S_IXOTH))
            return true;
    }
    memcpy(part, whole, strlen(whole) + 1);
    return stat(part, &st) == 0 && !is_allowed(&st, who, right);
}

static bool find(const struct check *c, const char *program, struct who *who)
{
    struct error e;
    who->program = program;
    return geteuid() == 0 && sandbox_user(c->settings->users, program, &who->uid, &who->gid, &e) == 0;
}

static void check_reads(const struct check *c, unsigned line, const char *program, const char *what, const char *path)
{
    char part[PATH_MAX];
    struct who who;
    if (find(c, program, &who) && closed_part(path, &who, S_IROTH, part))
        report_warning(c->report, line, "%s %s can't be read by postino-%s: %s is closed to uid %u; open it to that user or its group",
                       what, path, program, part, (unsigned)who.uid);
}

/* ---- maps and tables ----------------------------------------------------------------------------------------------------------- */

/* "hash:/path" is read from /path.db, "cidr:/path" as it is. */
static void check_table(const struct check *c, unsigned line, const char *spec, size_t n)
{
    struct buf path = BUF_EMPTY(SETTING_TEXT_MOST + 8);
    const char *colon = memchr(spec, ':', n);
    bool text = colon && colon - spec == 4 && memcmp(spec, "cidr", 4) == 0;
    if (colon)
        buf_printf(&path, "%.*s%s", (int)(n - (size_t)(colon + 1 - spec)), colon + 1, text ? "" : ".db");
    if (colon && access(buf_text(&path), R_OK) == 0)
        check_reads(c, line, "route", "map", buf_text(&path));
    else if (colon)
        report_warning(c->report, line, "map %.*s: %s can't be read: %s; mail that needs it waits%s%.*s", (int)n, spec, buf_text(&path),
                       strerror(errno), text ? "" : ": build it with postino map ", text ? 0 : (int)n, spec);
    buf_free(&path);
}

static void check_tables(const struct check *c, const char *name, const struct strings *list)
{
    for (size_t i = 0; i < list->n; i++)
        check_table(c, places_line_item(c->places, "", name, i, list->n), list->v[i], strlen(list->v[i]));
}

static void check_rule(const struct check *c, unsigned line, const char *rule)
{
    struct access_words words;
    struct error e;
    bool table =
        access_words_parse(rule, &words, &e) == 0 &&
        (words.word == ACCESS_check_ccert_access || words.word == ACCESS_check_client_access || words.word == ACCESS_check_helo_access ||
         words.word == ACCESS_check_sender_access || words.word == ACCESS_check_recipient_access);
    if (table)
        check_table(c, line, words.argument.p, words.argument.n);
}

static void check_maps(const struct check *c)
{
    const struct settings *s = c->settings;
    check_tables(c, "sender_logins", &s->sender_logins);
    check_tables(c, "relay_clientcerts", &s->relay_clientcerts);
    check_tables(c, "relay_recipients", &s->relay_recipients);
    check_tables(c, "aliases", &s->aliases);
    for (size_t i = 0; i < s->domain_count; i++)
        if (strcmp(s->domains[i].mailboxes, "system") != 0)
            check_table(c, places_line_in(c->places, SETTINGS_DOMAINS, i, "mailboxes"), s->domains[i].mailboxes,
                        strlen(s->domains[i].mailboxes));
}

/* ---- sockets of LMTP servers --------------------------------------------------------------------------------------------------- */

static const char socket_prefix[] = "lmtp:unix:";

/* The server may be started later, so that nothing here is more than a warning. */
static void check_socket(const struct check *c, unsigned line, const char *via)
{
    const char *path = via + sizeof socket_prefix - 1;
    char part[PATH_MAX];
    struct stat st;
    struct who who;
    if (strncmp(via, socket_prefix, sizeof socket_prefix - 1) != 0)
        return;
    if (stat(path, &st) != 0)
        report_warning(c->report, line, "socket %s: %s; mail for it waits: start the LMTP server, or correct the path", path,
                       strerror(errno));
    else if (!S_ISSOCK(st.st_mode))
        report_warning(c->report, line, "%s is no socket; name that of the LMTP server", path);
    else if (find(c, "lmtp", &who) && closed_part(path, &who, S_IWOTH, part))
        report_warning(c->report, line,
                       "socket %s can't be connected to by postino-lmtp: %s is closed to uid %u; open it to that user or its group", path,
                       part, (unsigned)who.uid);
}

static void check_sockets(const struct check *c)
{
    for (size_t i = 0; i < c->settings->route_count; i++)
        check_socket(c, places_line_in(c->places, SETTINGS_ROUTES, i, "via"), c->settings->routes[i].via);
    for (size_t i = 0; i < c->settings->domain_count; i++)
        check_socket(c, places_line_in(c->places, SETTINGS_DOMAINS, i, "deliver"), c->settings->domains[i].deliver);
}

/* ---- passwords, the spool, addresses --------------------------------------------------------------------------------------------- */

static void check_passwords(const struct check *c)
{
    const struct settings *s = c->settings;
    unsigned line = places_line(c->places, "", "password_file");
    for (size_t i = 0; s->auth_backend == AUTH_BACKEND_FILE && i < s->listener_count; i++) {
        if (s->listeners[i].auth == LISTENER_AUTH_NONE)
            continue;
        check_reads(c, line ? line : places_line_in(c->places, SETTINGS_LISTENERS, i, "auth"), "auth", "password file", s->password_file);
        return;
    }
}

/* Without a file of that name DNSSEC is off, as on a host that has none; one that is no anchor makes every question fail. */
static void check_anchor(const struct check *c)
{
    const char *path = c->settings->dns_trust_anchor;
    unsigned line = places_line(c->places, "dns", "trust_anchor");
    char text[16384];
    FILE *f = line ? fopen(path, "re") : NULL;
    if (line && *path && !f)
        report_warning(c->report, line, "trust_anchor %s can't be read: %s; DNSSEC proves nothing without it, so there is no DANE", path,
                       strerror(errno));
    if (!f)
        return;
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    if (!strstr(text, "DS") && !strstr(text, "DNSKEY"))
        report_error(c->report, line, "trust_anchor %s has no DS or DNSKEY record; name a file as unbound-anchor(8) makes it", path);
    fclose(f);
}

static void check_spool(const struct check *c)
{
    struct stat st;
    struct who who;
    const char *spool = c->settings->directory_spool;
    if (find(c, "qmgr", &who) && lstat(spool, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid != who.uid)
        report_error(c->report, places_line(c->places, "directory", "spool"),
                     "directory.spool %s belongs to uid %u, and postino-qmgr is uid %u; run chown -R %u:%u %s, if it is Postino's", spool,
                     (unsigned)st.st_uid, (unsigned)who.uid, (unsigned)who.uid, (unsigned)who.gid, spool);
}

/* This host has it not now. */
static bool is_missing(const struct sockaddr_storage *address, socklen_t length)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is = fd >= 0 && bind(fd, (const struct sockaddr *)address, length) != 0 && errno == EADDRNOTAVAIL;
    if (fd >= 0)
        close(fd);
    return is;
}

/* An address may come later (a VPN's, a failover's), but then Postino must be started later. */
static void check_address(const struct check *c, size_t listener, const char *text)
{
    struct sockaddr_storage address;
    socklen_t length;
    if (address_to_socket(span_of(text), 0, &address, &length) && is_missing(&address, length))
        report_warning(
            c->report, places_line_in(c->places, SETTINGS_LISTENERS, listener, "address"),
            "listener \"%s\": this host has no address %s now (ip address shows what it has), and Postino won't start without it",
            c->settings->listeners[listener].title, text);
}

/* It may come later, and is left out as long as it is not there: its mail goes from others, or waits. */
static void check_source(const struct check *c, size_t source, const char *text)
{
    struct sockaddr_storage address;
    socklen_t length;
    if (address_to_socket(span_of(text), 0, &address, &length) && is_missing(&address, length))
        report_warning(
            c->report, places_line_in(c->places, SETTINGS_SOURCES, source, "address"),
            "source \"%s\": this host has no address %s now, and nothing goes from it; give it to an interface, or correct the source",
            c->settings->sources[source].title, text);
}

void check_reach(const struct check *c)
{
    const struct settings *s = c->settings;
    check_passwords(c);
    check_spool(c);
    check_anchor(c);
    check_maps(c);
    check_each_rule(c, check_rule);
    check_sockets(c);
    for (size_t i = 0; i < s->listener_count; i++)
        for (size_t k = 0; k < s->listeners[i].address.n; k++)
            check_address(c, i, s->listeners[i].address.v[k]);
    for (size_t i = 0; i < s->source_count; i++)
        for (size_t k = 0; k < s->sources[i].address.n; k++)
            check_source(c, i, s->sources[i].address.v[k]);
}
