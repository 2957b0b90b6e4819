/* The scheduler against scripted receivers and a fake clock (tests/sim/simulator.h). `test_simulator full` runs the long form: 1,000,000 where the
 * short one has 100,000. Each test prints the table it asserts. */
#include "qmgr/memory.h"
#include "qmgr/retry.h"
#include "qmgr/schedule_private.h"
#include "tests/sim/instructions.h"
#include "tests/sim/simulator.h"

#include <malloc.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

#define MINUTE ((uint64_t)60000)
#define HOUR   (60 * MINUTE)

static bool full;

static void no_fault(const struct sim *sim)
{
    if (sim->fault[0])
        fail_msg("%s", sim->fault);
}

static size_t number(size_t n)
{
    return full ? 10 * n : n;
}

/* ---- fairness ---------------------------------------------------------------------------------------------------- */

/* Watches single messages: what each other flow sends between its arrival and its grant. */
static uint64_t most_of_a_flow, most_of_all, longest_wait;
static size_t watched;

static void watch(struct sim *sim, struct mail *m)
{
    struct receiver *r = &sim->receivers[m->receiver];
    uint64_t all = 0;
    if (!m->seen)
        return;
    for (uint32_t i = 0; i < SIM_FLOWS; i++) {
        uint64_t sent = r->sent[i] - m->seen[i];
        all += sent;
        if (i != m->flow && most_of_a_flow < sent)
            most_of_a_flow = sent;
    }
    most_of_all = most_of_all < all ? all : most_of_all;
    longest_wait = longest_wait < sim->now - m->added ? sim->now - m->added : longest_wait;
    watched++;
}

static void send_watched(struct sim *sim, struct mail *m, uint32_t flow)
{
    m->seen = memory_new(SIM_FLOWS, sizeof *m->seen);
    memcpy(m->seen, sim->receivers[0].sent, SIM_FLOWS * sizeof *m->seen);
    sim_send(sim, m, 0, flow, 1);
}

enum { SINGLES = 500 };
struct fairness {
    struct mail singles[SINGLES];
    size_t sent;
};

static void send_single(struct sim *sim, void *arg)
{
    struct fairness *f = arg;
    if (f->sent < SINGLES && (f->sent == 0 || f->singles[f->sent - 1].delivered))
        send_watched(sim, &f->singles[f->sent++], (uint32_t)(SIM_FLOWS - 1));
}

static void flood(uint32_t flows, uint32_t cost_most, unsigned sessions)
{
    enum { FLOOD = 100000 };
    struct phase phase = {.service = 100};
    struct receiver r = {.name = "site", .phases = &phase, .count = 1, .most = sessions};
    struct mail *mail = memory_new(FLOOD, sizeof *mail);
    struct fairness *f = memory_new(1, sizeof *f);
    struct sim sim;
    sim_init(&sim, &r, 1, flows);
    sim.on_grant = watch;
    most_of_a_flow = most_of_all = longest_wait = watched = 0;
    for (size_t i = 0; i < FLOOD; i++)
        sim_send(&sim, &mail[i], 0, (uint32_t)i % flows, 1 + (uint32_t)sim_random(&sim, cost_most));
    sim_run(&sim, (uint64_t)FLOOD / sessions * 80, send_single, f);
    no_fault(&sim);
    uint64_t bound = SCHEDULE_QUANTUM + cost_most - 1;
    printf("  %8u flows of %6u  %4u  %8u  %14llu %6llu  %14llu %6llu  %9.1f s\n", flows, FLOOD / flows, cost_most, sessions,
           (unsigned long long)most_of_a_flow, (unsigned long long)bound, (unsigned long long)most_of_all,
           (unsigned long long)(bound * flows), (double)longest_wait / 1000);
    assert_in_range(watched, 50, SINGLES);
    assert_true(schedule_counts(sim.schedule).ready > 0); /* the flood was there all the time */
    assert_in_range(most_of_a_flow, 1, bound);
    assert_true(most_of_all <= bound * flows);
    for (size_t i = 0; i < SINGLES; i++)
        free(f->singles[i].seen);
    sim_free(&sim);
    free(mail);
    free(f);
}

static void a_message_waits_a_quantum_of_each_other_flow_at_most(void **state)
{
    (void)state;
    printf("  100,000 messages are there; single ones come, each of an idle flow. Recipients sent before it:\n");
    printf("  others                     cost  sessions     of one flow  bound     of all flows  bound  longest wait\n");
    flood(1, 1, 5);
    flood(1, 1, 1);
    flood(1, SCHEDULE_QUANTUM, 5);
    flood(10, 1, 5);
    flood(50, 1, 5);
    flood(50, SCHEDULE_QUANTUM, 5);
    flood(10, 50, 5);
}

/* ---- the window -------------------------------------------------------------------------------------------------- */

enum { SUPPLY = 300 };
struct load {
    struct mail *mail;
    size_t most, sent;
    double sum; /* of windows, since `from` */
    unsigned least, largest, seconds;
    uint64_t from;
    void (*look)(struct sim *, struct load *);
};

/* Keeps some waiting, so that only the window limits. */
static void supply(struct sim *sim, void *arg)
{
    struct load *l = arg;
    struct schedule_view v = schedule_view(sim_site(sim, 0));
    for (size_t left = v.ready; left < SUPPLY && l->sent < l->most; left++, l->sent++)
        sim_send(sim, &l->mail[l->sent], 0, (uint32_t)(l->sent % 5), 1);
    if (sim->now >= l->from) {
        l->sum += v.window;
        l->seconds++;
        l->least = v.window < l->least ? v.window : l->least;
        l->largest = v.window > l->largest ? v.window : l->largest;
    }
    if (l->look)
        l->look(sim, l);
}

static struct load load_new(size_t most, uint64_t from)
{
    return (struct load){.mail = memory_new(most, sizeof(struct mail)), .most = most, .least = UINT32_MAX, .from = from};
}

