/* Local names: aliases until nothing is an alias any more, then users.
 *
 *   name --alias--> each of its targets, in the same way (name, address of ours, address elsewhere)
 *     \--no alias, or we are expanding this very alias--> user --none--> without +tag --none--> a role is root's --> unknown */
#include "resolver/routing_internal.h"

#include "common/log.h"
#include "common/mapsource.h"

/* The aliases that led here: `bob: bob, carol` means the user bob, and a ring must end. */
struct alias_path {
    const struct alias_path *up;
    struct span name;
    uint64_t depth;
};

bool name_is_role(struct span local)
{
    return span_equal_nocase(local, SPAN_LITERAL("postmaster")) || span_equal_nocase(local, SPAN_LITERAL("abuse")) ||
           span_equal_nocase(local, SPAN_LITERAL("mailer-daemon"));
}

/* A delimiter at the very front is part of the name. */
struct span name_without_tag(const struct settings *s, struct span local)
{
    char delimiter = s->recipient_delimiter[0];
    const char *at = delimiter != '\0' && local.n > 1 ? memchr(local.p + 1, delimiter, local.n - 1) : NULL;
    return at != NULL ? span_make(local.p, (size_t)(at - local.p)) : span_make(NULL, 0);
}

static bool on_path(const struct alias_path *path, struct span name)
{
    for (; path != NULL; path = path->up)
        if (span_equal(path->name, name))
            return true;
    return false;
}

static enum outcome configuration_error(struct decision *d, struct span alias, const char *what)
{
    struct buf line = BUF_EMPTY(0);
    buf_printf(&line, "%s; correct the alias map and run newaliases:", what);
    log_value(&line, " alias", alias);
    log_buf(LOG_LEVEL_ERROR, &line);
    buf_free(&line);
    return decision_fail(d, 451, "4.3.5", "Server configuration error");
}

static enum map_result find_alias(struct decision *d, struct span name, struct buf *value, struct error *error)
{
    const struct routing *r = d->routing;
    for (size_t i = 0; i < r->settings->aliases.n; i++) {
        enum map_result result = map_lookup(r->aliases[i], name, value, error);
        if (result != MAP_ABSENT)
            return result;
    }
    return MAP_ABSENT;
}

/* `\name` and `\name@here`: the user, without another look at the aliases. */
static enum outcome literal_user(struct decision *d, const struct settings_domain *domain, struct span to)
{
    const char *at = memchr(to.p, '@', to.n);
    struct span name = at != NULL ? span_make(to.p, (size_t)(at - to.p)) : to;
    struct buf lower = BUF_EMPTY(1024);
    add_lower(&lower, name);
    enum outcome outcome = mailboxes_user(d, domain, buf_span(&lower), buf_span(&lower));
    buf_free(&lower);
    return outcome;
}

static enum outcome expand_target(struct decision *d, const struct alias_path *path, const struct settings_domain *domain, struct span to,
                                  enum alias_kind kind)
{
    enum outcome outcome;
    if (kind == ALIAS_LITERAL)
        outcome = literal_user(d, domain, to);
    else if (kind == ALIAS_NAME)
        outcome = routing_address(d, path, domain, to);
    else
        return configuration_error(d, path->name,
                                   kind == ALIAS_BROKEN ? "an alias has a target that cannot be read"
                                                        : "commands, files and :include: in aliases are not supported by this version");
    return outcome == OUTCOME_UNKNOWN ? decision_add_unknown(d, to) : outcome;
}

static enum outcome expand(struct decision *d, const struct alias_path *path, const struct settings_domain *domain, struct span list)
{
    struct span to;
    enum alias_kind kind;
    enum outcome outcome = OUTCOME_OK;
    bool any = false;
    if (path->depth > d->routing->settings->limit_alias_depth)
        return configuration_error(d, path->name, "aliases lead to aliases more often than limit { alias_depth } allows");
    for (; outcome == OUTCOME_OK && alias_target_next(&list, &to, &kind); any = true)
        outcome = expand_target(d, path, domain, to, kind);
    return any ? outcome : configuration_error(d, path->name, "an alias has no target");
}

/* One name, as alias or user. `shown`: with its tag, for the address. */
static enum outcome resolve_name(struct decision *d, const struct alias_path *up, const struct settings_domain *domain, struct span name,
                                 struct span shown)
{
    struct buf value = BUF_EMPTY(0);
    struct error error;
    enum map_result found = on_path(up, name) ? MAP_ABSENT : find_alias(d, name, &value, &error);
    enum outcome outcome;
    if (found == MAP_FAILED) {
        outcome = decision_map_failed(d, "aliases", &error);
    } else if (found == MAP_FOUND) {
        struct alias_path path = {.up = up, .name = name, .depth = up != NULL ? up->depth + 1 : 1};
        outcome = expand(d, &path, domain, buf_span(&value));
    } else {
        outcome = mailboxes_user(d, domain, name, shown);
        if (outcome == OUTCOME_UNKNOWN && on_path(up, name))
            outcome = configuration_error(d, name, "an alias leads back to itself, and there is no user of its name");
    }
    buf_free(&value);
    return outcome;
}

/* "john doe" in quotes is the name john doe. */
static void add_unquoted(struct buf *out, struct span local)
{
    bool quoted = local.n >= 2 && local.p[0] == '"';
    if (!quoted) {
        add_lower(out, local);
        return;
    }
    for (size_t i = 1; i + 1 < local.n; i++) {
        if (local.p[i] == '\\' && i + 2 < local.n)
            i++;
        add_lower(out, span_make(local.p + i, 1));
    }
}

enum outcome aliases_resolve_below(struct decision *d, const struct alias_path *up, const struct settings_domain *domain, struct span local)
{
    struct buf lower = BUF_EMPTY(1024);
    add_unquoted(&lower, local);
    struct span name = buf_span(&lower), base = name_without_tag(d->routing->settings, name);
    enum outcome outcome = resolve_name(d, up, domain, name, local);
    if (outcome == OUTCOME_UNKNOWN && base.n > 0)
        outcome = resolve_name(d, up, domain, base, local);
    if (outcome == OUTCOME_UNKNOWN && (name_is_role(name) || name_is_role(base)))
        outcome = resolve_name(d, up, domain, SPAN_LITERAL("root"), local);
    buf_free(&lower);
    return outcome;
}
