/* A message's deliveries are made: those of its recipients that wait, that go the same way, and that are due at the same time are one, as far as it may
 * be large. */
#include "qmgr/limits.h"
#include "qmgr/memory.h"
#include "qmgr/queue.h"

#include <stdlib.h>
#include <string.h>

#define JOB_OCTETS (FRAME_MAX / 2) /* of recipients in one DELIVER; body and other texts stand beside them */

struct way {
    struct record_recipient rcpt;
    const struct settings_route *route; /* that has a line of its own */
    uint64_t due;
    uint32_t index;
};

static int compare_spans(struct span a, struct span b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

static int compare_ways(const struct way *a, const struct way *b)
{
    int order = compare_spans(a->rcpt.transport, b->rcpt.transport);
    if (!order)
        order = compare_spans(a->rcpt.nexthop, b->rcpt.nexthop);
    if (!order)
        order = compare_spans(a->rcpt.tls, b->rcpt.tls);
    if (!order)
        order = (a->route > b->route) - (a->route < b->route);
    return order ? order : (a->due > b->due) - (a->due < b->due);
}

static int by_way(const void *a, const void *b)
{
    const struct way *x = a, *y = b;
    int order = compare_ways(x, y);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

static void delivery_make(struct mail *m, const struct way *ways, uint32_t count)
{
    struct delivery *d = memory_new(1, sizeof *d + count * sizeof d->index[0]);
    d->mail = m;
    d->count = count;
    for (uint32_t i = 0; i < count; i++)
        d->index[i] = ways[i].index;
    delivery_link(d);
    m->ungranted++;
    delivery_queue(d, ways[0].due);
}

/* "5.1.1 text", as route has decided. */
static void refuse(struct mail *m, const struct way *way)
{
    struct span text = way->rcpt.nexthop;
    const char *blank = text.n ? memchr(text.p, ' ', text.n) : NULL;
    struct outcome o = {.verdict = VERDICT_FAILED, .reply = text};
    if (blank) {
        o.status = span_make(text.p, (size_t)(blank - text.p));
        o.reply = span_make(blank + 1, text.n - o.status.n - 1);
    }
    outcome_apply(m, way->index, &o, 0, queue_now());
}

static size_t way_octets(const struct way *w)
{
    const struct record_recipient *r = &w->rcpt;
    return r->address.n + r->original.n + r->orcpt.n + r->transport.n + r->nexthop.n + r->mailbox.n + r->tls.n + 64;
}

/* Where the job that begins at `from` ends. */
static uint32_t job_end_of(const struct way *ways, uint32_t from, uint32_t n)
{
    uint32_t to = from + 1;
    size_t octets = way_octets(&ways[from]);
    while (to < n && to - from < queue.settings->queue_job_recipients && compare_ways(&ways[from], &ways[to]) == 0 &&
           (octets += way_octets(&ways[to])) <= JOB_OCTETS)
        to++;
    return to;
}

void delivery_make_all(struct mail *m)
{
    struct way *ways = memory_new(m->count + 1, sizeof *ways);
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->rcpt[i].state != RECIPIENT_WAITING)
            continue;
        ways[n] = (struct way){.due = m->rcpt[i].due, .index = i};
        mail_recipient(m, i, &ways[n].rcpt);
        ways[n].route = limits_route(queue.settings, &ways[n].rcpt);
        if (span_equal(ways[n].rcpt.transport, SPAN_LITERAL("error")))
            refuse(m, &ways[n]);
        else
            n++;
    }
    qsort(ways, n, sizeof *ways, by_way);
    for (uint32_t from = 0, to; from < n; from = to) {
        to = job_end_of(ways, from, n);
        delivery_make(m, &ways[from], to - from);
    }
    free(ways);
}
