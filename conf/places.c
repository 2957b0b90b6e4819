#include "conf/places.h"

#include <stdlib.h>

bool places_add(struct places *p, struct place place)
{
    struct place *v = reallocarray(p->v, p->n + 1, sizeof *v);
    if (!v)
        return false;
    p->v = v;
    v[p->n++] = place;
    return true;
}

void places_free(struct places *p)
{
    free(p->v);
    *p = (struct places){0};
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static const struct place *last(const struct places *p, enum settings_kind kind, size_t index, const char *section, const char *name)
{
    for (size_t i = p->n; i > 0; i--) {
        const struct place *place = &p->v[i - 1];
        if (place->kind == kind && place->index == index && same(place->section, section) && same(place->name, name))
            return place;
    }
    return NULL;
}

static unsigned last_line(const struct places *p, enum settings_kind kind, size_t index, const char *section, const char *name)
{
    const struct place *place = last(p, kind, index, section, name);
    return place ? place->line : 0;
}

bool places_given(const struct places *p, const struct place *like)
{
    return last(p, like->kind, like->index, like->section, like->name);
}

bool places_refused(const struct places *p, enum settings_kind kind, size_t index, const char *section, const char *name)
{
    const struct place *place = last(p, kind, index, section, name);
    return place && place->refused;
}

unsigned places_line(const struct places *p, const char *section, const char *name)
{
    return last_line(p, SETTINGS_KINDS, 0, section, name);
}

bool places_given_in(const struct places *p, enum settings_kind kind, size_t index, const char *name)
{
    return last_line(p, kind, index, settings_sections[kind].name, name) > 0;
}

unsigned places_line_in(const struct places *p, enum settings_kind kind, size_t index, const char *name)
{
    const char *section = settings_sections[kind].name;
    unsigned line = name ? last_line(p, kind, index, section, name) : 0;
    return line ? line : last_line(p, kind, index, section, NULL);
}

/* Items that are not in the file (a default that += added to) come first in the list. */
unsigned places_line_item(const struct places *p, const char *section, const char *name, size_t item, size_t items)
{
    size_t from_end = items - item;
    for (size_t i = p->n; i > 0; i--) {
        const struct place *place = &p->v[i - 1];
        if (place->kind == SETTINGS_KINDS && same(place->section, section) && same(place->name, name) && --from_end == 0)
            return place->line;
    }
    return places_line(p, section, name);
}
