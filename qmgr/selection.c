/* Which messages an order is for. */
#include "qmgr/admin.h"

/* "<>" is the null sender, "@example.org" every address there. */
static bool address_fits(struct span address, struct span wanted)
{
    if (span_equal(wanted, SPAN_LITERAL("<>")))
        return address.n == 0;
    if (wanted.p[0] == '@' && address.n > wanted.n)
        address = span_make(address.p + address.n - wanted.n, wanted.n);
    return span_equal_nocase(address, wanted);
}

static void fit(struct fits *f, bool this)
{
    f->any |= this;
    f->all &= this;
}

/* Of the recipients that wait. */
static struct fits recipients_fit(const struct selection *s, const struct mail *m)
{
    struct fits f = {.all = true};
    struct record_recipient rcpt;
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->rcpt[i].state == RECIPIENT_DONE)
            continue;
        mail_recipient(m, i, &rcpt);
        fit(&f, address_fits(rcpt.address, s->recipient) || (rcpt.original.n > 0 && address_fits(rcpt.original, s->recipient)));
    }
    return f;
}

static struct fits sites_fit(const struct selection *s, const struct mail *m)
{
    struct fits f = {.all = true};
    if (m->loose) /* a look at one that is parked: that has one job */
        fit(&f, site_is(schedule_site_name(park_site(mail_id(m))), s->site));
    for (const struct delivery *d = m->deliveries; d; d = d->next)
        fit(&f, d->job.site && site_is(schedule_site_name(d->job.site), s->site));
    return f;
}

static struct fits mail_fits(const struct selection *s, const struct mail *m)
{
    struct fits f = {true, true}, one;
    if (s->sender.n > 0 && !address_fits(m->sender, s->sender))
        return (struct fits){false, false};
    if (s->recipient.n > 0) {
        one = recipients_fit(s, m);
        f = (struct fits){f.any && one.any, f.all && one.all};
    }
    if (f.any && s->site.n > 0) {
        one = sites_fit(s, m);
        f = (struct fits){f.any && one.any, f.all && one.all};
    }
    return f;
}

bool selection_is_all(const struct selection *s)
{
    return s->site.n == 0 && s->sender.n == 0 && s->recipient.n == 0;
}

/* It is parked, and need not be read to see that. */
static bool is_elsewhere(const struct selection *s, uint64_t id)
{
    const struct site *site = s->site.n > 0 ? park_site(id) : NULL;
    return site && !site_is(schedule_site_name(site), s->site);
}

struct fits selection_fits(const struct selection *s, uint64_t id)
{
    struct fits f = {0};
    if (selection_is_all(s))
        return (struct fits){true, true};
    const struct mail *m = is_elsewhere(s, id) ? NULL : mail_look(id);
    if (m) {
        f = mail_fits(s, m);
        mail_looked(m);
    }
    return f;
}
