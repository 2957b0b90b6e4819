/* settings: the configuration in memory, and the slice of it that a program gets.
 *
 * The struct comes from settings.def: `queue { lifetime }` is settings.queue_lifetime. TIME is in seconds, SIZE in octets, CHOICE an
 * index into its words (the enums below; of a route's `tls`: enum tlspolicy). Only the master and `postino` link the parser (conf/parse.h); the others get a slice, in which
 * settings that are not theirs have their defaults. Settings are read-only once decoded, and live until settings_free(). */
#ifndef POSTINO_SETTINGS_H
#define POSTINO_SETTINGS_H

#include "common/buf.h"
#include "common/error.h"
#include "common/tlspolicy.h"

#include <stdint.h>

struct strings {
    size_t n;
    char **v;
};

typedef uint64_t setting_NUMBER;
typedef uint64_t setting_SIZE;
typedef uint64_t setting_TIME;
typedef bool setting_FLAG;
typedef char *setting_TEXT; /* never NULL */
typedef char *setting_PATH; /* never NULL; "" where the default is empty */
typedef struct strings setting_LIST;

enum { LOG_LEVELS_ERROR, LOG_LEVELS_WARNING, LOG_LEVELS_INFO, LOG_LEVELS_DEBUG };
enum { BARE_REFUSE, BARE_NORMALIZE };
enum { GREET_IGNORE, GREET_ENFORCE, GREET_DROP };
enum { PIPELINING_PASS, PIPELINING_DROP };
enum { NUL_PASS, NUL_REFUSE };
enum { EIGHT_BIT_CONVERT, EIGHT_BIT_PASS };
enum { FAMILY_ANY, FAMILY_IPV4, FAMILY_IPV6 };
enum { LISTENER_PROTOCOL_SMTP, LISTENER_PROTOCOL_LMTP };
enum { LISTENER_TLS_NONE, LISTENER_TLS_MAY, LISTENER_TLS_REQUIRED, LISTENER_TLS_IMPLICIT };
enum { LISTENER_AUTH_NONE, LISTENER_AUTH_MAY, LISTENER_AUTH_REQUIRED };
enum { LISTENER_MINIMUM_TLS10, LISTENER_MINIMUM_TLS11, LISTENER_MINIMUM_TLS12, LISTENER_MINIMUM_TLS13 };
enum { LISTENER_CLIENT_NONE, LISTENER_CLIENT_ASK, LISTENER_CLIENT_REQUIRED, LISTENER_CLIENT_VERIFIED };
enum { LISTENER_PRIORITY_HIGH, LISTENER_PRIORITY_NORMAL, LISTENER_PRIORITY_LOW };
enum { AUTH_BACKEND_FILE, AUTH_BACKEND_PAM, AUTH_BACKEND_DOVECOT };
enum { OFFER_NONE, OFFER_TRUSTED, OFFER_ALL };
enum { REPLY_SLOW, REPLY_PAUSE };

#define LISTENER(TYPE, name, dflt, least, most, help) setting_##TYPE name;
#define LISTENER_CHOICE(name, dflt, words, help)      int name;
struct settings_listener {
    char *title;
#include "conf/settings.def"
};

#define DOMAIN(TYPE, name, dflt, least, most, help) setting_##TYPE name;
#define DOMAIN_CHOICE(name, dflt, words, help)      int name;
struct settings_domain {
    char *title; /* the domain, lower case */
#include "conf/settings.def"
};

#define ROUTE(TYPE, name, dflt, least, most, help) setting_##TYPE name;
#define ROUTE_CHOICE(name, dflt, words, help)      int name;
struct settings_route {
    char *title; /* "example.net", ".example.net", "*" */
#include "conf/settings.def"
};

#define SITE(TYPE, name, dflt, least, most, help) setting_##TYPE name;
struct settings_site {
    char *title; /* a domain name, lower case, or an address */
#include "conf/settings.def"
};

#define SOURCE(TYPE, name, dflt, least, most, help) setting_##TYPE name;
struct settings_source {
    char *title;
#include "conf/settings.def"
};

#define LOGIN(TYPE, name, dflt, least, most, help) setting_##TYPE name;
struct settings_login {
    char *title;
#include "conf/settings.def"
};

#define REPLY(TYPE, name, dflt, least, most, help) setting_##TYPE name;
#define REPLY_CHOICE(name, dflt, words, help)      int name;
struct settings_reply {
    char *title;
#include "conf/settings.def"
};

/* An empty section leaves the bare name: "SETTINGS_NAME(, hostname)" is hostname. */
#define SETTING(TYPE, section, name, dflt, least, most, programs, help) setting_##TYPE SETTINGS_NAME(section, name);
#define SETTING_CHOICE(section, name, dflt, words, programs, help)      int SETTINGS_NAME(section, name);
#define SETTINGS_NAME(section, name)                                    SETTINGS_IN_##section(name)
#define SETTINGS_IN_(name)                                              name
#define SETTINGS_IN_directory(name)                                     directory_##name
#define SETTINGS_IN_log(name)                                           log_##name
#define SETTINGS_IN_tls(name)                                           tls_##name
#define SETTINGS_IN_dns(name)                                           dns_##name
#define SETTINGS_IN_sts(name)                                           sts_##name
#define SETTINGS_IN_tlsrpt(name)                                        tlsrpt_##name
#define SETTINGS_IN_dnsbl(name)                                         dnsbl_##name
#define SETTINGS_IN_policy(name)                                        policy_##name
#define SETTINGS_IN_limit(name)                                         limit_##name
#define SETTINGS_IN_smtpd(name)                                         smtpd_##name
#define SETTINGS_IN_client(name)                                        client_##name
#define SETTINGS_IN_auth(name)                                          auth_##name
#define SETTINGS_IN_remote(name)                                        remote_##name
#define SETTINGS_IN_queue(name)                                         queue_##name
struct settings {
#include "conf/settings.def"
    struct settings_listener *listeners;
    size_t listener_count;
    struct settings_domain *domains;
    size_t domain_count;
    struct settings_route *routes;
    size_t route_count;
    struct settings_site *sites;
    size_t site_count;
    struct settings_login *logins;
    size_t login_count;
    struct settings_reply *replies;
    size_t reply_count;
    struct settings_source *sources;
    size_t source_count;
};

