#include "conf/pool.h"

static bool parse_weight(struct span text, unsigned *weight)
{
    unsigned value = 0;
    for (size_t i = 0; i < text.n && value <= POOL_WEIGHT_MOST; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text.p[i] - '0');
    }
    *weight = value;
    return text.n > 0 && value >= 1 && value <= POOL_WEIGHT_MOST;
}

bool pool_item_parse(struct span text, struct pool_item *item)
{
    const char *blank = text.n ? memchr(text.p, ' ', text.n) : NULL;
    *item = (struct pool_item){.title = text, .weight = 1};
    if (!blank)
        return text.n > 0;
    item->title.n = (size_t)(blank - text.p);
    while (blank < text.p + text.n && *blank == ' ')
        blank++;
    return item->title.n > 0 && parse_weight(span_make(blank, (size_t)(text.p + text.n - blank)), &item->weight);
}

const struct strings *pool_of(const struct settings *s, const struct settings_route *route)
{
    return route && route->sources.n > 0 ? &route->sources : &s->remote_sources;
}

const struct settings_source *pool_source(const struct settings *s, const struct strings *pool, size_t i, unsigned *weight)
{
    struct pool_item item;
    if (!pool_item_parse(span_of(pool->v[i]), &item))
        return NULL;
    if (weight)
        *weight = item.weight;
    return settings_source(s, item.title);
}
