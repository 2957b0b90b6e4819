/* Why nothing comes of what goes to a site: the words of the last delivery that failed for all of them alike, from the first in a row until one did not. The
 * sites that failed last have them, SCHEDULE_TROUBLES_MOST in all: a site without costs a pointer, and many dead sites no more than that many lines. */
#include "qmgr/schedule_private.h"

#define WORDS_MOST 400 /* octets */

struct trouble {
    struct trouble *next, *prev; /* the ring of all: the oldest one's turn is it to go */
    struct site *site;
    uint64_t since, at;
    uint16_t length;
    char words[];
};

void trouble_free(struct schedule *s, struct site *site)
{
    if (!site->trouble)
        return;
    RING_REMOVE(s->troubles, site->trouble);
    s->trouble_count--;
    free(site->trouble);
    site->trouble = NULL;
}

void schedule_site_trouble(struct schedule *s, struct site *site, struct span words, uint64_t now)
{
    size_t n = words.n < WORDS_MOST ? words.n : WORDS_MOST;
    struct trouble *t = memory_new(1, sizeof *t + n);
    *t = (struct trouble){.site = site, .since = site->trouble ? site->trouble->since : now, .at = now, .length = (uint16_t)n};
    if (n)
        memcpy(t->words, words.p, n);
    trouble_free(s, site);
    if (s->trouble_count == SCHEDULE_TROUBLES_MOST)
        trouble_free(s, s->troubles->site);
    RING_ADD(s->troubles, t);
    s->trouble_count++;
    site->trouble = t;
}

void schedule_site_well(struct schedule *s, struct site *site)
{
    trouble_free(s, site);
}

struct schedule_trouble trouble_view(const struct site *site)
{
    const struct trouble *t = site->trouble;
    return t ? (struct schedule_trouble){.words = span_make(t->words, t->length), .since = t->since, .at = t->at}
             : (struct schedule_trouble){0};
}
