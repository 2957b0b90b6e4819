/* schedule and wheel: fairness, windows, dead sites, retry times, and a wheel that is never early or late. */
#include "qmgr/schedule.h"
#include "tests/unit/alloc_fail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define START 1800000000u

static struct span name_of(const char *text)
{
    return span_of(text);
}

static struct job *job_new(uint32_t cost)
{
    struct job *job = calloc(1, sizeof *job);
    assert_non_null(job);
    job->cost = cost;
    return job;
}

/* One message waits at most a quantum and one job's cost of each other flow, also behind a flood of 100,000. */
static void one_message_is_not_held_up_by_a_flood(void **state)
{
    (void)state;
    enum { FLOOD = 100000, FLOWS = 7, COST = 3 };
    struct schedule *s = schedule_new(START, 1);
    struct job *flood = calloc((size_t)FLOOD, sizeof *flood), single = {.cost = COST};
    assert_non_null(flood);
    for (size_t i = 0; i < FLOOD; i++) {
        char flow[8] = {'f', (char)('0' + i % FLOWS)};
        flood[i].cost = COST;
        schedule_add(s, &flood[i], schedule_site(s, name_of("site"), 1), name_of(flow), START);
    }
    for (int i = 0; i < 1000; i++)
        schedule_done(s, schedule_next(s, START), JOB_SUCCESS, START);
    schedule_add(s, &single, schedule_site(s, name_of("site"), 1), name_of("single"), START);
    unsigned before = 0;
    for (struct job *job; (job = schedule_next(s, START)) != &single; before += job->cost)
        schedule_done(s, job, JOB_SUCCESS, START);
    assert_true(before <= FLOWS * (SCHEDULE_QUANTUM + COST));
    assert_true(before >= FLOWS);
    for (size_t i = 0; i < FLOOD; i++)
        schedule_remove(s, &flood[i]);
    schedule_remove(s, &single);
    assert_int_equal(schedule_counts(s).ready, 0);
    free(flood);
    schedule_free(s);
}

static void flows_share_by_recipients_not_by_messages(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 2);
    struct job *jobs[2000];
    for (size_t i = 0; i < 2000; i++) {
        jobs[i] = job_new(i % 2 ? 100 : 1);
        schedule_add(s, jobs[i], schedule_site(s, name_of("site"), 1), name_of(i % 2 ? "large" : "small"), START);
    }
    unsigned sent[2] = {0, 0};
    for (int i = 0; i < 505; i++) {
        struct job *job = schedule_next(s, START);
        sent[job->cost > 1] += job->cost;
        schedule_done(s, job, JOB_RECIPIENT_FAILURE, START);
    }
    assert_in_range(sent[1], sent[0] - 110, sent[0] + 110);
    for (size_t i = 0; i < 2000; i++) {
        schedule_remove(s, jobs[i]);
        free(jobs[i]);
    }
    schedule_free(s);
}

static size_t grant_all(struct schedule *s, struct job **active, uint64_t now)
{
    size_t n = 0;
    for (struct job *job; (job = schedule_next(s, now));)
        active[n++] = job;
    return n;
}

static void window_grows_to_its_most_and_halves(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 3);
    struct job *jobs[600], *active[600];
    for (size_t i = 0; i < 600; i++) {
        jobs[i] = job_new(1);
        schedule_add(s, jobs[i], schedule_site(s, name_of("site"), 20), name_of("f"), START);
    }
    struct site *site = jobs[599]->site;
    assert_int_equal(grant_all(s, active, START), SCHEDULE_WINDOW);
    for (size_t i = 0; i < SCHEDULE_WINDOW; i++)
        schedule_done(s, active[i], JOB_SUCCESS, START);
    size_t n = grant_all(s, active, START);
    assert_in_range(n, SCHEDULE_WINDOW, SCHEDULE_WINDOW + 1); /* about one more a round trip */
    for (int round = 0; round < 25; round++) {
        for (size_t i = 0; i < n; i++)
            schedule_done(s, active[i], JOB_SUCCESS, START);
        n = grant_all(s, active, START);
    }
    assert_int_equal(n, 20);
    schedule_done(s, active[0], JOB_RECIPIENT_FAILURE, START);
    assert_int_equal(schedule_window(site), 20);
    schedule_done(s, active[1], JOB_UNKNOWN, START);
    assert_int_equal(schedule_window(site), 20);
    schedule_done(s, active[2], JOB_SITE_FAILURE, START);
    assert_int_equal(schedule_window(site), 10);
    assert_null(schedule_next(s, START));
    for (size_t i = 0; i < 600; i++) {
        schedule_remove(s, jobs[i]);
        free(jobs[i]);
    }
    schedule_free(s);
}