/* All settings at their defaults, without titled sections (NULL: no memory). */
struct settings *settings_new(void);
void settings_free(struct settings *);

/* Appends a titled section, all at its defaults (NULL: no memory). Pointers to others of its kind are no longer valid. */
enum settings_kind {
    SETTINGS_LISTENERS,
    SETTINGS_DOMAINS,
    SETTINGS_ROUTES,
    SETTINGS_SITES,
    SETTINGS_LOGINS,
    SETTINGS_REPLIES,
    SETTINGS_SOURCES,
    SETTINGS_KINDS
};
void *settings_append(struct settings *, enum settings_kind, struct span title);

/* A slice: the settings whose programs include `letter`; smtpd gets the listeners, local the domains, route domains and routes, remote
 * routes and sources, qmgr routes, sites, replies and sources, creds the logins. */
void settings_encode(const struct settings *, char letter, struct buf *out);
struct settings *settings_decode(struct span slice, struct error *);

const struct settings_listener *settings_listener(const struct settings *, struct span title);
const struct settings_domain *settings_domain(const struct settings *, struct span domain);     /* ASCII case-insensitive */
const struct settings_route *settings_route_titled(const struct settings *, struct span title); /* ASCII case-insensitive */
const struct settings_source *settings_source(const struct settings *, struct span title);
/* The route that holds for a domain: exact name first, then its parents (".example.net"), longest first, then "*"; NULL: none. */
const struct settings_route *settings_route(const struct settings *, struct span domain);

/* The parts of a `via` or `deliver`: "smtps:[host]:4650" is the transport "smtps" and the next hop "[host]:4650". Both empty: it has none. */
struct span settings_transport(const char *via);
struct span settings_nexthop(const char *via);

/* Appends what a route demands of TLS, in the words of common/tlspolicy.h. NULL: what holds where there is none. */
void settings_route_tls(const struct settings_route *, struct buf *out);
/* Whether authorities' certificates are needed for it: tls = verify, and smtps: with dane, which is verify where there are no TLSA records. */
bool settings_route_verifies(const struct settings_route *);
/* Whether that next hop is where the route leads today, as route makes it of `via`: mail keeps the next hop that it got at the door. */
bool settings_route_leads_to(const struct settings_route *, struct span transport, struct span nexthop);

/* The table itself, for the parser, `postino check` and the manual page. */
enum setting_type { SETTING_NUMBER, SETTING_SIZE, SETTING_TIME, SETTING_FLAG, SETTING_TEXT, SETTING_PATH, SETTING_LIST, SETTING_CHOICE };
struct setting {
    enum setting_type type;
    const char *section; /* "" at the top */
    const char *name;
    const char *dflt;
    uint64_t least, most;
    const char *words; /* SETTING_CHOICE: "a|b|c" */
    const char *programs;
    const char *help;
    size_t offset; /* of the member in its struct */
};
extern const struct setting settings_table[], settings_listener_table[], settings_domain_table[], settings_route_table[],
    settings_site_table[], settings_login_table[], settings_reply_table[], settings_source_table[];
extern const size_t settings_count, settings_listener_settings, settings_domain_settings, settings_route_settings, settings_site_settings,
    settings_login_settings, settings_reply_settings, settings_source_settings;

/* The titled sections: their tables, and where they are in struct settings. */
struct settings_section {
    const char *name; /* "listener" */
    const struct setting *table;
    size_t count;         /* of settings in the table */
    size_t size;          /* of the struct; its first member is the title */
    size_t vector, total; /* offsets of the array and of its length in struct settings */
    const char *programs; /* which get it */
};
extern const struct settings_section settings_sections[SETTINGS_KINDS];
size_t settings_total(const struct settings *, enum settings_kind);
void *settings_nth(const struct settings *, enum settings_kind, size_t i);

/* Parses one value as it stands in the file into its member. A member that is refused stays as it was. */
int setting_assign(const struct setting *, void *object, struct span text, struct error *); /* a LIST: appends one item */
int setting_reset(const struct setting *, void *object);                                    /* to the default; -1: no memory */
void setting_clear(const struct setting *, void *object);                                   /* frees it: an empty LIST, a NULL text, 0 */
bool setting_is_default(const struct setting *, const void *object);
bool setting_is_given(const struct setting *, const void *object); /* false: a NUMBER that is SETTING_NOT_GIVEN */
/* Appends the value as it would stand in the file: 5m, 50M, yes, may, "text", { "a", "b" }. */
void setting_format(const struct setting *, const void *object, struct buf *out);
void setting_format_number(enum setting_type, uint64_t value, struct buf *out);
size_t setting_words(const char *words);                          /* of a CHOICE: how many */
struct span setting_word(const struct setting *, uint64_t index); /* of a CHOICE; empty past the last */

#define SETTING_NOT_GIVEN UINT64_MAX /* the value of a NUMBER without a default that the file does not give */
#define SETTING_TEXT_MOST 4096       /* octets of a TEXT, PATH or item of a LIST without a limit of its own */
#define SETTING_LIST_MOST 65536      /* items */

#endif