static void limited(unsigned sessions, unsigned refusal)
{
    struct phase phase = {.service = 500, .sessions = sessions, .refusal = refusal};
    struct receiver r = {.name = "site", .phases = &phase, .count = 1, .most = 100};
    struct load l = load_new(600000, 10 * MINUTE);
    struct sim sim;
    sim_init(&sim, &r, 1, sessions);
    sim_run(&sim, 10 * MINUTE, supply, &l);
    uint64_t delivered = r.delivered, refused = r.refused;
    sim_run(&sim, 40 * MINUTE, supply, &l);
    no_fault(&sim);
    delivered = r.delivered - delivered;
    refused = r.refused - refused;
    double mean = l.sum / l.seconds, could = (double)sessions * 1800 / 0.5, got = (double)delivered / could,
           refusals = 100 * (double)refused / (double)(delivered + refused);
    printf("  %8u  %7u ms  %6.1f  %5u  %5u  %9.0f %%  %7.2f %%\n", sessions, refusal, mean, l.least, l.largest, 100 * got, refusals);
    assert_true(mean >= sessions / 2.0 && mean <= sessions + 1);
    assert_true(l.least * 3 >= sessions - 1 && l.largest <= sessions + 1);
    assert_true(got > 0.75);
    assert_true(refusals < 4);
    sim_free(&sim);
    free(l.mail);
}

static void the_window_finds_what_a_receiver_takes(void **state)
{
    (void)state;
    printf("  receivers that refuse more sessions than this; 500 ms a message; minutes 10 to 40:\n");
    printf("  sessions     refusal  window  least   most  of capacity  refused\n");
    for (size_t i = 0; i < 7; i++) {
        static const unsigned sessions[7] = {1, 2, 3, 5, 10, 20, 50};
        limited(sessions[i], 20);
        limited(sessions[i], 3000);
    }
}

static unsigned at_minute[64];
static void note_minute(struct sim *sim, struct load *l)
{
    (void)l;
    if (sim->now % MINUTE == 0 && sim->now / MINUTE < 64)
        at_minute[sim->now / MINUTE] = schedule_window(sim_site(sim, 0));
}

static void the_window_follows_a_bad_time_and_recovers(void **state)
{
    (void)state;
    const struct phase phases[] = {
        {.service = 500, .sessions = 20, .refusal = 20},
        {.from = 10 * MINUTE, .service = 2000, .sessions = 2, .refusal = 20},
        {.from = 20 * MINUTE, .service = 500, .sessions = 20, .refusal = 20},
        {.from = 30 * MINUTE, .service = 500, .sessions = 20, .refusal = 20, .deferred = 100},
        {.from = 40 * MINUTE, .service = 500, .sessions = 20, .refusal = 20},
    };
    struct receiver r = {.name = "site", .phases = phases, .count = 5, .most = 100};
    struct load l = load_new(200000, 0);
    struct sim sim;
    l.look = note_minute;
    sim_init(&sim, &r, 1, 11);
    sim_run(&sim, 30 * MINUTE + 5000, supply, &l); /* what went out before has come back */
    unsigned before = schedule_window(sim_site(&sim, 0));
    sim_run(&sim, 40 * MINUTE - 1, supply, &l);
    unsigned after = schedule_window(sim_site(&sim, 0));
    sim_run(&sim, 50 * MINUTE, supply, &l);
    no_fault(&sim);
    printf(
        "  takes 20 sessions; 2 in minutes 10 to 20; 20 again, from minute 30 to 40 with a 4xx for every recipient. Window a minute:\n ");
    for (size_t i = 1; i < 50; i++)
        printf("%3u%s", at_minute[i], i % 10 == 9 ? "\n " : "");
    printf("\n");
    for (size_t i = 2; i < 50; i++) {
        bool bad = i > 10 && i <= 20;
        if (i != 10 && i != 20 && i != 21)
            assert_in_range(at_minute[i], bad ? 1 : 9, bad ? 3 : 21);
    }
    assert_int_equal(after, before);
    assert_true(r.deferred > 10000);
    sim_free(&sim);
    free(l.mail);
}

/* No word about a recipient touches the window, a failure halves it at once, those that were out with it don't halve it again. */
static void the_window_halves_once_for_what_was_out_together(void **state)
{
    (void)state;
    for (unsigned size = 2; size <= 100; size++) {
        struct window w;
        uint8_t epochs[100];
        window_init(&w, size);
        w.size = (float)size;
        for (unsigned i = 0; i < size; i++)
            epochs[i] = window_grant(&w);
        assert_false(window_room(&w));
        window_end(&w, epochs[0], JOB_RECIPIENT_FAILURE);
        assert_int_equal(w.size, size);
        epochs[0] = window_grant(&w);
        window_end(&w, epochs[0], JOB_SITE_FAILURE);
        assert_true(w.size == (float)size / 2);
        for (unsigned i = 1; i < size - 1; i++) {
            window_end(&w, epochs[i], i % 2 ? JOB_SUCCESS : JOB_SITE_FAILURE);
            assert_true(w.size == (float)size / 2);
        }
        assert_int_equal(w.active, 1);
    }
}

/* ---- providers --------------------------------------------------------------------------------------------------- */

enum { DOMAINS = 200 };
struct domains {
    struct provider provider;
    struct receiver r[DOMAINS];
    char names[DOMAINS][16];
    struct mail *mail;
    size_t most, sent;
};

static struct domains *domains_new(const struct phase *phases, size_t count, unsigned most, unsigned a_minute, size_t mail)
{
    struct domains *d = memory_new(1, sizeof *d);
    d->provider = (struct provider){.name = "provider", .most = most, .a_minute = a_minute, .step = 600};
    for (size_t i = 0; i < DOMAINS; i++) {
        snprintf(d->names[i], sizeof d->names[i], "d%zu", i);
        d->r[i] = (struct receiver){.name = d->names[i], .phases = phases, .count = count, .most = most, .provider = &d->provider};
    }
    d->mail = memory_new(mail, sizeof *d->mail);
    d->most = mail;
    return d;
}

static void domains_free(struct domains *d)
{
    free(d->mail);
    free(d);
}

/* Keeps some waiting at all of them; what was delivered is sent again. */
static void supply_domains(struct sim *sim, void *arg)
{
    struct domains *d = arg;
    for (size_t left = schedule_counts(sim->schedule).ready; left < (size_t)DOMAINS * 20; left++) {
        struct mail *m = &d->mail[d->sent++ % d->most];
        for (size_t i = 0; i < d->most && m->job.state != JOB_NEW; i++)
            m = &d->mail[d->sent++ % d->most];
        if (m->job.state != JOB_NEW)
            return;
        *m = (struct mail){0};
        sim_send(sim, m, d->sent % DOMAINS, (uint32_t)d->sent % 5, 1);
    }
}