static void dead_site_has_one_probe_at_growing_delays(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 4);
    schedule_probing(s, 100, 1000);
    struct job *jobs[100];
    for (size_t i = 0; i < 100; i++) {
        jobs[i] = job_new(1);
        schedule_add(s, jobs[i], schedule_site(s, name_of("site"), 20), name_of("f"), START);
    }
    struct site *site = jobs[99]->site;
    while (!schedule_site_dead(site))
        schedule_done(s, schedule_next(s, START), JOB_SITE_FAILURE, START);
    uint64_t now = START, delay = 100;
    for (int probe = 0; probe < 6; probe++, delay = delay * 2 < 1000 ? delay * 2 : 1000) {
        assert_null(schedule_next(s, now + delay * 9 / 10 - 1));
        uint64_t wake = schedule_wake(s, now);
        assert_true(wake > now && wake <= now + delay + delay / 10);
        now += delay + delay / 10;
        struct job *job = schedule_next(s, now);
        assert_non_null(job);
        assert_null(schedule_next(s, now)); /* and no second one */
        assert_null(schedule_next(s, now + 5000));
        now += 5000;
        schedule_done(s, job, JOB_SITE_FAILURE, now);
    }
    schedule_hurry(s, jobs[99], now);
    struct job *job = schedule_next(s, now);
    assert_non_null(job);
    schedule_done(s, job, JOB_UNKNOWN, now); /* no verdict: the next one is the probe */
    job = schedule_next(s, now);
    assert_non_null(job);
    schedule_done(s, job, JOB_SUCCESS, now);
    assert_false(schedule_site_dead(site));
    assert_non_null(schedule_next(s, now));
    assert_non_null(schedule_next(s, now));
    assert_null(schedule_next(s, now)); /* a window of two */
    for (size_t i = 0; i < 100; i++) {
        schedule_remove(s, jobs[i]);
        free(jobs[i]);
    }
    schedule_free(s);
}

/* Somebody is about to start it anew. */
static void a_dead_site_of_this_host_is_probed_each_minute(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 4);
    schedule_probing(s, 300, 14400);
    struct job *job = job_new(1);
    struct site *site = schedule_site(s, name_of("here"), 1);
    schedule_add(s, job, site, name_of("f"), START);
    schedule_site_near(site);
    uint64_t now = START;
    for (int probe = 0; probe < 10; probe++) {
        assert_ptr_equal(schedule_next(s, now), job);
        schedule_done(s, job, JOB_SITE_FAILURE, now);
        assert_true(schedule_site_dead(site));
        schedule_add(s, job, site, name_of("f"), now);
        assert_null(schedule_next(s, now + SCHEDULE_NEAR * 9 / 10 - 1));
        now += SCHEDULE_NEAR + SCHEDULE_NEAR / 10;
    }
    schedule_remove(s, job);
    free(job);
    schedule_free(s);
}

