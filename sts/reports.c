#include "sts/reports.h"

#include "common/crc32c.h"
#include "common/log.h"
#include "common/peer.h"
#include "common/program.h"
#include "sts/days.h"
#include "sts/fetch.h"
#include "sts/mail.h"
#include "sts/mail_count.h"
#include "sts/public.h"
#include "sts/report_mail.h"
#include "sts/rua.h"
#include "sts/told.h"

#include <event2/event.h>
#include <stdlib.h>

#define TICK         60  /* seconds: how much a crash may lose */
#define SETTLED      120 /* seconds after midnight, so that all processes have put down their counts */
#define AGAIN        300 /* seconds before the second pass; then twice as long each time */
#define PASSES_MOST  9   /* the last one begins 21 hours after the first (RFC 8460 5.5) */
#define AT_ONCE      8
#define DAY_MOST     DAYS_SECONDS /* for all passes of a day: hosts that hang must not hold up the next one */
#define JSON_MOST    ((size_t)1 << 20)
#define GZIP_MOST    ((size_t)512 << 10)
#define MESSAGE_MOST ((size_t)1 << 20)

struct report {
    struct tally_domain *domain;
    struct rua places[RUA_MOST];
    size_t n, at;
    struct buf gzip;
    bool failed;
};

static struct {
    const struct settings *settings;
    struct peer *dns;
    struct event *tick;
    struct reporter reporter;
    struct tally *day;           /* NULL: none is going out */
    struct tally_domain *cursor; /* of the pass: the next one; NULL: all have begun */
    size_t under_way, failed, passes;
    uint64_t ends;      /* seconds since 1970: nothing more begins */
    uint64_t next_pass; /* seconds since 1970; 0: one is under way */
    bool draining;
    void (*idle)(void);
} self;

static void pump(void);
static void next_place(struct report *);

/* ---- words ----------------------------------------------------------------------------------------------------------------------- */

static void say(const struct report *r, const char *what, const char *why)
{
    struct buf line = BUF_EMPTY(2048), id = BUF_EMPTY(1024);
    report_id(&self.reporter, r->domain, tally_day(self.day), &id);
    buf_printf(&line, "tlsrpt: %s:", what);
    log_value(&line, "domain", span_of(r->domain->name));
    if (r->at < r->n)
        log_value(&line, "to", span_of(r->places[r->at].text));
    log_value(&line, "id", buf_span(&id));
    if (why)
        log_value(&line, "reason", span_of(why));
    log_buf(why ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, &line);
    buf_free(&line);
    buf_free(&id);
}

/* ---- one domain ------------------------------------------------------------------------------------------------------------------ */

static void report_end(struct report *r)
{
    if (r->failed)
        self.failed++;
    else
        told_add(tally_day(self.day), r->domain, NULL);
    buf_free(&r->gzip);
    free(r);
    self.under_way--;
    pump();
}

/* NULL: this place has it. */
static void place_done(struct report *r, const char *why)
{
    say(r, why ? "a report did not go" : "a report was sent", why);
    if (why)
        r->failed = true;
    else
        told_add(tally_day(self.day), r->domain, r->places[r->at].text);
    r->at++;
    next_place(r);
}

static void on_mailed(const char *why, void *arg)
{
    place_done(arg, why);
}

static void on_posted(const struct fetched *f, void *arg)
{
    place_done(arg, f->why);
}

static void on_addresses(const struct message *m, void *arg)
{
    struct report *r = arg;
    const struct rua *to = &r->places[r->at];
    struct record_host host = {0};
    struct buf addresses = BUF_EMPTY(4096);
    struct list hosts = m && m->type == MESSAGE_RESOLVED ? m->resolved.hosts : (struct list){0};
    if (record_host_next(&hosts, &host))
        public_addresses(host.addresses, &addresses);
    if (addresses.len == 0)
        place_done(r, "its host has no address, or none that a report may go to");
    else if (!fetch_post(to->text, to->host, buf_span(&addresses), buf_span(&r->gzip), on_posted, r))
        place_done(r, "out of memory");
    buf_free(&addresses);
}

static void post(struct report *r)
{
    struct message m = {.type = MESSAGE_RESOLVE, .fd = -1, .resolve = {.name = span_of(r->places[r->at].host), .want = RESOLVE_ADDRESSES}};
    peer_ask(self.dns, &m, on_addresses, r);
}

static void mail(struct report *r)
{
    const char *to = r->places[r->at].text, *from = self.settings->tlsrpt_from;
    struct buf text = BUF_EMPTY(MESSAGE_MOST);
    report_mail(&self.reporter, from, to, r->domain, tally_day(self.day), program_now(), buf_span(&r->gzip), &text);
    if (!text.failed) {
        mail_send(from, to, &text, on_mailed, r);
        return;
    }
    buf_free(&text);
    place_done(r, "it is too long for a message");
}

/* What is not tried is not tried again. */
static bool is_wanted(const struct report *r)
{
    const struct rua *to = &r->places[r->at];
    if (told_has(r->domain, to->text))
        return false;
    if (to->kind == RUA_HTTPS)
        return true;
    if (!self.settings->tlsrpt_mail)
        return false;
    if (mail_count_may(to->text, r->domain->name, (size_t)self.settings->tlsrpt_mail_most))
        return true;
    say(r, "a report did not go", "as many as tlsrpt { mail_most } have gone to that domain today");
    return false;
}

static void next_place(struct report *r)
{
    while (r->at < r->n && !is_wanted(r))
        r->at++;
    if (r->at == r->n)
        report_end(r);
    else if (r->places[r->at].kind == RUA_HTTPS)
        post(r);
    else
        mail(r);
}