/* 50 sessions of 200 ms could carry 15,000 a minute. */
static void a_provider_that_takes(unsigned takes)
{
    const struct phase phases[] = {
        {.service = 200}, {.from = 10 * MINUTE, .service = 200, .takes = takes}, {.from = 10 * HOUR, .service = 200}};
    struct domains *d = domains_new(phases, 3, 50, 0, 50000);
    struct sim sim;
    sim_init(&sim, d->r, DOMAINS, takes);
    sim_run(&sim, 10 * MINUTE, supply_domains, d);
    uint64_t before = d->provider.delivered;
    assert_int_equal(d->provider.told, 0);
    sim_run(&sim, 30 * MINUTE, supply_domains, d); /* it finds it */
    uint64_t told_first = d->provider.told, delivered = d->provider.delivered;
    sim_run(&sim, 10 * HOUR, supply_domains, d);
    no_fault(&sim);
    delivered = d->provider.delivered - delivered;
    uint64_t told = d->provider.told - told_first, minutes = 570;
    double used = (double)delivered / (double)minutes / takes, refused = (double)told / (double)(told + delivered);
    uint64_t back = 10 * HOUR, so_far = d->provider.delivered;
    for (uint64_t rate = 0; rate < before / 10 * 9 / 10 && back < 14 * HOUR; back += MINUTE) {
        sim_run(&sim, back + MINUTE, supply_domains, d);
        rate = d->provider.delivered - so_far;
        so_far = d->provider.delivered;
    }
    printf("  %8u  %17llu  %13.0f %%  %9.2f %%  %6llu  %20llu min\n", takes, (unsigned long long)told_first, 100 * used, 100 * refused,
           (unsigned long long)d->provider.slowed, (unsigned long long)(back - 10 * HOUR) / MINUTE);
    assert_true(used > 0.4 && used <= 1.01);
    assert_true(refused < 0.1);
    assert_true(told_first < 5000); /* a quarter of 15,000 and less, to the end of its minute */
    assert_true(back < 13 * HOUR);
    sim_free(&sim);
    domains_free(d);
}

static void a_provider_gets_what_it_takes_and_more_when_it_takes_more(void **state)
{
    (void)state;
    printf("  a provider of 200 domains takes so many messages a minute from minute 10 on, and any number after 10 hours; steps of 10 "
           "minutes:\n");
    printf("  a minute  told in 20 minutes  used of what it takes  told after  words  full speed again after\n");
    a_provider_that_takes(6000);
    a_provider_that_takes(600);
    a_provider_that_takes(60);
    a_provider_that_takes(10);
}

/* Single messages to a domain that has no other mail, while 199 have more than the provider's rate lets through. */
static uint64_t granted_before, most_between;
static struct domains *watched_domains;
static void watch_domain(struct sim *sim, struct mail *m)
{
    (void)sim;
    if (m->receiver != DOMAINS - 1)
        return;
    uint64_t between = watched_domains->provider.granted - granted_before;
    most_between = most_between < between ? between : most_between;
    watched++;
}

static void send_to_last(struct sim *sim, void *arg)
{
    struct domains *d = arg;
    while (d->sent < d->most - SINGLES && schedule_counts(sim->schedule).ready < (size_t)DOMAINS * 20) {
        sim_send(sim, &d->mail[d->sent], d->sent % (DOMAINS - 1), 1, 1);
        d->sent++;
    }
    struct mail *next = &d->mail[d->most - SINGLES + watched];
    if (watched < SINGLES && !next->added) {
        granted_before = d->provider.granted;
        sim_send(sim, next, DOMAINS - 1, 2, 1);
    }
}

static void a_domain_waits_two_jobs_of_each_other_of_its_provider_at_most(void **state)
{
    (void)state;
    const struct phase phase = {.service = 100};
    for (unsigned most = 1; most <= 20; most += 19) {
        struct domains *d = domains_new(&phase, 1, most, 600, 40000);
        struct sim sim;
        sim_init(&sim, d->r, DOMAINS, most);
        sim.on_grant = watch_domain;
        watched_domains = d;
        watched = granted_before = most_between = 0;
        sim_run(&sim, 50 * MINUTE, send_to_last, d);
        no_fault(&sim);
        printf("  200 domains share 600 a minute and %u sessions, 199 have a flood: %zu single messages waited for %llu others at most\n",
               most, watched, (unsigned long long)most_between);
        assert_true(watched > 50);
        assert_in_range(most_between, 1, 2 * DOMAINS); /* twice, as those that have answered and the others take turns */
        assert_in_range(d->provider.granted, 50 * 600 - 20 * 20 / most, 50 * 600 + 20);
        sim_free(&sim);
        domains_free(d);
    }
}

/* Half of the domains lead nowhere: sessions to them hang for a minute. */
static void dead_domains_of_a_provider_leave_room_for_the_others(void **state)
{
    (void)state;
    static const struct phase phases[2] = {{.service = 200}, {.service = 60000, .dead = true}};
    struct domains *d = domains_new(&phases[0], 1, 50, 0, 200000);
    struct sim sim;
    for (size_t i = 0; i < DOMAINS; i += 2)
        d->r[i].phases = &phases[1];
    sim_init(&sim, d->r, DOMAINS, 3);
    for (size_t i = 0; i < d->most; i++)
        sim_send(&sim, &d->mail[i], i % DOMAINS, 0, 1);
    uint64_t after[3], at[3] = {5 * MINUTE, 15 * MINUTE, 30 * MINUTE};
    for (size_t i = 0; i < 3; i++) {
        sim_run(&sim, at[i], NULL, NULL);
        after[i] = d->provider.delivered;
    }
    no_fault(&sim);
    printf("  100 of 200 domains hang for a minute at each try: %llu of 100,000 messages for the others in 5 minutes, %llu in 15, %llu in "
           "30\n",
           (unsigned long long)after[0], (unsigned long long)after[1], (unsigned long long)after[2]);
    assert_int_equal(after[2], 100000);
    sim_free(&sim);
    domains_free(d);
}