static void a_dead_site_does_not_hold_up_another(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 5);
    struct job dead[3] = {{.cost = 1}, {.cost = 1}, {.cost = 1}}, live = {.cost = 1};
    for (size_t i = 0; i < 3; i++)
        schedule_add(s, &dead[i], schedule_site(s, name_of("dead"), 1), name_of("f"), START);
    schedule_done(s, schedule_next(s, START), JOB_SITE_FAILURE, START);
    schedule_add(s, &live, schedule_site(s, name_of("live"), 1), name_of("f"), START);
    assert_ptr_equal(schedule_next(s, START), &live);
    assert_null(schedule_next(s, START));
    schedule_remove(s, &live);
    for (size_t i = 0; i < 3; i++)
        schedule_remove(s, &dead[i]);
    schedule_free(s);
}

static void waiting_jobs_become_ready_when_due_and_sites_are_forgotten(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 6);
    struct job job = {.cost = 1};
    schedule_add_later(s, &job, schedule_site(s, name_of("site"), 1), name_of("f"), START + 4000, START);
    assert_int_equal(schedule_counts(s).waiting, 1);
    assert_null(schedule_next(s, START + 3999));
    assert_ptr_equal(schedule_next(s, START + 4000), &job);
    schedule_done(s, &job, JOB_SUCCESS, START + 4000);
    assert_int_equal(job.state, JOB_NEW);
    assert_int_equal(schedule_counts(s).sites, 1);
    assert_null(schedule_next(s, START + 4000 + 601));
    assert_int_equal(schedule_counts(s).sites, 0);
    assert_int_equal(schedule_wake(s, START + 5000), 0);
    schedule_free(s);
}

static void remove_one(struct job *job, void *arg)
{
    struct schedule *s = arg;
    if (job->cost == 1)
        schedule_remove(s, job);
}

static void ready_jobs_of_a_site_can_be_walked_and_removed(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 6);
    struct job jobs[60] = {{.cost = 0}};
    const char *flows[3] = {"a", "b", "c"};
    for (size_t i = 0; i < 60; i++) {
        jobs[i].cost = i % 2 && i % 3 ? 2 : 1;
        schedule_add(s, &jobs[i], schedule_site(s, name_of("site"), 20), name_of(flows[i % 3]), START);
    }
    schedule_each_ready(s, jobs[0].site, remove_one, s);
    assert_int_equal(schedule_counts(s).ready, 20);
    for (size_t i = 0; i < 60; i++) {
        assert_int_equal(jobs[i].state, jobs[i].cost == 1 ? JOB_NEW : JOB_READY);
        schedule_remove(s, &jobs[i]);
    }
    schedule_free(s);
}

static void retry_times_double_within_their_jitter(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 7);
    uint64_t delay = 300, least = UINT64_MAX, most = 0;
    for (uint32_t attempts = 1; attempts < 12; attempts++, delay = delay * 2 < 14400 ? delay * 2 : 14400) {
        for (int i = 0; i < 1000; i++) {
            uint64_t due = schedule_retry(s, START, attempts, 300, 14400, UINT64_MAX);
            assert_in_range(due, START + delay * 9 / 10, START + delay * 11 / 10);
            if (attempts == 1) {
                least = due < least ? due : least;
                most = due > most ? due : most;
            }
        }
    }
    assert_true(most - least > 40); /* it is spread */
    assert_int_equal(schedule_retry(s, START, 3, 300, 14400, START + 60), START + 60);
    assert_int_equal(schedule_retry(s, START, 3, 300, 14400, START - 60), START + 1);
    assert_int_equal(schedule_retry(s, START, UINT32_MAX, 1, 2, UINT64_MAX), START + 2);
    schedule_free(s);
}

