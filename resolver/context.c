#include "resolver/context.h"

#include "common/log.h"
#include "resolver/anchor.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unbound-event.h>
#include <unbound.h>
#include <unistd.h>

#define RESOLV_CONF "/etc/resolv.conf"

enum { TYPE_A = 1, CLASS_IN = 1 };

static int option(struct ub_ctx *context, const char *name, const char *value, struct error *error)
{
    int status = ub_ctx_set_option(context, name, value);
    return status == 0 ? 0 : error_set(error, "libunbound does not take %s %s: %s", name, value, ub_strerror(status));
}

struct option {
    const char *name, *value;
};

static int options(struct ub_ctx *context, const struct option *list, struct error *error)
{
    for (; list->name != NULL; list++)
        if (option(context, list->name, list->value, error) < 0)
            return -1;
    return 0;
}

/* Servers on loopback are as good as others; a server that was away is tried again soon. */
static const struct option always[] = {
    {"do-not-query-localhost:", "no"},   {"infra-keep-probing:", "yes"}, {"infra-host-ttl:", "60"},    {"cache-max-negative-ttl:", "900"},
    {"num-queries-per-thread:", "4096"}, {"outgoing-range:", "3072"},    {"outgoing-num-tcp:", "256"}, {NULL, NULL}};

/* A forwarder may know the names of private networks; and many strip DNSSEC: then nothing is proved, but mail goes on. */
static const struct option forwarding[] = {
    {"unblock-lan-zones:", "yes"}, {"insecure-lan-zones:", "yes"}, {"harden-dnssec-stripped:", "no"}, {NULL, NULL}};

static int use_servers(struct ub_ctx *context, const struct nameservers *servers, struct error *error)
{
    for (size_t i = 0; i < servers->n; i++) {
        int status = ub_ctx_set_fwd(context, servers->address[i]);
        if (status != 0)
            return error_set(error, "dns { server = %s }: %s; write address or address@port", servers->address[i], ub_strerror(status));
    }
    return servers->n > 0 ? options(context, forwarding, error) : 0;
}

/* ---- the trust anchor -------------------------------------------------------------------------------------------------------------- */

static bool is_anchor_there(const char *path, struct error *error)
{
    if (access(path, R_OK) == 0)
        return true;
    (void)error_set(error, "not checked, so there is no DANE: dns { trust_anchor = \"%s\" }: %s; install dns-root-data, or name its file",
                    path, strerror(errno));
    return false;
}

bool context_proves(const struct settings *s, struct error *error)
{
    return s->dns_trust_ad || (*s->directory_dns && anchor_is_kept(s->directory_dns)) || is_anchor_there(s->dns_trust_anchor, error);
}

static int use_packaged_anchor(struct ub_ctx *context, const char *path, struct error *error)
{
    if (!is_anchor_there(path, error)) {
        log_warning("DNSSEC is %s", error->text);
        return 0;
    }
    int status = ub_ctx_add_ta_file(context, path);
    return status == 0 ? 0
                       : error_set(error, "%s: %s; dns { trust_anchor } must be a file of DS or DNSKEY records", path, ub_strerror(status));
}

static int use_trust_anchor(struct ub_ctx *context, const struct settings *s, struct error *error)
{
    if (*s->directory_dns && anchor_use_kept(context, s->directory_dns))
        return 0;
    return use_packaged_anchor(context, s->dns_trust_anchor, error);
}

/* ---- contexts -------------------------------------------------------------------------------------------------------------------- */

/* A library has caches of a MiB, which a thousand domains fill. For mail, most messages say that there is no record, so they take as much as records. */
static int use_cache(struct ub_ctx *context, const struct settings *s, struct error *error)
{
    char messages[24], records[24];
    unsigned long long half = s->dns_cache / 2;
    snprintf(messages, sizeof messages, "%llu", half);
    snprintf(records, sizeof records, "%llu", half);
    const struct option list[] = {{"msg-cache-size:", messages}, {"rrset-cache-size:", records},     {"key-cache-size:", "4m"},
                                  {"neg-cache-size:", "4m"},     {"infra-cache-numhosts:", "20000"}, {NULL, NULL}};
    return options(context, list, error);
}