/* ---- dead sites -------------------------------------------------------------------------------------------------- */

static void a_site_dies_once_and_comes_back(void **state)
{
    (void)state;
    const unsigned windows[] = {1, 5, 20, 100};
    printf("  a site dies in minute 10 (sessions fail after 30 s) and is back 20 hours later; 10,000 messages are there for it:\n");
    printf("  window  failed jobs  bound  of them probes  first probe that could succeed after  all delivered after\n");
    for (size_t i = 0; i < 4; i++) {
        const struct phase phases[] = {
            {.service = 300}, {.from = 10 * MINUTE, .service = 30000, .dead = true}, {.from = 10 * MINUTE + 20 * HOUR, .service = 300}};
        struct receiver r = {.name = "site", .phases = phases, .count = 3, .most = windows[i]};
        struct load l = load_new(400000, 0);
        struct mail *more = memory_new(10000, sizeof *more);
        struct sim sim;
        sim_init(&sim, &r, 1, i + 21);
        sim_run(&sim, 10 * MINUTE - 2000, supply, &l);
        assert_true(r.failed == 0);
        for (size_t k = 0; k < 10000; k++)
            sim_send(&sim, &more[k], 0, 0, 1);
        sim_run(&sim, 10 * MINUTE + 20 * HOUR, NULL, NULL);
        uint64_t failed = r.failed, probes = r.probes, granted = sim.granted;
        uint64_t bound = windows[i] + (uint64_t)log2(windows[i]) + 2;
        while (sim.granted == granted)
            sim_run(&sim, sim.now + 1000, NULL, NULL);
        uint64_t back = sim.now - 10 * MINUTE - 20 * HOUR;
        sim_run(&sim, 60 * HOUR, NULL, NULL);
        no_fault(&sim);
        printf("  %6u  %11llu  %5llu  %14llu  %34llu s  %17llu s\n", windows[i], (unsigned long long)failed,
               (unsigned long long)(bound + probes), (unsigned long long)probes, (unsigned long long)back / 1000,
               (unsigned long long)(r.delivered_at / 1000 - 72600));
        assert_in_range(probes, 8, 11); /* 300 + 600 + ... + 9600 s, then each 14,400 s, in 20 hours */
        assert_in_range(failed, windows[i] + probes, bound + probes);
        assert_true(back <= 14400 * 1100 + 30000);
        assert_int_equal(sim.delivered, l.sent + 10000);
        sim_free(&sim);
        free(l.mail);
        free(more);
    }
}

/* 2,000 sites die in the same second: their probes spread. */
static unsigned probes_most;
static uint64_t probes_before;
static void count_probes(struct sim *sim, void *arg)
{
    uint64_t probes = 0;
    (void)arg;
    for (size_t i = 0; i < sim->receiver_count; i++)
        probes += sim->receivers[i].probes;
    if (probes - probes_before > probes_most)
        probes_most = (unsigned)(probes - probes_before);
    probes_before = probes;
}

static void sites_that_die_together_are_not_probed_together(void **state)
{
    (void)state;
    enum { SITES = 2000, EACH = 10 };
    struct phase phase = {.service = 4, .dead = true};
    struct receiver *r = memory_new(SITES, sizeof *r);
    struct mail *mail = memory_new(SITES * EACH, sizeof *mail);
    char names[SITES][24];
    struct sim sim;
    for (size_t i = 0; i < SITES; i++) {
        snprintf(names[i], sizeof names[i], "s%zu", i);
        r[i] = (struct receiver){.name = names[i], .phases = &phase, .count = 1, .most = 20};
    }
    sim_init(&sim, r, SITES, 31);
    for (size_t i = 0; i < SITES * EACH; i++)
        sim_send(&sim, &mail[i], i % SITES, 0, 1);
    probes_most = 0;
    probes_before = 0;
    sim_run(&sim, 2 * HOUR, count_probes, NULL);
    no_fault(&sim);
    printf("  %d sites die in one second: %llu probes in two hours, %u in one second at most\n", SITES, (unsigned long long)probes_before,
           probes_most);
    assert_in_range(probes_before, SITES * 4, SITES * 5);
    assert_true(probes_most <= SITES / 60 * 2); /* the first wave is 60 s wide */
    sim_free(&sim);
    free(mail);
    free(r);
}

/* ---- a restart --------------------------------------------------------------------------------------------------- */

struct restart {
    struct mail *fresh;
    size_t fresh_most, fresh_n, sites, ready_before, made_most, overdue;
    uint64_t granted_before, overdue_done;
    struct mail *mail;
};

static void each_second(struct sim *sim, void *arg)
{
    struct restart *a = arg;
    size_t ready = schedule_counts(sim->schedule).ready;
    size_t made = (size_t)(sim->granted - a->granted_before) + ready - a->ready_before;
    a->made_most = made > a->made_most ? made : a->made_most;
    if (!a->overdue_done) {
        size_t i = 0;
        while (i < a->overdue && (a->mail[i].delivered || a->mail[i].receiver % 20 == 0))
            i++;
        if (i == a->overdue)
            a->overdue_done = sim->now;
    }
    for (int i = 0; i < 20 && a->fresh_n < a->fresh_most; i++)
        sim_send(sim, &a->fresh[a->fresh_n++], 1 + sim_random(sim, 18) + 20 * sim_random(sim, a->sites / 20), 2, 1);
    a->ready_before = schedule_counts(sim->schedule).ready;
    a->granted_before = sim->granted;
}