/* Hold takes a job out of everything, release puts it back where it was. */
/* In each state, alone in its lists and in the middle of them. */
static void a_job_can_take_anothers_place(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 8);
    struct site *site = schedule_site(s, name_of("site"), 50);
    struct job jobs[4] = {{.cost = 1}, {.cost = 2}, {.cost = 3}, {.cost = 4}},
               others[4] = {{.kind = 7}, {.kind = 7}, {.kind = 7}, {.kind = 7}};
    for (int alone = 1; alone >= 0; alone--) {
        uint64_t now = START + 1000 * (uint64_t)(1 - alone);
        for (int i = 0; i < (alone ? 1 : 4); i++) {
            schedule_add_later(s, &jobs[i], site, name_of("f"), now + 10, now);
            jobs[i].kind = 3;
        }
        schedule_replace(s, &jobs[0], &others[0]); /* WAITING */
        assert_int_equal(jobs[0].state, JOB_NEW);
        assert_int_equal(jobs[0].kind, 3);
        assert_int_equal(others[0].kind, 7);
        assert_int_equal(others[0].cost, 1);
        assert_int_equal(schedule_flush(s, site, now), alone ? 1 : 4);
        assert_true(schedule_hold(s, &others[0]));
        jobs[0] = (struct job){0};
        schedule_replace(s, &others[0], &jobs[0]); /* HELD */
        assert_true(schedule_release(s, &jobs[0], now));
        for (int i = 0; i < (alone ? 1 : 4); i++)
            schedule_hurry(s, &jobs[i], now);
        others[0] = (struct job){.kind = 7};
        schedule_replace(s, &jobs[0], &others[0]); /* READY */
        jobs[0] = (struct job){0};
        for (int i = 0; i < (alone ? 1 : 4); i++) {
            struct job *next = schedule_next(s, now);
            assert_ptr_equal(next, i == 0 ? &others[0] : &jobs[i]);
        }
        assert_null(schedule_next(s, now));
        schedule_replace(s, &others[0], &jobs[0]); /* ACTIVE */
        schedule_done_later(s, &jobs[0], JOB_UNKNOWN, now + 60, now);
        assert_int_equal(schedule_counts(s).active, alone ? 0 : 3);
        assert_int_equal(jobs[0].state, JOB_WAITING);
        assert_null(schedule_next(s, now + 59));
        assert_ptr_equal(schedule_next(s, now + 60), &jobs[0]);
        for (int i = 0; i < (alone ? 1 : 4); i++)
            schedule_done(s, &jobs[i], JOB_SUCCESS, now + 60);
        others[0] = (struct job){.kind = 7};
        jobs[0].cost = 1;
    }
    struct schedule_counts counts = schedule_counts(s);
    assert_int_equal(counts.ready + counts.waiting + counts.held + counts.active, 0);
    assert_int_equal(schedule_view(site).jobs, 0);
    schedule_free(s);
}

static void a_held_job_goes_nowhere_until_it_is_released(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 8);
    struct job ready = {.cost = 1}, waiting = {.cost = 1}, due = {.cost = 1}, active = {.cost = 1};
    struct site *site = schedule_site(s, name_of("site"), 5);
    schedule_add(s, &active, site, name_of("f"), START);
    assert_ptr_equal(schedule_next(s, START), &active);
    assert_false(schedule_hold(s, &active));
    schedule_add(s, &ready, site, name_of("f"), START);
    schedule_add_later(s, &waiting, site, name_of("f"), START + 5000, START);
    schedule_add_later(s, &due, site, name_of("f"), START + 100, START);
    assert_true(schedule_hold(s, &ready) && schedule_hold(s, &waiting) && schedule_hold(s, &due));
    assert_false(schedule_hold(s, &ready));
    assert_int_equal(schedule_counts(s).held, 3);
    assert_int_equal(schedule_counts(s).ready + schedule_counts(s).waiting, 0);
    assert_null(schedule_next(s, START + 1000));
    schedule_hurry(s, &due, START + 1000);
    assert_int_equal(schedule_flush(s, site, START + 1000), 0);
    assert_null(schedule_next(s, START + 1000));
    schedule_done(s, &active, JOB_SUCCESS, START + 1000);
    assert_null(schedule_next(s, START + 2000));
    assert_int_equal(schedule_counts(s).sites, 1); /* a held job keeps its site */
    assert_true(schedule_release(s, &ready, START + 2000) && schedule_release(s, &waiting, START + 2000) &&
                schedule_release(s, &due, START + 2000));
    assert_false(schedule_release(s, &ready, START + 2000));
    assert_ptr_equal(schedule_next(s, START + 2000), &ready);
    assert_ptr_equal(schedule_next(s, START + 2000), &due);
    assert_null(schedule_next(s, START + 4999));
    assert_ptr_equal(schedule_next(s, START + 5000), &waiting);
    schedule_remove(s, &ready);
    schedule_remove(s, &due);
    schedule_hold(s, &waiting);
    schedule_remove(s, &waiting);
    schedule_free(s);
}

