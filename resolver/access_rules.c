/* The list of rules, with their tables opened. */
#include "resolver/access_internal.h"

#include <stdlib.h>
#include <string.h>

static int open_table(struct access_rule *r, struct error *error)
{
    char path[1024];
    size_t n = r->words.argument.n;
    if (n >= sizeof path)
        return error_set(error, "the table's path is too long");
    memcpy(path, r->words.argument.p, n);
    path[n] = '\0';
    if (strncmp(path, "cidr:", 5) != 0)
        return (r->map = map_open(path, error)) ? 0 : -1;
    r->cidr = cidrmap_open(path + 5);
    return r->cidr ? 0 : error_set(error, "out of memory");
}

static int take_rule(struct access_rule *r, const char *text, struct error *error)
{
    r->text = text;
    if (access_words_parse(text, &r->words, error) != 0)
        return -1;
    if (r->words.word == ACCESS_reject_rbl_client)
        return access_zone_parse(r->words.argument, false, &r->zone, error);
    if (r->words.word >= ACCESS_check_ccert_access && r->words.word <= ACCESS_check_recipient_access)
        return open_table(r, error);
    return 0;
}

static int take_all(struct access_rules *rules, const struct strings *list, const struct strings *zones, struct error *error)
{
    for (size_t i = 0; i < zones->n && i < ACCESS_QUESTIONS; i++, rules->zone_count++)
        if (access_zone_parse(span_of(zones->v[i]), true, &rules->zones[i], error) != 0)
            return -1;
    for (size_t i = 0; i < list->n; i++, rules->count++)
        if (take_rule(&rules->rules[i], list->v[i], error) != 0)
            return -1;
    return 0;
}

struct access_rules *access_rules_new(const struct strings *list, const struct settings *settings, struct error *error)
{
    struct access_rules *rules = calloc(1, sizeof *rules);
    if (rules != NULL) {
        rules->settings = settings;
        rules->rules = calloc(list->n + 1, sizeof *rules->rules);
        rules->zones = calloc(settings->dnsbl_zones.n + 1, sizeof *rules->zones);
    }
    if (rules == NULL || rules->rules == NULL || rules->zones == NULL)
        error_set(error, "access: out of memory");
    else if (take_all(rules, list, &settings->dnsbl_zones, error) == 0)
        return rules;
    access_rules_free(rules);
    return NULL;
}

size_t access_rules_count(const struct access_rules *rules)
{
    return rules->count;
}

void access_rules_free(struct access_rules *rules)
{
    if (rules == NULL)
        return;
    for (size_t i = 0; rules->rules != NULL && i <= rules->count; i++) { /* the last: one that was refused */
        map_free(rules->rules[i].map);
        cidrmap_free(rules->rules[i].cidr);
    }
    free(rules->zones);
    free(rules->rules);
    free(rules);
}