static void restart(size_t n, size_t sites, unsigned percent_overdue)
{
    static const struct phase phases[2] = {{.service = 200}, {.service = 30000, .dead = true}};
    struct receiver *r = memory_new(sites, sizeof *r);
    char(*names)[24] = memory_new(sites, sizeof *names);
    struct restart a = {.sites = sites, .fresh_most = 2000, .overdue = n / 100 * percent_overdue};
    struct sim sim;
    a.mail = memory_new(n, sizeof *a.mail);
    a.fresh = memory_new(a.fresh_most, sizeof *a.fresh);
    for (size_t i = 0; i < sites; i++) {
        snprintf(names[i], sizeof names[i], "s%zu", i);
        r[i] = (struct receiver){.name = names[i], .phases = &phases[i % 20 == 0], .count = 1, .most = 20};
    }
    sim_init(&sim, r, sites, 41);
    for (size_t i = 0; i < n; i++) {
        uint64_t due = i < a.overdue ? SIM_START - sim_random(&sim, 3600) : SIM_START + 1 + sim_random(&sim, 14400);
        sim_send_later(&sim, &a.mail[i], sim_random(&sim, sites), (uint32_t)i % 2, due);
    }
    sim_run(&sim, 10 * MINUTE, each_second, &a);
    no_fault(&sim);
    uint64_t longest = 0;
    for (size_t i = 0; i < a.fresh_n; i++) {
        uint64_t wait = a.fresh[i].granted ? a.fresh[i].granted - a.fresh[i].added : UINT64_MAX;
        longest = wait > longest ? wait : longest;
    }
    unsigned peak = 0;
    for (size_t i = 0; i < sites; i++)
        peak = r[i].sessions_peak > peak ? r[i].sessions_peak : peak;
    printf("  %9zu  %6zu  %7u %%  %15zu  %9zu  %7u  %17llu s  %14.1f s\n", n, sites, percent_overdue, a.made_most, sim.active_peak, peak,
           (unsigned long long)a.overdue_done / 1000, (double)longest / 1000);
    assert_true(a.made_most <= SCHEDULE_DUE_A_SECOND);
    assert_true(sim.active_peak <= SCHEDULE_ACTIVE_MOST);
    assert_true(longest <= 1000);
    assert_in_range(a.overdue_done, 1000, (a.overdue / SCHEDULE_DUE_A_SECOND + 60) * 1000);
    sim_free(&sim);
    free(a.mail);
    free(a.fresh);
    free(names);
    free(r);
}

static void a_restart_makes_no_stampede(void **state)
{
    (void)state;
    printf("  deferred mail at a start, a twentieth of it for dead sites; 20 new messages a second come meanwhile:\n");
    printf("   deferred   sites    overdue  ready a second  in flight  a site  overdue delivered  new mail waits\n");
    restart(number(100000), number(1000), 50);
    restart(number(100000), number(1000), 100);
    restart(number(100000), 100, 100);
}

/* 2,000 sites hang, 100 are well: these are served meanwhile. */
static void sites_that_hang_leave_room_for_others(void **state)
{
    (void)state;
    enum { SITES = 2100, EACH = 150, WELL = 21 };
    static const struct phase phases[2] = {{.service = 200}, {.service = 120000, .dead = true}};
    static struct receiver r[SITES];
    char names[SITES][24];
    struct mail *mail = memory_new((size_t)SITES * EACH, sizeof *mail);
    struct sim sim;
    for (size_t i = 0; i < SITES; i++) {
        snprintf(names[i], sizeof names[i], "s%zu", i);
        r[i] = (struct receiver){.name = names[i], .phases = &phases[i % WELL != 0], .count = 1, .most = 20};
    }
    sim_init(&sim, r, SITES, 45);
    for (size_t i = 0; i < (size_t)SITES * EACH; i++)
        sim_send(&sim, &mail[i], i % SITES, 0, 1);
    sim_run(&sim, 60000, NULL, NULL);
    no_fault(&sim);
    printf("  2,000 sites hang for two minutes, 100 are well: in the first one these took %llu of their %d messages; %zu were in flight\n",
           (unsigned long long)sim.delivered, 100 * EACH, sim.active_peak);
    assert_int_equal(sim.delivered, 100 * EACH);
    sim_free(&sim);
    free(mail);
}

/* Everything is deferred by its receiver in the same minutes: it does not come back at once. */
static void a_storm_of_4xx_does_not_come_back_as_one(void **state)
{
    (void)state;
    enum { SITES = 40 };
    static struct phase phases[2] = {{.service = 100, .deferred = 100}, {.from = 10 * MINUTE, .service = 100}};
    struct receiver r[SITES];
    char names[SITES][24];
    size_t n = number(100000);
    struct mail *mail = memory_new(n, sizeof *mail);
    struct restart a = {.sites = SITES};
    struct sim sim;
    for (size_t i = 0; i < SITES; i++) {
        snprintf(names[i], sizeof names[i], "s%zu", i);
        r[i] = (struct receiver){.name = names[i], .phases = phases, .count = 2, .most = 100};
    }
    sim_init(&sim, r, SITES, 51);
    for (size_t i = 0; i < n; i++)
        sim_send(&sim, &mail[i], i % SITES, (uint32_t)i % 7, 1);
    sim_run(&sim, 1, NULL, NULL);
    a.ready_before = schedule_counts(sim.schedule).ready;
    a.granted_before = sim.granted;
    sim_run(&sim, 2 * HOUR, each_second, &a);
    no_fault(&sim);
    printf("  %zu messages get a 4xx for ten minutes: %zu became ready in one second at most, all delivered: %s\n", n, a.made_most,
           sim.delivered == n ? "yes" : "no");
    assert_int_equal(sim.delivered, n);
    assert_true(a.made_most <= SCHEDULE_DUE_A_SECOND);
    assert_int_equal(r[0].refused + r[0].failed, 0);
    sim_free(&sim);
    free(mail);
}

/* ---- priority, rate ---------------------------------------------------------------------------------------------- */