static void a_flush_makes_one_sites_jobs_due(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 9);
    struct job here[100] = {{.cost = 0}}, there = {.cost = 1}, *active[100];
    for (size_t i = 0; i < 100; i++) {
        here[i].cost = 1;
        schedule_add_later(s, &here[i], schedule_site(s, name_of("here"), 200), name_of("f"), START + 1 + i * 100, START);
    }
    schedule_add_later(s, &there, schedule_site(s, name_of("there"), 200), name_of("f"), START + 100, START);
    assert_null(schedule_find_site(s, name_of("elsewhere")));
    assert_ptr_equal(schedule_find_site(s, name_of("here")), here[0].site);
    assert_int_equal(schedule_flush(s, here[0].site, START), 100);
    assert_int_equal(grant_all(s, active, START), SCHEDULE_WINDOW);
    assert_int_equal(schedule_counts(s).ready, 100 - SCHEDULE_WINDOW);
    assert_int_equal(there.state, JOB_WAITING);
    for (size_t i = 0; i < SCHEDULE_WINDOW; i++)
        schedule_done(s, active[i], JOB_SITE_FAILURE, START);
    while (!schedule_site_dead(here[99].site))
        schedule_done(s, schedule_next(s, START), JOB_SITE_FAILURE, START);
    assert_null(schedule_next(s, START));
    assert_true(schedule_view(here[99].site).probe > START);
    schedule_flush(s, here[99].site, START); /* a dead site gets a probe */
    assert_int_equal(grant_all(s, active, START), 1);
    for (size_t i = 0; i < 100; i++)
        schedule_remove(s, &here[i]);
    schedule_remove(s, &there);
    schedule_free(s);
}

/* What was due while nobody looked comes by and by, new mail at once. */
static void overdue_jobs_do_not_all_become_ready_at_once(void **state)
{
    (void)state;
    enum { N = 3 * SCHEDULE_DUE_A_SECOND + 1 };
    struct schedule *s = schedule_new(START, 10);
    struct job *jobs = calloc((size_t)N, sizeof *jobs), fresh = {.cost = 1};
    assert_non_null(jobs);
    for (size_t i = 0; i < N; i++) {
        jobs[i].cost = 1;
        schedule_add_later(s, &jobs[i], schedule_site(s, name_of("site"), 1), name_of("f"), START - 1 - i, START);
    }
    for (uint64_t second = 0; second < 4; second++) {
        struct job *job = schedule_next(s, START + second);
        assert_non_null(job);
        assert_int_equal(schedule_counts(s).waiting, second < 3 ? N - (second + 1) * SCHEDULE_DUE_A_SECOND : 0);
        if (second == 0) {
            schedule_add(s, &fresh, schedule_site(s, name_of("other"), 1), name_of("f"), START);
            assert_ptr_equal(schedule_next(s, START), &fresh);
        }
        assert_null(schedule_next(s, START + second));
        assert_int_equal(schedule_wake(s, START + second), second < 3 ? START + second + 1 : 0);
        schedule_done(s, job, JOB_SUCCESS, START + second);
    }
    for (size_t i = 0; i < N; i++)
        schedule_remove(s, &jobs[i]);
    schedule_remove(s, &fresh);
    schedule_free(s);
    free(jobs);
}

