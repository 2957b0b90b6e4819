/* SITES: the receivers as the scheduler knows them, those with most mail first. */
#include "qmgr/admin.h"
#include "qmgr/limits.h"
#include "qmgr/memory.h"

#define PAGE ((size_t)256 << 10)

struct gathering {
    const struct site **sites;
    size_t count;
};

static void gather(const struct site *site, void *arg)
{
    struct gathering *g = arg;
    g->sites[g->count++] = site;
}

static int by_jobs(const void *a, const void *b)
{
    const struct site *const *x = a, *const *y = b;
    size_t one = schedule_view(*x).jobs, other = schedule_view(*y).jobs;
    struct span name = schedule_site_name(*x), name_of_other = schedule_site_name(*y);
    if (one != other)
        return one < other ? 1 : -1;
    int order = memcmp(name.p, name_of_other.p, name.n < name_of_other.n ? name.n : name_of_other.n);
    return order ? order : (name.n > name_of_other.n) - (name.n < name_of_other.n);
}

static void add(const struct site *site, struct buf *out)
{
    struct schedule_view v = schedule_view(site);
    struct record_site record = {.name = schedule_site_name(site),
                                 .jobs = (uint32_t)v.jobs,
                                 .ready = (uint32_t)v.ready,
                                 .waiting = (uint32_t)v.waiting,
                                 .active = v.active,
                                 .held = (uint32_t)v.held,
                                 .in_doubt = (uint32_t)v.in_doubt,
                                 .window = v.window,
                                 .most = v.most,
                                 .rate = v.a_minute,
                                 .session_messages = limits_of_site(queue.settings, schedule_site_name(site)).session_messages,
                                 .dead = v.dead,
                                 .probe = v.probe,
                                 .share = v.share,
                                 .slowed = v.brake.on,
                                 .paused = v.brake.paused,
                                 .until = v.brake.until,
                                 .rule = v.brake.why,
                                 .a_day = limits_a_day(queue.settings, schedule_site_name(site), queue_now()),
                                 .trouble = v.trouble.words,
                                 .trouble_since = v.trouble.since,
                                 .trouble_at = v.trouble.at};
    record_site_add(out, &record);
}

static void fill(struct snapshot *s)
{
    struct gathering g = {.sites = memory_new(schedule_counts(queue.schedule).sites + 1, sizeof *g.sites)};
    schedule_each_site(queue.schedule, gather, &g);
    qsort(g.sites, g.count, sizeof *g.sites, by_jobs);
    for (size_t i = 0; i < g.count; i++)
        add(g.sites[i], &s->sites);
    if (s->sites.failed)
        log_die("out of memory for the list of sites");
    s->count = g.count;
    free(g.sites);
}

static void snapshot(struct client *c)
{
    static struct snapshot *newest;
    snapshot_leave(&c->sites);
    c->sites = snapshot_get(&newest, fill, c->privileged);
    c->sites_left = (struct list){.count = (uint32_t)c->sites->count, .bytes = buf_span(&c->sites->sites)};
}

void admin_sites(struct client *c, const struct message *m)
{
    struct buf page = BUF_EMPTY(FRAME_MAX);
    struct message out = {.type = MESSAGE_SITES_LISTED, .id = m->id, .fd = -1};
    if (!m->sites.more)
        snapshot(c);
    for (struct record_site s; page.len < PAGE && record_site_next(&c->sites_left, &s); out.sites_listed.sites.count++)
        record_site_add(&page, &s);
    out.sites_listed.more = c->sites_left.count > 0;
    out.sites_listed.sites.bytes = buf_span(&page);
    channel_send(c->channel, &out);
    buf_free(&page);
    if (c->sites_left.count == 0)
        snapshot_leave(&c->sites);
}
