#include "conf/pool.h"

#include <time.h>

static bool parse_number(struct span text, unsigned most, unsigned *out)
{
    unsigned value = 0;
    for (size_t i = 0; i < text.n && value <= most; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text.p[i] - '0');
    }
    *out = value;
    return text.n > 0 && value >= 1 && value <= most;
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
    return item->title.n > 0 && parse_number(span_make(blank, (size_t)(text.p + text.n - blank)), POOL_WEIGHT_MOST, &item->weight);
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

/* ---- warm-up --------------------------------------------------------------------------------------------------------------------- */

bool pool_date_parse(struct span text, uint64_t *day)
{
    unsigned year, month, mday;
    if (text.n != 10 || text.p[4] != '-' || text.p[7] != '-' || !parse_number(span_make(text.p, 4), 9999, &year) ||
        !parse_number(span_make(text.p + 5, 2), 12, &month) || !parse_number(span_make(text.p + 8, 2), 31, &mday) || year < 1970)
        return false;
    struct tm tm = {.tm_year = (int)year - 1900, .tm_mon = (int)month - 1, .tm_mday = (int)mday};
    time_t seconds = timegm(&tm);
    *day = (uint64_t)seconds / 86400;
    return tm.tm_mon == (int)month - 1; /* there is a 31st in it */
}

bool pool_plan_parse(struct span text, unsigned *messages)
{
    return parse_number(text, POOL_PLAN_MOST, messages);
}

static unsigned on_day(const struct strings *plan, uint64_t i)
{
    static const unsigned usual[] = {50, 100, 500, 1000, 5000, 10000, 20000, 40000, 70000, 100000};
    unsigned messages;
    if (plan->n == 0)
        return i < sizeof usual / sizeof usual[0] ? usual[i] : 0;
    return i < plan->n && pool_plan_parse(span_of(plan->v[i]), &messages) ? messages : 0;
}

unsigned pool_a_day(const struct settings_source *s, uint64_t now)
{
    uint64_t first, today = now / 86400;
    if (!*s->warm_up || !pool_date_parse(span_of(s->warm_up), &first))
        return 0;
    return on_day(&s->warm_up_plan, today > first ? today - first : 0);
}