static void higher_classes_go_first_and_starve_none(void **state)
{
    (void)state;
    enum { EACH = 10000 };
    const int cases[4] = {7, 6, 5, 3}; /* which classes have jobs */
    printf("  share of 9,000 grants, and the longest row of others:\n         high            normal               low\n");
    for (size_t c = 0; c < 4; c++) {
        struct schedule *s = schedule_new(SIM_START, 61);
        struct job *jobs = memory_new(3 * EACH, sizeof *jobs);
        struct site *site = schedule_site(s, span_of("site"), 1);
        unsigned got[3] = {0}, row[3] = {0}, longest[3] = {0};
        for (size_t i = 0; i < 3 * EACH; i++) {
            jobs[i].cost = 1;
            jobs[i].priority = (int8_t)(1 - (int)(i % 3));
            if (cases[c] >> i % 3 & 1)
                schedule_add(s, &jobs[i], site, span_of(i % 2 ? "a" : "b"), SIM_START);
        }
        for (int i = 0; i < 9000; i++) {
            struct job *job = schedule_next(s, SIM_START);
            assert_non_null(job);
            int class = 1 - job->priority;
            schedule_done(s, job, JOB_SUCCESS, SIM_START);
            for (int k = 0; k < 3; k++) {
                row[k] = k == class ? 0 : row[k] + 1;
                longest[k] = row[k] > longest[k] ? row[k] : longest[k];
            }
            got[class]++;
        }
        for (int k = 0; k < 3; k++) {
            printf("  %5u (row of %3u)", got[k], got[k] ? longest[k] : 0);
            if (cases[c] >> k & 1)
                assert_true(got[k] >= 9000 / 10 && longest[k] <= SCHEDULE_PATIENCE + 1);
        }
        printf("\n");
        int highest = cases[c] & 1 ? 0 : 1;
        assert_true(got[highest] >= 9000 * 7 / 9 - 9);
        for (size_t i = 0; i < 3 * EACH; i++)
            schedule_remove(s, &jobs[i]);
        schedule_free(s);
        free(jobs);
    }
}

struct pacing {
    uint64_t at[130];
    unsigned a_minute;
    uint64_t least_minute, most_minute, most_second;
};

static void measure_pace(struct sim *sim, void *arg)
{
    struct pacing *p = arg;
    size_t second = sim->now / 1000;
    p->at[second % 130] = sim->granted;
    if (second < 70)
        return;
    uint64_t minute = sim->granted - p->at[(second - 60) % 130], one = sim->granted - p->at[(second - 1) % 130];
    p->most_minute = minute > p->most_minute ? minute : p->most_minute;
    p->least_minute = minute < p->least_minute ? minute : p->least_minute;
    p->most_second = one > p->most_second ? one : p->most_second;
}

static void a_rate_is_kept_and_used(void **state)
{
    (void)state;
    const unsigned rates[] = {1, 7, 60, 90, 600, 6000};
    printf("  messages a minute: the limit, and the least and most in any 60 s of an hour; most in a second\n");
    for (size_t i = 0; i < 6; i++) {
        struct phase phase = {.service = 20};
        struct receiver r = {.name = "site", .phases = &phase, .count = 1, .most = 20, .a_minute = rates[i]};
        size_t n = rates[i] * 70;
        struct mail *mail = memory_new(n, sizeof *mail);
        struct pacing p = {.a_minute = rates[i], .least_minute = UINT64_MAX};
        struct sim sim;
        sim_init(&sim, &r, 1, 71);
        for (size_t k = 0; k < n; k++)
            sim_send(&sim, &mail[k], 0, (uint32_t)k % 3, 1);
        sim_run(&sim, HOUR, measure_pace, &p);
        no_fault(&sim);
        uint64_t burst = rates[i] > 60 ? (rates[i] + 59) / 60 : 1;
        printf("  %6u  %6llu  %6llu  %6llu\n", rates[i], (unsigned long long)p.least_minute, (unsigned long long)p.most_minute,
               (unsigned long long)p.most_second);
        assert_in_range(p.most_minute, rates[i], rates[i] + burst);
        assert_in_range(p.least_minute, rates[i] - burst, rates[i]);
        assert_true(p.most_second <= 2 * burst);
        sim_free(&sim);
        free(mail);
    }
}

/* ---- retry times ------------------------------------------------------------------------------------------------- */

static void retry_times_double_within_a_tenth_and_are_spread(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(SIM_START, 81);
    enum { N = 100000 };
    printf("  attempt      least       mean       most  most in one second of %d\n", N);
    for (uint32_t attempt = 1; attempt <= 8; attempt++) {
        static unsigned at[20000];
        uint64_t expected = (uint64_t)300 << (attempt - 1), least = UINT64_MAX, most = 0, peak = 0;
        double sum = 0;
        expected = expected < 14400 ? expected : 14400;
        memset(at, 0, sizeof at);
        for (int i = 0; i < N; i++) {
            uint64_t delay = schedule_retry(s, SIM_START, attempt, 300, 14400, UINT64_MAX) - SIM_START;
            assert_in_range(delay, expected - expected / 10, expected + expected / 10);
            least = delay < least ? delay : least;
            most = delay > most ? delay : most;
            sum += (double)delay;
            peak = ++at[delay] > peak ? at[delay] : peak;
        }
        printf("  %7u  %7llu s  %7.0f s  %7llu s  %6llu\n", attempt, (unsigned long long)least, sum / N, (unsigned long long)most,
               (unsigned long long)peak);
        assert_int_equal(least, expected - expected / 10);
        assert_int_equal(most, expected + expected / 10);
        assert_true(fabs(sum / N - (double)expected) < (double)expected / 200);
        double each = (double)N / (2 * (double)(expected / 10) + 1);
        assert_true((double)peak < each + 6 * sqrt(each));
    }
    schedule_free(s);
}

/* ---- cost -------------------------------------------------------------------------------------------------------- */

struct bench {
    struct schedule *s;
    struct job *jobs;
    size_t n, sites, operations, at;
    uint64_t random;
};

static double nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static struct site *bench_site(struct bench *b, size_t i)
{
    char name[32];
    int n = snprintf(name, sizeof name, "smtp:mx%zu.example.net may", i % b->sites);
    return schedule_site(b->s, span_make(name, (size_t)n), 5);
}

static void bench_add(struct bench *b, size_t i, uint64_t due)
{
    char flow[16];
    int n = snprintf(flow, sizeof flow, "192.0.2.%zu", i / b->sites % 10);
    schedule_add_later(b->s, &b->jobs[i], bench_site(b, i), span_make(flow, (size_t)n), due, SIM_START);
}

static uint64_t due_of(struct bench *b)
{
    return SIM_START + 1 + retry_random(&b->random) % (b->n / 100); /* a hundred a second, whatever their number */
}

static struct bench bench_new(size_t n, size_t sites, bool ready)
{
    struct bench b = {.s = schedule_new(SIM_START, 91), .jobs = memory_new(n, sizeof(struct job)), .n = n, .sites = sites, .random = 1};
    for (size_t i = 0; i < n; i++) {
        b.jobs[i].cost = 1;
        bench_add(&b, i, ready ? 0 : due_of(&b));
    }
    return b;
}