static void no_more_are_active_than_may_be(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 11);
    struct job jobs[50] = {{.cost = 0}}, *active[50];
    schedule_active_most(s, 7);
    for (size_t i = 0; i < 50; i++) {
        char name[2] = {(char)('a' + i % 10)};
        jobs[i].cost = 1;
        schedule_add(s, &jobs[i], schedule_site(s, name_of(name), 5), name_of("f"), START);
    }
    assert_int_equal(grant_all(s, active, START), 7);
    assert_int_equal(schedule_wake(s, START), 0); /* something must come back first */
    schedule_done(s, active[3], JOB_SUCCESS, START);
    assert_int_equal(schedule_wake(s, START), START);
    assert_non_null(schedule_next(s, START));
    assert_null(schedule_next(s, START));
    for (size_t i = 0; i < 50; i++)
        schedule_remove(s, &jobs[i]);
    schedule_free(s);
}

/* With little room left, sites with something in flight and those without take turns; near the end of it only the latter go on. */
static void sites_with_nothing_in_flight_do_not_starve_the_others(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 13);
    struct job large[10] = {{.cost = 0}}, small[50] = {{.cost = 0}};
    schedule_active_most(s, 4);
    for (size_t i = 0; i < 60; i++) {
        char name[2] = {(char)(i < 10 ? 'A' : 'a' + i - 10)};
        struct job *job = i < 10 ? &large[i] : &small[i - 10];
        job->cost = 1;
        schedule_add(s, job, schedule_site(s, name_of(name), 5), name_of("f"), START);
    }
    assert_ptr_equal(schedule_next(s, START), &large[0]);
    assert_ptr_equal(schedule_next(s, START), &large[1]);
    assert_ptr_equal(schedule_next(s, START), &small[0]);
    assert_ptr_equal(schedule_next(s, START), &small[1]);
    assert_null(schedule_next(s, START));
    for (size_t i = 0; i < 60; i++)
        schedule_remove(s, i < 10 ? &large[i] : &small[i - 10]);
    schedule_free(s);
}

/* A window that nobody fills does not grow, whatever succeeds in it. */
static void a_window_does_not_grow_unused(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 12);
    struct job job = {.cost = 1}, keep = {.cost = 1};
    struct site *site = schedule_site(s, name_of("site"), 20);
    schedule_add_later(s, &keep, site, name_of("f"), START + 100000, START);
    for (int i = 0; i < 1000; i++) {
        schedule_add(s, &job, site, name_of("f"), START);
        assert_ptr_equal(schedule_next(s, START), &job);
        schedule_done(s, &job, JOB_SUCCESS, START);
    }
    assert_int_equal(schedule_window(site), SCHEDULE_WINDOW);
    schedule_remove(s, &keep);
    schedule_free(s);
}

/* Random operations against a list of times: whatever is due comes, at its time. */
static void wheel_agrees_with_a_naive_model(void **state)
{
    (void)state;
    enum { ITEMS = 3000 };
    static struct wheel w;
    static struct wheel_item items[ITEMS];
    static bool in[ITEMS];
    uint64_t now = START;
    srandom(1);
    wheel_init(&w, now);
    for (int round = 0; round < 20000; round++) {
        for (int k = 0; k < 3; k++) {
            size_t i = (size_t)random() % ITEMS;
            if (in[i])
                wheel_remove(&w, &items[i]);
            else
                wheel_add(&w, &items[i], now + (uint64_t)random() % ((uint64_t)1 << (random() % 24)));
            in[i] = !in[i];
        }
        uint64_t soonest = UINT64_MAX;
        for (size_t i = 0; i < ITEMS; i++)
            if (in[i] && items[i].due < soonest)
                soonest = items[i].due;
        uint64_t next = wheel_next(&w);
        assert_true(next == 0 ? soonest == UINT64_MAX : next <= (soonest > now ? soonest : now));
        now += (uint64_t)random() % ((uint64_t)1 << (random() % 14));
        for (struct wheel_item *item; (item = wheel_expired(&w, now));) {
            assert_true(item->due <= now);
            in[item - items] = false;
        }
        size_t left = 0;
        for (size_t i = 0; i < ITEMS; i++) {
            assert_false(in[i] && items[i].due <= now);
            left += in[i];
        }
        assert_int_equal(w.count, left);
    }
}