static bool make(struct report *r)
{
    struct buf json = BUF_EMPTY(JSON_MOST);
    r->gzip = BUF_EMPTY(GZIP_MOST);
    report_json(&self.reporter, r->domain, tally_day(self.day), &json);
    bool good = !json.failed && report_gzip(buf_span(&json), &r->gzip);
    buf_free(&json);
    return good;
}

/* Of several records none counts. */
static size_t places_of(struct list records, struct rua places[RUA_MOST])
{
    size_t count = 0, n = 0;
    for (struct record_txt t; record_txt_next(&records, &t);)
        if (rua_is_record(t.data) && ++count == 1)
            n = rua_parse(t.data, places);
    return count == 1 ? n : 0;
}

static void on_record(const struct message *m, void *arg)
{
    struct report *r = arg;
    r->failed = !m || m->type != MESSAGE_TXTS || m->txts.verdict == RESOLVE_DEFERRED;
    if (!r->failed)
        r->n = places_of(m->txts.records, r->places);
    if (r->n && !make(r)) {
        say(r, "a report can't be made", "it is too long, or there is no memory");
        r->n = 0;
    }
    next_place(r);
}

static void report_begin(struct tally_domain *d)
{
    struct report *r = calloc(1, sizeof *r);
    struct buf name = BUF_EMPTY(300);
    if (!r)
        log_die("out of memory for a report");
    r->domain = d;
    self.under_way++;
    buf_printf(&name, "_smtp._tls.%s", d->name);
    peer_ask(self.dns, &(struct message){.type = MESSAGE_TXT, .fd = -1, .txt = {.name = buf_span(&name)}}, on_record, r);
    buf_free(&name);
}

/* ---- a day ----------------------------------------------------------------------------------------------------------------------- */

static bool is_open(const struct tally_domain *d)
{
    return !d->over && !STAILQ_EMPTY(&d->policies);
}

static void day_end(void)
{
    size_t left = 0;
    for (struct tally_domain *d = tally_first(self.day); d; d = STAILQ_NEXT(d, next))
        left += is_open(d);
    if (left)
        log_warning("tlsrpt: %zu reports of a day could not be sent, and are not tried any more", left);
    days_forget(tally_day(self.day));
    tally_free(self.day);
    self.day = NULL;
    days_unlock();
}

static void pass_end(void)
{
    uint64_t now = program_now(), next_day = (tally_day(self.day) + 2) * DAYS_SECONDS;
    if (self.failed == 0 || self.passes >= PASSES_MOST || now >= self.ends || now >= next_day)
        day_end();
    else
        self.next_pass = now + ((uint64_t)AGAIN << (self.passes - 1));
}

static void pump(void)
{
    if (self.day && program_now() >= self.ends)
        self.cursor = NULL;
    while (self.day && !self.draining && self.cursor && self.under_way < AT_ONCE) {
        struct tally_domain *d = self.cursor;
        self.cursor = STAILQ_NEXT(d, next);
        if (is_open(d))
            report_begin(d);
    }
    if (self.under_way)
        return;
    if (self.draining)
        self.idle();
    else if (self.day && !self.cursor && !self.next_pass)
        pass_end();
}

static void pass_begin(void)
{
    self.cursor = tally_first(self.day);
    self.next_pass = 0;
    self.failed = 0;
    self.passes++;
    pump();
}

/* Reports of all senders at midnight would be a flood (RFC 8460 4.1): each host has a second of its own. */
static uint64_t begins(uint64_t day)
{
    uint64_t delay = self.settings->tlsrpt_delay, least = delay < SETTLED ? delay : SETTLED;
    const char *host = self.settings->hostname;
    return (day + 1) * DAYS_SECONDS + least + (delay > least ? crc32c(0, host, strlen(host)) % (delay - least) : 0);
}

static void look_for_day(void)
{
    uint64_t day;
    if (!days_oldest(&day) || program_now() < begins(day) || days_lock() != 0)
        return;
    self.day = days_read(day);
    told_recall(self.day);
    mail_count_clear();
    self.passes = 0;
    self.ends = program_now() + DAY_MOST;
    log_info("tlsrpt: reports for %zu domains go out to those that want them", tally_domains(self.day));
    pass_begin();
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    days_save();
    if (self.draining)
        return;
    if (!self.day)
        look_for_day();
    else if (self.next_pass && program_now() >= self.next_pass)
        pass_begin();
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

size_t reports_under_way(void)
{
    return self.under_way;
}

void reports_drain(void (*idle)(void))
{
    self.draining = true;
    self.idle = idle;
    if (self.settings)
        days_save();
}

static struct reporter reporter_of(const struct settings *s)
{
    const char *domain = strchr(s->tlsrpt_from, '@');
    return (struct reporter){.organization = s->tlsrpt_organization[0] ? s->tlsrpt_organization
                                             : domain                  ? domain + 1
                                                                       : s->tlsrpt_from,
                             .contact = s->tlsrpt_contact[0] ? s->tlsrpt_contact : s->tlsrpt_from,
                             .host = s->hostname};
}

void reports_start(const struct settings *s, struct event_base *base, struct peer *dns)
{
    days_start();
    if (!s->tlsrpt_from[0])
        return;
    self.settings = s;
    self.dns = dns;
    self.reporter = reporter_of(s);
    self.tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);
    if (!self.tick || event_add(self.tick, &(struct timeval){.tv_sec = TICK}) != 0)
        log_die("out of memory for a timer");
    look_for_day();
}
