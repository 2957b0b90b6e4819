#include "qmgr/sources.h"

#include "common/siphash.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ILL_MOST 256 /* that are remembered */

/* ---- the order of a message ------------------------------------------------------------------------------------------------------ */

struct place {
    double score; /* the smallest is first */
    const struct settings_source *source;
};

static int by_score(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return (x->score > y->score) - (x->score < y->score);
}

/* Weighted rendezvous hashing: each source draws an exponential time at the rate of its weight, and the first wins. What is drawn depends on
 * message and source alone, so that a source that comes or goes moves no message but those that are its own. */
static double draw(uint64_t id, const struct settings_source *s, unsigned weight)
{
    const struct siphash_key key = {.k = {id, 0}};
    double uniform = ((double)(siphash(&key, s->title, strlen(s->title)) >> 12) + 0.5) / (double)(UINT64_C(1) << 52);
    return -log(uniform) / weight;
}

size_t sources_order(const struct settings *s, const struct strings *pool, uint64_t id, const struct settings_source *out[POOL_MOST])
{
    struct place places[POOL_MOST];
    size_t n = 0;
    for (size_t i = 0; i < pool->n && n < POOL_MOST; i++) {
        unsigned weight;
        const struct settings_source *source = pool_source(s, pool, i, &weight);
        if (source)
            places[n++] = (struct place){.score = draw(id, source, weight), .source = source};
    }
    qsort(places, n, sizeof *places, by_score);
    for (size_t i = 0; i < n; i++)
        out[i] = places[i].source;
    return n;
}

/* ---- what is ill ----------------------------------------------------------------------------------------------------------------- */

static struct ill {
    enum sources_kind kind;
    char title[300];
    uint64_t until;
} ill[ILL_MOST];

static struct ill *find_ill(enum sources_kind kind, struct span title)
{
    for (size_t i = 0; i < ILL_MOST; i++)
        if (ill[i].kind == kind && span_equal(span_of(ill[i].title), title))
            return &ill[i];
    return NULL;
}

uint64_t sources_ill_until(enum sources_kind kind, struct span title, uint64_t now)
{
    const struct ill *i = find_ill(kind, title);
    return i && i->until > now ? i->until : 0;
}

bool sources_make_ill(enum sources_kind kind, struct span title, uint64_t now)
{
    struct ill *at = find_ill(kind, title);
    for (size_t i = 0; !at && i < ILL_MOST; i++)
        at = ill[i].until <= now ? &ill[i] : NULL;
    if (!at || title.n == 0 || title.n >= sizeof at->title || at->until > now)
        return false;
    at->kind = kind;
    snprintf(at->title, sizeof at->title, "%.*s", SPAN_ARG(title));
    at->until = now + SOURCES_ILL;
    return true;
}

void sources_forget_ill(void)
{
    memset(ill, 0, sizeof ill);
}

/* ---- the choice ------------------------------------------------------------------------------------------------------------------ */

struct sources_choice sources_choose(const struct settings *s, const struct strings *pool, uint64_t id, uint64_t now, sources_line_fn *goes,
                                     void *arg)
{
    const struct settings_source *order[POOL_MOST];
    size_t n = pool->n > 0 ? sources_order(s, pool, id, order) : 0;
    struct sources_choice later = {.verdict = n ? SOURCES_LATER : SOURCES_THIS};
    for (size_t i = 0; i < n; i++) {
        uint64_t until = sources_ill_until(SOURCES_SOURCE, span_of(order[i]->title), now);
        bool warms_up = pool_a_day(order[i], now) > 0;
        struct sources_choice this = {.verdict = warms_up ? SOURCES_LINE : SOURCES_THIS, .source = order[i]};
        if (until == 0 && (!warms_up || goes(order[i], arg)))
            return this;
        if (until == 0 && later.verdict == SOURCES_LATER)
            later = this;
        else if (later.verdict == SOURCES_LATER && (later.when == 0 || until < later.when))
            later.when = until;
    }
    return later;
}