/* ---- without memory ---------------------------------------------------------------------------------------------- */

/* Sites, flows, windows, probes, retries. */
static void schedule_a_day(void)
{
    static struct job jobs[60];
    struct schedule *s = schedule_new(START, 1);
    uint64_t now = START;
    unsigned done = 0;
    memset(jobs, 0, sizeof jobs);
    for (size_t i = 0; i < 60; i++) {
        char site[8] = {'s', (char)('a' + i % 9)}, flow[8] = {'f', (char)('a' + i % 5)};
        jobs[i].cost = 1;
        schedule_add(s, &jobs[i], schedule_site(s, name_of(site), 2), name_of(flow), START + i % 3 * 50);
    }
    for (; now < START + 86400 && done < 60; now += 10) {
        for (struct job *job; (job = schedule_next(s, now));) {
            bool fails = (size_t)(job - jobs) % 9 == 4 && now < START + 7200; /* its site is dead for two hours */
            schedule_done(s, job, fails ? JOB_SITE_FAILURE : JOB_SUCCESS, now);
            schedule_remove(s, job);
            done += !fails;
            if (fails)
                schedule_add(s, job, schedule_site(s, name_of("se"), 2), name_of("fa"), now + 300);
        }
    }
    child_must(done == 60);
    schedule_free(s);
}

/* It ends the process in good order, or does without. */
static void each_allocation_of_the_scheduler_fails_once(void **state)
{
    (void)state;
    unsigned ended = 0;
    assert_int_equal(alloc_fail_child(0, schedule_a_day), CHILD_DONE);
    unsigned all = alloc_count();
    assert_true(all > 20);
    for (unsigned at = 1; at <= all; at++) {
        enum child_end end = alloc_fail_child(at, schedule_a_day);
        assert_true(end == CHILD_DONE || end == CHILD_DIED);
        ended += end == CHILD_DIED;
    }
    print_message("    %u allocations, each failed once: %u times it ended in good order\n", all, ended);
    assert_true(ended > 0);
}

static void assert_trouble(struct schedule *s, const char *site, const char *words, uint64_t since, uint64_t at)
{
    struct schedule_trouble t = schedule_view(schedule_find_site(s, name_of(site))).trouble;
    assert_true(span_equal(t.words, span_of(words)));
    assert_int_equal(t.since, since);
    assert_int_equal(t.at, at);
}

static void trouble_is_told_from_the_first_in_a_row_until_the_site_is_well(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 1);
    struct site *site = schedule_site(s, name_of("site"), 1);
    char longer[2000];
    memset(longer, 'x', sizeof longer);
    assert_trouble(s, "site", "", 0, 0);
    schedule_site_trouble(s, site, name_of("535 no"), START);
    schedule_site_trouble(s, site, name_of("login refused just now"), START + 60);
    assert_trouble(s, "site", "login refused just now", START, START + 60);
    schedule_site_well(s, site);
    assert_trouble(s, "site", "", 0, 0);
    schedule_site_well(s, site);
    schedule_site_trouble(s, site, span_make(longer, sizeof longer), START + 100);
    assert_int_equal(schedule_view(site).trouble.words.n, 400);
    assert_int_equal(schedule_view(site).trouble.since, START + 100);
    assert_null(schedule_next(s, START + 1000)); /* forgotten, with its words */
    assert_int_equal(schedule_counts(s).sites, 0);
    schedule_site_trouble(s, schedule_site(s, name_of("another"), 1), name_of("no"), START + 1000);
    schedule_free(s);
}