/* Without a trust anchor yet. */
static struct ub_ctx *context_bare(struct event_base *base, const struct settings *s, const struct nameservers *servers,
                                   struct error *error)
{
    struct ub_ctx *context = base ? ub_ctx_create_event(base) : ub_ctx_create();
    if (context == NULL) {
        error_set(error, "libunbound can't be set up");
        return NULL;
    }
    ub_ctx_debugout(context, NULL);
    if (options(context, always, error) == 0 && use_cache(context, s, error) == 0 && use_servers(context, servers, error) == 0)
        return context;
    ub_ctx_delete(context);
    return NULL;
}

struct ub_ctx *context_new(struct event_base *base, const struct settings *s, const struct nameservers *servers, struct error *error)
{
    struct ub_ctx *context = context_bare(base, s, servers, error);
    if (context != NULL && use_trust_anchor(context, s, error) != 0) {
        ub_ctx_delete(context);
        return NULL;
    }
    return context;
}

static void ignore(void *arg, int rcode, void *packet, int n, int security, char *why_bogus, int limited)
{
    (void)arg, (void)rcode, (void)packet, (void)n, (void)security, (void)why_bogus, (void)limited;
}

/* libunbound reads its files at the first question; this one goes nowhere (RFC 6761 6.3). */
static bool works(struct ub_ctx *context)
{
    int id;
    return ub_resolve_event(context, "localhost.", TYPE_A, CLASS_IN, NULL, ignore, &id) == 0;
}

/* With libunbound's own file at `path`. NULL: it does not take that. */
static struct ub_ctx *context_kept(struct event_base *base, const struct settings *s, const struct nameservers *servers, const char *path,
                                   struct error *error)
{
    struct ub_ctx *context = context_bare(base, s, servers, error);
    if (context == NULL || (ub_ctx_add_ta_autr(context, path) == 0 && works(context)))
        return context;
    ub_ctx_delete(context);
    error_set(error, "libunbound does not take %s", path);
    return NULL;
}

static struct ub_ctx *context_packaged(struct event_base *base, const struct settings *s, const struct nameservers *servers,
                                       struct error *error)
{
    struct ub_ctx *context = context_bare(base, s, servers, error);
    if (context == NULL || use_packaged_anchor(context, s->dns_trust_anchor, error) == 0)
        return context;
    ub_ctx_delete(context);
    return NULL;
}

struct ub_ctx *context_new_keeping(struct event_base *base, const struct settings *s, const struct nameservers *servers,
                                   struct error *error)
{
    char path[PATH_MAX];
    struct ub_ctx *context = NULL;
    if (!*s->directory_dns)
        return context_packaged(base, s, servers, error);
    for (int refused = 0; context == NULL && refused < 2; refused++) {
        if (anchor_keep(s->directory_dns, s->dns_trust_anchor, refused, path, error) != 0)
            break;
        context = context_kept(base, s, servers, path, error);
    }
    if (context != NULL)
        return context;
    log_error("the trust anchor is not kept up to date: %s; dns { trust_anchor } is used as it is", error->text);
    return context_packaged(base, s, servers, error);
}

/* ---- which servers --------------------------------------------------------------------------------------------------------------- */

static bool is_recursive(const struct settings *s)
{
    return s->dns_server.n == 1 && strcmp(s->dns_server.v[0], "recursive") == 0;
}

static void take_configured(const struct settings *s, struct nameservers *servers)
{
    for (size_t i = 0; i < s->dns_server.n && i < NAMESERVERS; i++)
        snprintf(servers->address[servers->n++], sizeof servers->address[0], "%s", s->dns_server.v[i]);
}

void context_servers(const struct settings *s, struct nameservers *servers)
{
    *servers = (struct nameservers){0};
    if (s->dns_server.n > 0 && !is_recursive(s))
        take_configured(s, servers);
    else if (s->dns_server.n == 0)
        nameservers_of_file(RESOLV_CONF, servers);
    if (servers->n == 0 && !is_recursive(s))
        log_warning("no resolver in %s; the root servers are asked", RESOLV_CONF);
}