static void bench_free(struct bench *b)
{
    for (size_t i = 0; i < b->n; i++)
        schedule_remove(b->s, &b->jobs[i]);
    schedule_free(b->s);
    free(b->jobs);
}

/* One decision: which job is next; it goes, comes back, and stands in line again. */
static void decide(void *arg)
{
    struct bench *b = arg;
    for (size_t i = 0; i < b->operations; i++) {
        struct job *job = schedule_next(b->s, SIM_START);
        schedule_done(b->s, job, JOB_SUCCESS, SIM_START);
        bench_add(b, (size_t)(job - b->jobs), 0);
    }
}

/* One deferral: a job out of the wheel and back in at another time. */
static void defer(void *arg)
{
    struct bench *b = arg;
    for (size_t i = 0; i < b->operations; i++) {
        b->at = (b->at + 7919) % b->n;
        schedule_remove(b->s, &b->jobs[b->at]);
        bench_add(b, b->at, due_of(b));
    }
}

struct cost {
    double instructions, time;
};

static struct cost measure(struct bench *b, void (*run)(void *))
{
    struct cost c;
#ifdef POSTINO_SANITIZER
    b->operations = 4; /* single steps are slow */
#else
    b->operations = full ? 50 : 10;
#endif
    c.instructions = (double)instructions_of(run, b) / (double)b->operations;
    b->operations = 200000;
    run(b);
    for (int i = 0; i < 3; i++) { /* the least: what its host takes from a virtual machine is counted as ours */
        double began = nanoseconds();
        run(b);
        double each = (nanoseconds() - began) / (double)b->operations;
        c.time = i == 0 || each < c.time ? each : c.time;
    }
    return c;
}

/* All that wait become ready, go, and are done: time a job, everything included; and the longest turn. */
static double expire(struct bench *b, double *longest)
{
    double began = nanoseconds(), turn = began;
    *longest = 0;
    size_t done = 0;
    for (uint64_t now = SIM_START; done < b->n; now = schedule_wake(b->s, now)) {
        for (struct job *job; (job = schedule_next(b->s, now)); done++)
            schedule_done(b->s, job, JOB_SUCCESS, now);
        double at = nanoseconds();
        *longest = at - turn > *longest ? at - turn : *longest;
        turn = at;
        assert_true(now < SIM_START + 200000);
    }
    return (nanoseconds() - began) / (double)b->n;
}

static void a_decision_costs_the_same_however_many_are_queued(void **state)
{
    (void)state;
    struct cost first[2] = {{0}}, last[2] = {{0}};
    size_t most = number(100000);
    printf("                    a decision (next, done, add)     a deferral (out of the wheel, into it)     due, next, done\n");
    printf("     queued       instructions          time              instructions          time             time   longest turn\n");
    for (size_t n = 1000; n <= most; n *= 10) {
        struct bench ready = bench_new(n, 10, true), waiting = bench_new(n, 1000, false);
        struct cost decision = measure(&ready, decide), deferral = measure(&waiting, defer);
        double longest, due = expire(&waiting, &longest);
        printf("  %9zu       %8.0f         %6.0f ns            %8.0f           %6.0f ns        %6.0f ns   %8.2f ms\n", n,
               decision.instructions, decision.time, deferral.instructions, deferral.time, due, longest / 1e6);
        last[0] = decision;
        last[1] = deferral;
        if (n == 1000)
            memcpy(first, last, sizeof first);
        bench_free(&ready);
        bench_free(&waiting);
    }
    printf("  (instructions by %s)\n", instructions_how());
    for (int i = 0; i < 2; i++) {
        if (first[i].instructions > 0)
            assert_true(last[i].instructions < 1.2 * first[i].instructions);
        assert_true(last[i].time < 10 * first[i].time); /* caches, not steps */
    }
}

/* Nor however many flows and sites there are. */
static void a_decision_costs_the_same_however_many_flows_there_are(void **state)
{
    (void)state;
    double first = 0, instructions = 0;
    printf("      flows       a decision, one job each: instructions, time\n");
    for (size_t n = 100; n <= number(10000); n *= 10) {
        struct bench b = {.s = schedule_new(SIM_START, 92), .jobs = memory_new(n, sizeof(struct job)), .n = n, .sites = 1, .random = 1};
        for (size_t i = 0; i < n; i++) {
            char flow[16];
            int length = snprintf(flow, sizeof flow, "%zu", i);
            b.jobs[i].cost = 1;
            schedule_add(b.s, &b.jobs[i], bench_site(&b, 0), span_make(flow, (size_t)length), SIM_START);
        }
        struct cost c = measure(&b, decide);
        instructions = c.instructions;
        first = n == 100 ? instructions : first;
        printf("  %9zu       %8.0f         %6.0f ns\n", n, c.instructions, c.time);
        bench_free(&b);
    }
    if (first > 0)
        assert_true(instructions < 1.2 * first);
}

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static double memory_of(size_t n, size_t sites, const char *what)
{
    size_t before = in_use();
    struct bench b = bench_new(n, sites, false);
    double each = (double)(in_use() - before) / (double)n;
    printf("  %9zu waiting, %-24s %6.1f octets each in the scheduler\n", n, what, each);
    bench_free(&b);
    return each;
}

static void a_waiting_job_is_small(void **state)
{
    (void)state;
    size_t n = number(100000);
    printf("  sizeof: job %zu, site %zu + name, flow %zu (while it has READY jobs), sender %zu + name; schedule %zu\n", sizeof(struct job),
           sizeof(struct site), sizeof(struct flow), sizeof(struct sender), sizeof(struct schedule));
    double one = memory_of(n, 1, "at one site"), some = memory_of(n, n / 100, "100 at a site"),
           own = memory_of(n, n, "each at its own site");
    assert_int_equal(sizeof(struct job), 64);
    if (one > 0) { /* the sanitizer's allocator does not say */
        assert_true(one < 65 && some < 70);
        assert_true(own < 300);
    }
}

/* ---- anything goes ----------------------------------------------------------------------------------------------- */

struct anything {
    struct schedule *schedule;
    uint64_t now, random;
};

enum { ANY_JOBS = 400, ANY_SITES = 6, ANY_ACTIVE = 40 };

