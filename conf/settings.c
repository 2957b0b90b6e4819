/* The table of all settings, and the life of a struct settings. */
#include "conf/settings.h"

#include <stdlib.h>

/* ---- the table: the same file eight times, each time with other entries in use ------------------------------------------------------- */

/* clang-format off */
#define ENTRY(TYPE, section, name, dflt, least, most, words, programs, help, object, member) \
    {TYPE, section, #name, dflt, least, most, words, programs, help, offsetof(struct object, member)},
/* clang-format on */

#define SETTING(TYPE, section, name, dflt, least, most, programs, help)                                                                    \
    ENTRY(SETTING_##TYPE, #section, name, dflt, least, most, NULL, programs, help, settings, SETTINGS_NAME(section, name))
#define SETTING_CHOICE(section, name, dflt, words, programs, help)                                                                         \
    ENTRY(SETTING_CHOICE, #section, name, dflt, 0, 0, words, programs, help, settings, SETTINGS_NAME(section, name))
const struct setting settings_table[] = {
#include "conf/settings.def"
};

#define LISTENER(TYPE, name, dflt, least, most, help)                                                                                      \
    ENTRY(SETTING_##TYPE, "listener", name, dflt, least, most, NULL, "S", help, settings_listener, name)
#define LISTENER_CHOICE(name, dflt, words, help)                                                                                           \
    ENTRY(SETTING_CHOICE, "listener", name, dflt, 0, 0, words, "S", help, settings_listener, name)
const struct setting settings_listener_table[] = {
#include "conf/settings.def"
};

#define DOMAIN(TYPE, name, dflt, least, most, help)                                                                                        \
    ENTRY(SETTING_##TYPE, "domain", name, dflt, least, most, NULL, "LOR", help, settings_domain, name)
#define DOMAIN_CHOICE(name, dflt, words, help) ENTRY(SETTING_CHOICE, "domain", name, dflt, 0, 0, words, "LOR", help, settings_domain, name)
const struct setting settings_domain_table[] = {
#include "conf/settings.def"
};

#define ROUTE(TYPE, name, dflt, least, most, help)                                                                                         \
    ENTRY(SETTING_##TYPE, "route", name, dflt, least, most, NULL, "OQR", help, settings_route, name)
#define ROUTE_CHOICE(name, dflt, words, help) ENTRY(SETTING_CHOICE, "route", name, dflt, 0, 0, words, "OQR", help, settings_route, name)
const struct setting settings_route_table[] = {
#include "conf/settings.def"
};

#define SITE(TYPE, name, dflt, least, most, help)                                                                                          \
    ENTRY(SETTING_##TYPE, "site", name, dflt, least, most, NULL, "Q", help, settings_site, name)
const struct setting settings_site_table[] = {
#include "conf/settings.def"
};

#define LOGIN(TYPE, name, dflt, least, most, help)                                                                                         \
    ENTRY(SETTING_##TYPE, "login", name, dflt, least, most, NULL, "C", help, settings_login, name)
const struct setting settings_login_table[] = {
#include "conf/settings.def"
};

#define REPLY(TYPE, name, dflt, least, most, help)                                                                                         \
    ENTRY(SETTING_##TYPE, "reply", name, dflt, least, most, NULL, "Q", help, settings_reply, name)
#define REPLY_CHOICE(name, dflt, words, help) ENTRY(SETTING_CHOICE, "reply", name, dflt, 0, 0, words, "Q", help, settings_reply, name)
const struct setting settings_reply_table[] = {
#include "conf/settings.def"
};

#define SOURCE(TYPE, name, dflt, least, most, help)                                                                                        \
    ENTRY(SETTING_##TYPE, "source", name, dflt, least, most, NULL, "QR", help, settings_source, name)
const struct setting settings_source_table[] = {
#include "conf/settings.def"
};

#define LENGTH(table) (sizeof(table) / sizeof((table)[0]))
const size_t settings_count = LENGTH(settings_table);
const size_t settings_listener_settings = LENGTH(settings_listener_table);
const size_t settings_domain_settings = LENGTH(settings_domain_table);
const size_t settings_route_settings = LENGTH(settings_route_table);
const size_t settings_site_settings = LENGTH(settings_site_table);
const size_t settings_login_settings = LENGTH(settings_login_table);
const size_t settings_reply_settings = LENGTH(settings_reply_table);
const size_t settings_source_settings = LENGTH(settings_source_table);

const struct settings_section settings_sections[SETTINGS_KINDS] = {
    {"listener", settings_listener_table, LENGTH(settings_listener_table), sizeof(struct settings_listener),
     offsetof(struct settings, listeners), offsetof(struct settings, listener_count), "SO"},
    {"domain", settings_domain_table, LENGTH(settings_domain_table), sizeof(struct settings_domain), offsetof(struct settings, domains),
     offsetof(struct settings, domain_count), "LOR"},
    {"route", settings_route_table, LENGTH(settings_route_table), sizeof(struct settings_route), offsetof(struct settings, routes),
     offsetof(struct settings, route_count), "OQR"},
    {"site", settings_site_table, LENGTH(settings_site_table), sizeof(struct settings_site), offsetof(struct settings, sites),
     offsetof(struct settings, site_count), "Q"},
    {"login", settings_login_table, LENGTH(settings_login_table), sizeof(struct settings_login), offsetof(struct settings, logins),
     offsetof(struct settings, login_count), "C"},
    {"reply", settings_reply_table, LENGTH(settings_reply_table), sizeof(struct settings_reply), offsetof(struct settings, replies),
     offsetof(struct settings, reply_count), "Q"},
    {"source", settings_source_table, LENGTH(settings_source_table), sizeof(struct settings_source), offsetof(struct settings, sources),
     offsetof(struct settings, source_count), "QR"},
};

/* The titled structs are handled as one: an array of them hangs in struct settings, and each begins with its title. */
_Static_assert(offsetof(struct settings_listener, title) == 0 && offsetof(struct settings_domain, title) == 0 &&
                   offsetof(struct settings_route, title) == 0 && offsetof(struct settings_site, title) == 0 &&
                   offsetof(struct settings_login, title) == 0 && offsetof(struct settings_reply, title) == 0 &&
                   offsetof(struct settings_source, title) == 0,
               "the title is the first member");

/* ---- life ------------------------------------------------------------------------------------------------------------------------- */

static int reset_all(const struct setting *table, size_t count, void *object)
{
    for (size_t i = 0; i < count; i++)
        if (setting_reset(&table[i], object) < 0)
            return -1;
    return 0;
}

static void clear_all(const struct setting *table, size_t count, void *object)
{
    for (size_t i = 0; i < count; i++)
        setting_clear(&table[i], object);
}

struct settings *settings_new(void)
{
    struct settings *s = calloc(1, sizeof *s);
    if (s && reset_all(settings_table, settings_count, s) < 0) {
        settings_free(s);
        return NULL;
    }
    return s;
}

static size_t *total(const struct settings *s, enum settings_kind kind)
{
    return (size_t *)((uintptr_t)s + settings_sections[kind].total);
}

/* The arrays have four types; void ** through memcpy keeps the aliasing rules. */
static void *vector(const struct settings *s, enum settings_kind kind)
{
    void *v;
    memcpy(&v, (const char *)s + settings_sections[kind].vector, sizeof v);
    return v;
}

size_t settings_total(const struct settings *s, enum settings_kind kind)
{
    return *total(s, kind);
}

void *settings_nth(const struct settings *s, enum settings_kind kind, size_t i)
{
    return (char *)vector(s, kind) + i * settings_sections[kind].size;
}

void *settings_append(struct settings *s, enum settings_kind kind, struct span title)
{
    const struct settings_section *section = &settings_sections[kind];
    size_t n = *total(s, kind);
    void *v = reallocarray(vector(s, kind), n + 1, section->size);
    if (!v)
        return NULL;
    memcpy((char *)s + section->vector, &v, sizeof v);
    void *object = settings_nth(s, kind, n);
    memset(object, 0, section->size);
    char *copy = strndup(title.p ? title.p : "", title.n);
    memcpy(object, &copy, sizeof copy);
    *total(s, kind) = n + 1; /* settings_free() frees it, however far it came */
    // cppcheck-suppress memleak ; v hangs in s since the memcpy
    return copy && reset_all(section->table, section->count, object) == 0 ? object : NULL;
}

static void free_section(struct settings *s, enum settings_kind kind)
{
    for (size_t i = 0; i < settings_total(s, kind); i++) {
        void *object = settings_nth(s, kind, i);
        char *title;
        memcpy(&title, object, sizeof title);
        free(title);
        clear_all(settings_sections[kind].table, settings_sections[kind].count, object);
    }
    free(vector(s, kind));
}

void settings_free(struct settings *s)
{
    if (!s)
        return;
    for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++)
        free_section(s, kind);
    clear_all(settings_table, settings_count, s);
    free(s);
}

/* ---- looking up --------------------------------------------------------------------------------------------------------------------- */

const struct settings_listener *settings_listener(const struct settings *s, struct span title)
{
    for (size_t i = 0; i < s->listener_count; i++)
        if (span_equal(span_of(s->listeners[i].title), title))
            return &s->listeners[i];
    return NULL;
}

const struct settings_domain *settings_domain(const struct settings *s, struct span domain)
{
    for (size_t i = 0; i < s->domain_count; i++)
        if (span_equal_nocase(span_of(s->domains[i].title), domain))
            return &s->domains[i];
    return NULL;
}

const struct settings_route *settings_route_titled(const struct settings *s, struct span title)
{
    for (size_t i = 0; i < s->route_count; i++)
        if (span_equal_nocase(span_of(s->routes[i].title), title))
            return &s->routes[i];
    return NULL;
}

const struct settings_source *settings_source(const struct settings *s, struct span title)
{
    for (size_t i = 0; i < s->source_count; i++)
        if (span_equal(span_of(s->sources[i].title), title))
            return &s->sources[i];
    return NULL;
}

const struct settings_route *settings_route(const struct settings *s, struct span domain)
{
    const struct settings_route *route = settings_route_titled(s, domain);
    for (size_t i = 1; route == NULL && i < domain.n; i++)
        if (domain.p[i] == '.')
            route = settings_route_titled(s, span_make(domain.p + i, domain.n - i));
    return route != NULL ? route : settings_route_titled(s, SPAN_LITERAL("*"));
}

struct span settings_transport(const char *via)
{
    const char *colon = strchr(via, ':');
    return span_make(via, colon ? (size_t)(colon - via) : 0);
}

struct span settings_nexthop(const char *via)
{
    const char *colon = strchr(via, ':');
    return span_of(colon ? colon + 1 : "");
}

bool settings_route_verifies(const struct settings_route *r)
{
    bool implicit = span_equal(settings_transport(r->via), SPAN_LITERAL("smtps"));
    return r->tls == TLSPOLICY_VERIFY || (implicit && r->tls == TLSPOLICY_DANE);
}

bool settings_route_leads_to(const struct settings_route *r, struct span transport, struct span nexthop)
{
    struct span host = settings_nexthop(r->via);
    if (!span_equal(settings_transport(r->via), transport))
        return false;
    if (host.n > 0 && host.p[0] != ':')
        return span_equal(host, nexthop);
    return nexthop.n > host.n && nexthop.p[0] != '[' && span_equal(host, span_make(nexthop.p + nexthop.n - host.n, host.n));
}

void settings_route_tls(const struct settings_route *route, struct buf *out)
{
    enum tlspolicy policy = route ? (enum tlspolicy)route->tls : TLSPOLICY_DANE;
    buf_add_text(out, tlspolicy_word(policy));
    for (size_t i = 0; policy == TLSPOLICY_FINGERPRINT && i < route->fingerprints.n; i++)
        buf_printf(out, "%s%s", i ? "," : ":", route->fingerprints.v[i]);
}
