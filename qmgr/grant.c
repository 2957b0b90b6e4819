/* From where a delivery goes that the schedule has let go (sources.h): from a source of its pool, now; in the line of one in warm-up, when its turn comes there;
 * or later, when what is ill on our own side (a source, the route's proxy) is tried again.
 *
 *   granted --> is the proxy of its route ill? --> wait_until
 *                 `--> in the line of a source --> delivery_send, or (that is ill, or gone) the next one that may send: once more into the schedule
 *                 `--> else sources_choose: delivery_send, join_line, wait_until */
#include "qmgr/limits.h"
#include "qmgr/queue.h"
#include "qmgr/sources.h"

/* ---- what is ill ------------------------------------------------------------------------------------------------- */

/* Who takes the blame for a failure of our own side. */
struct culprit {
    enum sources_kind kind;
    struct span title; /* empty: nobody that is known */
};

static struct culprit culprit_of(const struct site *site, const struct message_result *r)
{
    if (r->own == OWN_PROXY)
        return (struct culprit){SOURCES_PROXY, limits_line_of(schedule_site_name(site))};
    return (struct culprit){SOURCES_SOURCE, settings_source(queue.settings, r->source) ? r->source : (struct span){0}};
}

static void log_ill(const struct culprit *c)
{
    struct buf line = BUF_EMPTY(1024);
    buf_printf(&line, "a %s can't be used: its mail goes from others of the pool or waits, and it is tried again in %d s:",
               c->kind == SOURCES_PROXY ? "route's proxy" : "source", SOURCES_ILL);
    log_value(&line, c->kind == SOURCES_PROXY ? "route" : "source", c->title);
    log_buf(LOG_LEVEL_ERROR, &line);
    buf_free(&line);
}

uint64_t grant_own_failure(const struct site *site, const struct message_result *r, uint64_t now)
{
    struct culprit c = culprit_of(site, r);
    if (sources_make_ill(c.kind, c.title, now))
        log_ill(&c);
    return now + 1;
}

/* ---- the choice -------------------------------------------------------------------------------------------------- */

static bool line_goes(const struct settings_source *source, void *arg)
{
    const struct delivery *d = arg;
    struct buf name = BUF_EMPTY(0);
    limits_add_source(schedule_site_name(d->job.site), source, &name);
    bool goes = schedule_site_would_go(queue.schedule, buf_span(&name));
    buf_free(&name);
    return goes;
}

static void join_line(struct delivery *d, const struct settings_source *source, uint64_t now)
{
    struct buf name = BUF_EMPTY(0);
    limits_add_source(schedule_site_name(d->job.site), source, &name);
    schedule_done(queue.schedule, &d->job, JOB_UNKNOWN, now);
    schedule_add(queue.schedule, &d->job, site_limited(buf_span(&name)), d->mail->flow, now);
    park_later(d->mail);
    buf_free(&name);
}

static void wait_until(struct delivery *d, uint64_t when, uint64_t now)
{
    schedule_done_later(queue.schedule, &d->job, JOB_UNKNOWN, when, now);
    park_later(d->mail);
}

static void grant_any(struct delivery *d, const struct record_recipient *rcpt, uint64_t now)
{
    const struct strings *pool = pool_of(queue.settings, limits_route(queue.settings, rcpt));
    struct sources_choice c = sources_choose(queue.settings, pool, mail_id(d->mail), now, line_goes, d);
    switch (c.verdict) {
    case SOURCES_THIS:
        delivery_send(d, c.source);
        break;
    case SOURCES_LINE:
        join_line(d, c.source, now);
        break;
    case SOURCES_LATER:
        wait_until(d, c.when, now);
        break;
    }
}

/* In the line of a source: it is from that one, if it can send. */
static void grant_of_line(struct delivery *d, struct span title, uint64_t now)
{
    const struct settings_source *source = settings_source(queue.settings, title);
    if (source && sources_ill_until(SOURCES_SOURCE, title, now) == 0) {
        delivery_send(d, source);
        return;
    }
    schedule_done(queue.schedule, &d->job, JOB_UNKNOWN, now);
    delivery_queue(d, 0);
}

void grant_to_remote(struct delivery *d, const struct record_recipient *rcpt, uint64_t now)
{
    struct span name = schedule_site_name(d->job.site), title = limits_source_of(name);
    uint64_t until = sources_ill_until(SOURCES_PROXY, limits_line_of(name), now);
    if (until > 0)
        wait_until(d, until, now);
    else if (title.n > 0)
        grant_of_line(d, title, now);
    else
        grant_any(d, rcpt, now);
}