static struct job any_jobs[ANY_JOBS];

static void add_anything(struct anything *a, struct job *job, uint64_t what, uint64_t r)
{
    static const char *const names[ANY_SITES] = {"a", "b", "c", "d", "e", "f"};
    struct site *site = schedule_site(a->schedule, span_of(names[r % ANY_SITES]), 1 + (unsigned)(r % 20));
    uint64_t due = what < 40 ? 0 : what < 50 ? a->now - r % 100 : a->now + r % 1000;
    job->cost = 1 + (uint32_t)(r % 30);
    job->priority = (int8_t)(r % 3 - 1);
    if (what > 95)
        schedule_site_rate(a->schedule, site, (unsigned)(r % 100));
    schedule_add_later(a->schedule, job, site, span_of(names[r / 8 % ANY_SITES]), due, a->now);
}

static void grant_anything(struct anything *a)
{
    struct job *next = schedule_next(a->schedule, a->now);
    assert_true(!next || next->state == JOB_ACTIVE);
    uint64_t wake = schedule_wake(a->schedule, a->now);
    assert_true(next || wake == 0 || wake > a->now);
}

static void do_anything(struct anything *a, struct job *job)
{
    struct schedule *s = a->schedule;
    uint64_t what = retry_random(&a->random) % 100, r = retry_random(&a->random);
    if (job->state == JOB_NEW) {
        add_anything(a, job, what, r);
    } else if (what < 5) {
        schedule_remove(s, job);
    } else if (what < 15) {
        schedule_hurry(s, job, a->now);
    } else if (what < 25) {
        bool can = job->state == JOB_READY || job->state == JOB_WAITING;
        assert_true(schedule_hold(s, job) == can);
    } else if (what < 35) {
        schedule_release(s, job, a->now);
        assert_int_not_equal(job->state, JOB_HELD);
    } else if (what < 37) {
        schedule_flush(s, job->site, a->now);
    } else if (what < 40) {
        a->now += r % 400;
    } else if (what < 70 && job->state == JOB_ACTIVE) {
        schedule_done(s, job, r % 4 == 0 ? JOB_SITE_FAILURE : (enum job_end)(r / 4 % 4), a->now);
    } else {
        grant_anything(a);
    }
}

static void counts_are_those_of_the_jobs(const struct schedule *s)
{
    size_t n[5] = {0};
    for (size_t k = 0; k < ANY_JOBS; k++)
        n[any_jobs[k].state]++;
    struct schedule_counts c = schedule_counts(s);
    assert_true(c.ready == n[JOB_READY] && c.active == n[JOB_ACTIVE] && c.waiting == n[JOB_WAITING] && c.held == n[JOB_HELD]);
    assert_true(c.active <= ANY_ACTIVE);
}

static void all_come_out(struct anything *a)
{
    struct schedule *s = a->schedule;
    for (size_t k = 0; k < ANY_JOBS; k++)
        schedule_release(s, &any_jobs[k], a->now);
    for (int quiet = 0; quiet < 20; quiet++) {
        for (size_t k = 0; k < ANY_JOBS; k++)
            if (any_jobs[k].state == JOB_ACTIVE)
                schedule_done(s, &any_jobs[k], JOB_SUCCESS, a->now);
        for (struct job *job; (job = schedule_next(s, a->now)); quiet = 0)
            schedule_done(s, job, JOB_SUCCESS, a->now);
        uint64_t wake = schedule_wake(s, a->now);
        a->now = wake > a->now ? wake : a->now + 1;
    }
    struct schedule_counts c = schedule_counts(s);
    assert_true(c.ready + c.active + c.waiting + c.held == 0);
}

/* Random operations; the counts are those of the jobs' states, no job is lost, and all come out in the end. */
static void random_operations_lose_no_job(void **state)
{
    (void)state;
    struct anything a = {.schedule = schedule_new(SIM_START, 101), .now = SIM_START, .random = 5};
    uint64_t seen[5] = {0};
    schedule_active_most(a.schedule, ANY_ACTIVE);
    for (int i = 0; i < (full ? 4000000 : 400000); i++) {
        struct job *job = &any_jobs[retry_random(&a.random) % ANY_JOBS];
        seen[job->state]++;
        do_anything(&a, job);
        if (i % 100 == 0)
            counts_are_those_of_the_jobs(a.schedule);
    }
    for (int i = 0; i < 5; i++)
        assert_true(seen[i] > 1000);
    all_come_out(&a);
    schedule_next(a.schedule, a.now + 20000);
    schedule_next(a.schedule, a.now + 40000);
    assert_int_equal(schedule_counts(a.schedule).sites, 0);
    schedule_free(a.schedule);
}

int main(int argc, char **argv)
{
    full = argc > 1 && strcmp(argv[1], "full") == 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_waits_a_quantum_of_each_other_flow_at_most),
        cmocka_unit_test(the_window_finds_what_a_receiver_takes),
        cmocka_unit_test(the_window_follows_a_bad_time_and_recovers),
        cmocka_unit_test(the_window_halves_once_for_what_was_out_together),
        cmocka_unit_test(a_provider_gets_what_it_takes_and_more_when_it_takes_more),
        cmocka_unit_test(a_domain_waits_two_jobs_of_each_other_of_its_provider_at_most),
        cmocka_unit_test(dead_domains_of_a_provider_leave_room_for_the_others),
        cmocka_unit_test(a_site_dies_once_and_comes_back),
        cmocka_unit_test(sites_that_die_together_are_not_probed_together),
        cmocka_unit_test(a_restart_makes_no_stampede),
        cmocka_unit_test(sites_that_hang_leave_room_for_others),
        cmocka_unit_test(a_storm_of_4xx_does_not_come_back_as_one),
        cmocka_unit_test(higher_classes_go_first_and_starve_none),
        cmocka_unit_test(a_rate_is_kept_and_used),
        cmocka_unit_test(retry_times_double_within_a_tenth_and_are_spread),
        cmocka_unit_test(a_decision_costs_the_same_however_many_are_queued),
        cmocka_unit_test(a_decision_costs_the_same_however_many_flows_there_are),
        cmocka_unit_test(a_waiting_job_is_small),
        cmocka_unit_test(random_operations_lose_no_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
