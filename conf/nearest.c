#include "conf/nearest.h"

#include <stdlib.h>

#define NAME_MOST 40 /* longer than any name, and than any typing error in one */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance, with an exchange of neighbours as one step. Both at most NAME_MOST. */
static size_t distance(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);
    size_t row[3][NAME_MOST + 1];
    for (size_t j = 0; j <= nb; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *now = row[i % 3], *before = row[(i + 2) % 3], *two_before = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            now[j] = least(before[j - 1] + (a[i - 1] != b[j - 1]), least(before[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], two_before[j - 2] + 1);
        }
    }
    return row[na % 3][nb];
}

struct search {
    const char *name;
    const char *best;
    size_t distance;
};

static void consider(struct search *s, const char *candidate)
{
    size_t d = distance(s->name, candidate);
    if (d < s->distance) {
        s->distance = d;
        s->best = candidate;
    }
}

static void consider_sections(struct search *s)
{
    for (size_t i = 0; i < settings_count; i++)
        if (*settings_table[i].section)
            consider(s, settings_table[i].section);
    for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++)
        consider(s, settings_sections[kind].name);
}

static void consider_settings(struct search *s, const char *section)
{
    for (size_t i = 0; i < settings_count; i++)
        if (strcmp(settings_table[i].section, section) == 0)
            consider(s, settings_table[i].name);
    for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++)
        for (size_t i = 0; strcmp(settings_sections[kind].name, section) == 0 && i < settings_sections[kind].count; i++)
            consider(s, settings_sections[kind].table[i].name);
}

/* The section (not the one where it was looked for) that has a setting of just this name. */
static const struct setting *elsewhere(const char *name)
{
    for (size_t i = 0; i < settings_count; i++)
        if (strcmp(settings_table[i].name, name) == 0)
            return &settings_table[i];
    for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++)
        for (size_t i = 0; i < settings_sections[kind].count; i++)
            if (strcmp(settings_sections[kind].table[i].name, name) == 0)
                return &settings_sections[kind].table[i];
    return NULL;
}

void nearest_hint(const char *section, const char *name, struct buf *out)
{
    const struct setting *other = elsewhere(name);
    struct search search = {.name = name, .distance = strlen(name) / 3 + 2};
    if (other && *other->section) {
        buf_printf(out, "%s is a setting of %s { }", name, other->section);
        return;
    }
    if (other) {
        buf_printf(out, "%s stands at the top, outside of sections", name);
        return;
    }
    if (strlen(name) <= NAME_MOST) {
        consider_settings(&search, section);
        if (!*section)
            consider_sections(&search);
    }
    if (search.best)
        buf_printf(out, "did you mean %s?", search.best);
    else
        buf_add_text(out, "postino.conf(5) lists all of them");
}