static void the_sites_that_failed_last_have_words(void **state)
{
    (void)state;
    enum { MORE = 10 };
    struct schedule *s = schedule_new(START, 1);
    for (unsigned i = 0; i < SCHEDULE_TROUBLES_MOST + MORE; i++) {
        char name[16];
        int n = snprintf(name, sizeof name, "%u", i);
        schedule_site_trouble(s, schedule_site(s, span_make(name, (size_t)n), 1), name_of("dead"), START + i);
        if (i == MORE + 5)
            schedule_site_trouble(s, schedule_find_site(s, name_of("0")), name_of("again"), START + i);
    }
    assert_trouble(s, "0", "again", START, START + MORE + 5);
    assert_trouble(s, "10", "", 0, 0);
    assert_trouble(s, "11", "dead", START + 11, START + 11);
    schedule_site_well(s, schedule_find_site(s, name_of("10009")));
    schedule_site_trouble(s, schedule_find_site(s, name_of("10")), name_of("dead"), START + 20000);
    assert_trouble(s, "11", "dead", START + 11, START + 11); /* there was room */
    schedule_free(s);
}

/* Fifty a day, evenly; and what is not full is not forgotten, or a site that gets a message now and then would get more. */
static void so_many_a_day_go_evenly(void **state)
{
    (void)state;
    enum { A_DAY = 50, DAY = 86400 };
    struct schedule *s = schedule_new(START, 1);
    unsigned gone = 0;
    uint64_t last = 0, least = UINT64_MAX;
    for (uint64_t now = START; now < START + DAY; now += 30) {
        assert_null(schedule_next(s, now)); /* time passes: sites are forgotten */
        if (schedule_site_would_go(s, name_of("site"))) {
            struct job *job = job_new(1);
            struct site *site = schedule_site(s, name_of("site"), 20);
            schedule_site_pace(s, site, A_DAY, DAY);
            schedule_add(s, job, site, name_of("flow"), now);
            assert_false(schedule_site_would_go(s, name_of("site")));
            assert_ptr_equal(schedule_next(s, now), job);
            schedule_done(s, job, JOB_SUCCESS, now);
            free(job);
            if (last && now - last < least)
                least = now - last;
            last = now;
            gone++;
        }
    }
    assert_in_range(gone, A_DAY - 1, A_DAY + 1);
    assert_in_range(least, DAY / A_DAY - 30, DAY / A_DAY + 30);
    assert_int_equal(schedule_counts(s).sites, 1);
    assert_null(schedule_next(s, START + 2 * DAY));
    assert_int_equal(schedule_counts(s).sites, 0);
    schedule_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_message_is_not_held_up_by_a_flood),
        cmocka_unit_test(so_many_a_day_go_evenly),
        cmocka_unit_test(flows_share_by_recipients_not_by_messages),
        cmocka_unit_test(window_grows_to_its_most_and_halves),
        cmocka_unit_test(dead_site_has_one_probe_at_growing_delays),
        cmocka_unit_test(a_dead_site_of_this_host_is_probed_each_minute),
        cmocka_unit_test(a_dead_site_does_not_hold_up_another),
        cmocka_unit_test(waiting_jobs_become_ready_when_due_and_sites_are_forgotten),
        cmocka_unit_test(ready_jobs_of_a_site_can_be_walked_and_removed),
        cmocka_unit_test(retry_times_double_within_their_jitter),
        cmocka_unit_test(a_job_can_take_anothers_place),
        cmocka_unit_test(a_held_job_goes_nowhere_until_it_is_released),
        cmocka_unit_test(a_flush_makes_one_sites_jobs_due),
        cmocka_unit_test(overdue_jobs_do_not_all_become_ready_at_once),
        cmocka_unit_test(no_more_are_active_than_may_be),
        cmocka_unit_test(sites_with_nothing_in_flight_do_not_starve_the_others),
        cmocka_unit_test(a_window_does_not_grow_unused),
        cmocka_unit_test(trouble_is_told_from_the_first_in_a_row_until_the_site_is_well),
        cmocka_unit_test(the_sites_that_failed_last_have_words),
        cmocka_unit_test(wheel_agrees_with_a_naive_model),
        cmocka_unit_test(each_allocation_of_the_scheduler_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
