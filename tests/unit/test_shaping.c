/* Brakes, and what sites share: the scheduler's part of shaping. */
#include "qmgr/brake.h"
#include "qmgr/memory.h"
#include "qmgr/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define START 1800000000u

/* ---- a brake by itself ------------------------------------------------------------------------------------------- */

static bool put_taken(struct brake *b, uint64_t now, uint64_t granted, uint32_t taken, bool pause)
{
    return brake_put(b, &(struct brake_pull){.granted = granted, .step = 100, .taken = taken, .sessions = 20, .pause = pause}, now);
}

static bool put(struct brake *b, uint64_t now, uint64_t granted, bool pause)
{
    return put_taken(b, now, granted, 640, pause);
}

static void a_brake_cuts_to_a_quarter_and_halves_again(void **state)
{
    (void)state;
    struct brake b = {0};
    const unsigned rates[] = {160, 80, 40, 20, 10, 10, 5, 5}, sessions[] = {5, 2, 1, 1, 1, 1, 1, 1};
    assert_true(brake_may(&b, 1000, START));
    for (unsigned i = 0; i < 8; i++) {
        assert_true(put(&b, START + 10 * i, START + 10 * i, false) || i == 0);
        if (b.pace.a_minute != rates[i] || b.sessions != sessions[i])
            fail_msg("%u: %u a minute, %u sessions", i, b.pace.a_minute, b.sessions);
        assert_true(brake_may(&b, sessions[i] - 1, START + 10 * i + 100));
        assert_false(brake_may(&b, sessions[i], START + 10 * i + 100));
    }
}

static void what_is_taken_now_counts_more_than_what_was(void **state)
{
    (void)state;
    struct brake b = {0};
    put(&b, START, START - 1, false);
    put_taken(&b, START + 10, START + 5, 60, false);
    assert_int_equal(b.pace.a_minute, 30);
    put_taken(&b, START + 20, START + 15, 0, false);
    assert_int_equal(b.pace.a_minute, 10); /* 1/64 */
}

static void of_little_there_is_something_left(void **state)
{
    (void)state;
    struct brake b = {0};
    put_taken(&b, START, START - 1, 0, false);
    assert_int_equal(b.pace.a_minute, BRAKE_LEAST / 4);
    for (unsigned i = 1; i < 20; i++)
        put_taken(&b, START + 10 * i, START + 10 * i - 5, 0, false);
    assert_int_equal(b.pace.a_minute, 1);
    assert_true(brake_may(&b, 0, START + 300));
}

static void what_went_out_before_says_nothing_new(void **state)
{
    (void)state;
    struct brake b = {0};
    assert_true(put(&b, START, START - 5, false));
    assert_false(put(&b, START + 50, START, false));
    assert_false(put(&b, START + 50, START - 1, true));
    assert_int_equal(b.pace.a_minute, 160);
    assert_true(put(&b, START + 50, START + 1, false));
    assert_int_equal(b.pace.a_minute, 80);
    assert_int_equal(b.until, START + 150);
}

/* In a tenth of a step; and recovery begins behind the last of them. */
static void words_that_come_together_are_one(void **state)
{
    (void)state;
    struct brake b = {0};
    assert_true(put(&b, START, START - 5, false));
    for (unsigned i = 1; i < 10; i++)
        assert_false(put(&b, START + i, START + i, false));
    assert_int_equal(b.pace.a_minute, 160);
    assert_int_equal(b.until, START + 109);
    assert_true(put(&b, START + 10, START + 10, false));
}

static void it_recovers_step_by_step_until_it_holds_nothing_back(void **state)
{
    (void)state;
    struct brake b = {0};
    put(&b, START, START - 1, false);
    assert_int_equal(brake_time(&b, 160, START + 99), BRAKE_NOTHING);
    assert_int_equal(brake_time(&b, 0, START + 100), BRAKE_EASED); /* not yet what was taken before */
    assert_true(b.pace.a_minute == 320 && b.sessions == 10);
    assert_int_equal(brake_time(&b, 0, START + 100), BRAKE_NOTHING);
    assert_int_equal(brake_time(&b, 320, START + 200), BRAKE_EASED);
    assert_int_equal(brake_time(&b, 640, START + 300), BRAKE_EASED);
    assert_int_equal(brake_time(&b, 1000, START + 400), BRAKE_EASED);
    assert_int_equal(b.pace.a_minute, 2560);
    assert_int_equal(brake_time(&b, 1280, START + 500), BRAKE_RELEASED);
    assert_true(brake_may(&b, 1000, START + 500));
    assert_int_equal(brake_time(&b, 0, START + 1000), BRAKE_NOTHING);
    put(&b, START + 2000, START + 1999, false);
    for (uint64_t t = START + 2000; b.on; t += 100) /* nobody wants more than it gets: there is an end */
        assert_true(brake_time(&b, PACE_MOST, t) != BRAKE_NOTHING || t == START + 2000);
}

static void a_pause_lets_nothing_through_and_then_little(void **state)
{
    (void)state;
    struct brake b = {0};
    put(&b, START, START - 1, true);
    assert_false(brake_may(&b, 0, START + 99));
    assert_int_equal(brake_when(&b, START + 5), START + 100);
    assert_int_equal(brake_time(&b, 0, START + 100), BRAKE_RESUMED);
    assert_true(brake_may(&b, 0, START + 100));
    assert_int_equal(b.pace.a_minute, 160);
    assert_int_equal(brake_time(&b, 0, START + 100), BRAKE_NOTHING);
    assert_int_equal(brake_time(&b, 0, START + 200), BRAKE_EASED);
}

static void the_meter_knows_the_last_minute(void **state)
{
    (void)state;
    struct meter m = {0};
    uint64_t at = START; /* a full minute */
    assert_int_equal(START % 60, 0);
    for (unsigned i = 0; i < 600; i++)
        meter_count(&m, at + i / 10);
    assert_int_equal(meter_a_minute(&m, at + 59), 600);
    assert_int_equal(meter_a_minute(&m, at + 60), 600);
    assert_int_equal(meter_a_minute(&m, at + 90), 300);
    assert_int_equal(meter_a_minute(&m, at + 119), 10);
    assert_int_equal(meter_a_minute(&m, at + 120), 0);
    assert_int_equal(meter_a_minute(&m, at + 100000), 0);
}

/* ---- sites that share -------------------------------------------------------------------------------------------- */

struct world {
    struct schedule *s;
    struct site *sites[5];
    struct job jobs[5][40];
};

static struct span name_of(size_t i)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    return span_of(names[i]);
}

/* Sites a, b, c share 3 jobs at a time; d and e share nothing. All of them have answered, long ago. */
static void world_make(struct world *w, unsigned jobs, unsigned a_minute)
{
    memset(w, 0, sizeof *w);
    w->s = schedule_new(START - 300, 7);
    for (size_t i = 0; i < 5; i++) {
        w->sites[i] = schedule_site(w->s, name_of(i), 10);
        if (i < 3)
            schedule_site_share(w->s, w->sites[i], SPAN_LITERAL("share"), 3, a_minute);
        schedule_add(w->s, &w->jobs[i][0], w->sites[i], SPAN_LITERAL("flow"), START - 300 + i);
        schedule_done(w->s, schedule_next(w->s, START - 300 + i), JOB_RECIPIENT_FAILURE, START - 300 + i);
    }
    for (size_t i = 0; i < 5; i++) {
        for (size_t k = 0; k < jobs; k++) {
            w->jobs[i][k].cost = 1;
            schedule_add(w->s, &w->jobs[i][k], w->sites[i], SPAN_LITERAL("flow"), START);
        }
    }
}

static void world_free(struct world *w)
{
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < 40; k++)
            schedule_remove(w->s, &w->jobs[i][k]);
    schedule_free(w->s);
}

/* How many are granted at once, by site; `end`: they come back as that, too. */
struct granted {
    unsigned of[5], shared;
};

static struct granted grant(struct world *w, uint64_t now, struct job **last)
{
    struct granted g = {0};
    for (struct job *job; (job = schedule_next(w->s, now)); *last = job) {
        size_t i = (size_t)(schedule_site_name(job->site).p[0] - 'a');
        g.of[i]++;
        g.shared += i < 3;
    }
    return g;
}

static void end_all(struct world *w, enum job_end end, uint64_t now)
{
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < 40; k++)
            if (w->jobs[i][k].state == JOB_ACTIVE)
                schedule_done(w->s, &w->jobs[i][k], end, now);
}

static void sites_that_share_have_their_sessions_together_and_take_turns(void **state)
{
    (void)state;
    struct world w;
    struct job *last;
    world_make(&w, 10, 0);
    for (int round = 0; round < 10; round++) {
        struct granted g = grant(&w, START, &last);
        assert_int_equal(g.shared, 3);
        assert_true(g.of[0] == 1 && g.of[1] == 1 && g.of[2] == 1);
        end_all(&w, JOB_SUCCESS, START);
    }
    assert_int_equal(schedule_counts(w.s).ready, 0); /* all of d and e, too */
    world_free(&w);
}

static void one_that_comes_back_makes_room_for_the_next_in_turn(void **state)
{
    (void)state;
    struct world w;
    struct job *last;
    world_make(&w, 10, 0);
    grant(&w, START, &last);
    for (int i = 0; i < 9; i++) {
        for (size_t k = 0; k < 10; k++)
            if (w.jobs[i % 3][k].state == JOB_ACTIVE)
                schedule_done(w.s, &w.jobs[i % 3][k], JOB_SUCCESS, START);
        struct granted g = grant(&w, START, &last);
        assert_true(g.shared == 1 && g.of[i % 3] == 1);
    }
    end_all(&w, JOB_UNKNOWN, START);
    world_free(&w);
}

static void the_rate_is_for_all_of_them_together(void **state)
{
    (void)state;
    struct world w;
    struct job *last;
    unsigned first = 0, sent[5] = {0};
    world_make(&w, 40, 60);
    for (uint64_t t = START; t < START + 60; t++) {
        struct granted g = grant(&w, t, &last);
        for (size_t i = 0; i < 5; i++)
            sent[i] += g.of[i];
        first += g.shared;
        end_all(&w, JOB_SUCCESS, t);
        uint64_t wake = schedule_wake(w.s, t);
        if (sent[3] + sent[4] == 80 && (wake <= t || wake > t + 1))
            fail_msg("%d seconds to the next one", (int)(wake - t));
    }
    assert_in_range(first, 60, 61);
    assert_true(sent[0] >= 20 && sent[1] >= 20 && sent[2] >= 20);
    assert_true(sent[3] == 40 && sent[4] == 40);
    world_free(&w);
}

static void a_dead_site_is_dead_alone_and_takes_no_room(void **state)
{
    (void)state;
    struct world w;
    struct job *last;
    world_make(&w, 40, 0);
    schedule_probing(w.s, 60, 60);
    for (uint64_t t = START; !schedule_site_dead(w.sites[0]); t++) {
        grant(&w, t, &last);
        for (size_t i = 0; i < 5; i++)
            for (size_t k = 0; k < 40; k++)
                if (w.jobs[i][k].state == JOB_ACTIVE)
                    schedule_done(w.s, &w.jobs[i][k], i == 0 ? JOB_SITE_FAILURE : JOB_SUCCESS, t);
        assert_true(t < START + 10);
    }
    assert_false(schedule_site_dead(w.sites[1]) || schedule_site_dead(w.sites[2]));
    struct granted g = grant(&w, START + 200, &last); /* its probe is due: beside the three of the others */
    assert_true(g.of[0] == 1 && g.of[1] + g.of[2] == 3);
    end_all(&w, JOB_SUCCESS, START + 200);
    assert_false(schedule_site_dead(w.sites[0]));
    g = grant(&w, START + 200, &last);
    assert_int_equal(g.shared, 3);
    end_all(&w, JOB_SUCCESS, START + 200);
    world_free(&w);
}

/* Half of the sessions, rounded up, until they have said something: they may hang. */
static void sites_that_never_answered_leave_room_for_others(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 5);
    struct job jobs[3][4] = {0};
    struct site *sites[3];
    for (size_t i = 0; i < 3; i++) {
        sites[i] = schedule_site(s, name_of(i), 10);
        schedule_site_share(s, sites[i], SPAN_LITERAL("share"), 5, 0);
    }
    for (size_t k = 0; k < 4; k++)
        schedule_add(s, &jobs[0][k], sites[0], SPAN_LITERAL("flow"), START);
    for (size_t k = 0; k < 3; k++)
        assert_ptr_equal(schedule_next(s, START), &jobs[0][k]);
    assert_null(schedule_next(s, START));
    assert_true(schedule_wake(s, START) > START + 100);
    schedule_add(s, &jobs[1][0], sites[1], SPAN_LITERAL("flow"), START);
    assert_null(schedule_next(s, START)); /* it is new as well */
    schedule_done(s, &jobs[0][0], JOB_UNKNOWN, START);
    assert_ptr_equal(schedule_next(s, START), &jobs[0][3]);
    assert_null(schedule_next(s, START));
    schedule_done(s, &jobs[0][1], JOB_UNKNOWN, START);
    assert_ptr_equal(schedule_next(s, START), &jobs[1][0]);
    schedule_done(s, &jobs[1][0], JOB_RECIPIENT_FAILURE, START); /* it has answered, and may have what is left */
    for (size_t k = 0; k < 4; k++)
        schedule_add(s, &jobs[1][k], sites[1], SPAN_LITERAL("flow"), START);
    for (size_t k = 0; k < 3; k++)
        assert_ptr_equal(schedule_next(s, START), &jobs[1][k]);
    assert_null(schedule_next(s, START)); /* five are under way */
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 4; k++)
            schedule_remove(s, &jobs[i][k]);
    schedule_free(s);
}

static void a_reload_moves_a_site_with_what_it_has_under_way(void **state)
{
    (void)state;
    struct world w;
    struct job *last;
    world_make(&w, 10, 0);
    grant(&w, START, &last);
    schedule_site_share(w.s, w.sites[0], (struct span){0}, 0, 0);
    struct granted g = grant(&w, START, &last);
    assert_true(g.of[0] == 4 && g.of[1] + g.of[2] == 1);               /* the window of a new site; and the room that it left */
    schedule_site_share(w.s, w.sites[0], SPAN_LITERAL("share"), 8, 0); /* 5 and 3 are under way */
    g = grant(&w, START, &last);
    assert_int_equal(g.shared, 0);
    schedule_site_share(w.s, w.sites[1], SPAN_LITERAL("share"), 10, 0);
    assert_int_equal(grant(&w, START, &last).shared, 2);
    end_all(&w, JOB_SUCCESS, START);
    assert_int_equal(grant(&w, START, &last).shared, 10);
    end_all(&w, JOB_SUCCESS, START);
    world_free(&w);
}

/* ---- a receiver says that it is too much ------------------------------------------------------------------------- */

static char heard[2000];
static void hear(const struct schedule_brake *b, enum brake_event event)
{
    static const char *const words[] = {[BRAKE_RESUMED] = "resumed", [BRAKE_EASED] = "eased", [BRAKE_RELEASED] = "released"};
    size_t n = strlen(heard);
    snprintf(heard + n, sizeof heard - n, "%.*s %s;", SPAN_ARG(b->who), words[event]);
}

static enum schedule_slowed slow(struct world *w, size_t site, bool all, bool pause, uint64_t granted, uint64_t now)
{
    const struct schedule_slowing how = {.all = all, .pause = pause, .step = 100, .granted = granted, .why = SPAN_LITERAL("rule")};
    return schedule_slow(w->s, w->sites[site], &how, now);
}

static void one_site_s_word_slows_it_and_a_second_one_s_all(void **state)
{
    (void)state;
    struct world w;
    struct job *last;
    world_make(&w, 10, 0);
    grant(&w, START, &last);
    assert_int_equal(slow(&w, 0, false, false, START, START + 1), SCHEDULE_SLOWED_SITE);
    assert_int_equal(schedule_brake(w.sites[0]).a_minute, 5);
    assert_false(schedule_brake(w.sites[1]).on);
    assert_int_equal(slow(&w, 0, false, false, START + 2, START + 3), SCHEDULE_SLOWED_NOT);   /* the same word */
    assert_int_equal(slow(&w, 0, false, false, START + 2, START + 13), SCHEDULE_SLOWED_SITE); /* it says so again */
    assert_int_equal(schedule_brake(w.sites[0]).a_minute, 1);
    assert_int_equal(slow(&w, 1, false, false, START + 2, START + 14), SCHEDULE_SLOWED_SHARE);
    assert_int_equal(schedule_brake(w.sites[2]).a_minute, 5);
    assert_true(span_equal(schedule_brake(w.sites[2]).who, SPAN_LITERAL("share")));
    assert_int_equal(schedule_brake(w.sites[0]).a_minute, 1); /* what holds more */
    assert_false(schedule_brake(w.sites[3]).on);
    end_all(&w, JOB_RECIPIENT_FAILURE, START + 14);
    world_free(&w);
}

static void long_ago_is_no_second_voice(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 0);
    assert_int_equal(slow(&w, 0, false, false, START, START + 1), SCHEDULE_SLOWED_SITE);
    assert_int_equal(slow(&w, 1, false, false, START, START + 101), SCHEDULE_SLOWED_SITE);
    assert_false(schedule_brake(w.sites[2]).on);
    world_free(&w);
}

static void a_word_about_all_slows_all(void **state)
{
    (void)state;
    struct world w;
    struct job *last;
    world_make(&w, 40, 0);
    for (uint64_t t = START; t < START + 20; t++) {
        grant(&w, t, &last);
        end_all(&w, JOB_SUCCESS, t);
    }
    struct granted g = grant(&w, START + 20, &last);
    assert_int_equal(slow(&w, 0, true, false, START + 20, START + 21), SCHEDULE_SLOWED_SHARE); /* 60 were taken: 15 a minute */
    assert_int_equal(schedule_brake(w.sites[1]).a_minute, 15);
    assert_int_equal(schedule_brake(w.sites[1]).sessions, 1);
    end_all(&w, JOB_SUCCESS, START + 21);
    unsigned sent = 0;
    for (uint64_t t = START + 21; t < START + 81; t++) {
        g = grant(&w, t, &last);
        assert_true(g.shared <= 1);
        sent += g.shared;
        end_all(&w, JOB_SUCCESS, t);
    }
    assert_in_range(sent, 14, 16);
    world_free(&w);
}

static void a_pause_ends_by_itself_and_each_step_is_told(void **state)
{
    (void)state;
    struct world w;
    struct job *last;
    world_make(&w, 40, 0);
    schedule_tell(w.s, hear);
    heard[0] = '\0';
    grant(&w, START, &last);
    slow(&w, 0, true, true, START, START + 1);
    slow(&w, 3, false, true, START, START + 1);
    end_all(&w, JOB_SUCCESS, START + 1);
    uint64_t first = 0, first_of_d = 0;
    for (uint64_t t = schedule_wake(w.s, START + 1); t && t < START + 2000; t = schedule_wake(w.s, t)) {
        struct granted g = grant(&w, t, &last);
        first = !first && g.shared ? t : first;
        first_of_d = !first_of_d && g.of[3] ? t : first_of_d;
        end_all(&w, JOB_SUCCESS, t);
    }
    assert_true(first == START + 101 && first_of_d == START + 101);
    assert_true(strstr(heard, "share resumed;") && strstr(heard, "share eased;") && strstr(heard, "share released;"));
    assert_true(strstr(heard, "d resumed;") && strstr(heard, "d eased;") && strstr(heard, "d released;"));
    assert_int_equal(schedule_counts(w.s).ready, 0);
    world_free(&w);
}

static void a_brake_is_remembered_of_sites_that_nobody_writes_to(void **state)
{
    (void)state;
    struct schedule *s = schedule_new(START, 3);
    struct job job = {.cost = 1};
    for (int shared = 0; shared < 2; shared++) {
        struct span name = shared ? SPAN_LITERAL("x") : SPAN_LITERAL("y");
        const struct schedule_slowing how = {.all = true, .step = 5000, .granted = START, .why = SPAN_LITERAL("rule")};
        schedule_add(s, &job, schedule_site(s, name, 5), SPAN_LITERAL("flow"), START);
        if (shared)
            schedule_site_share(s, job.site, SPAN_LITERAL("share"), 5, 0);
        schedule_slow(s, job.site, &how, START + 1);
        schedule_remove(s, &job);
    }
    assert_null(schedule_next(s, START + 3000));
    struct site *x = schedule_site(s, SPAN_LITERAL("x"), 5), *y = schedule_site(s, SPAN_LITERAL("y"), 5);
    assert_true(schedule_brake(y).on);
    schedule_site_share(s, x, SPAN_LITERAL("share"), 5, 0);
    assert_true(schedule_brake(x).on);
    for (uint64_t t; (t = schedule_wake(s, START + 3000)) && t < START + 20000;)
        assert_null(schedule_next(s, t));
    assert_int_equal(schedule_counts(s).sites, 0);
    schedule_free(s);
}

static void an_administrator_ends_it(void **state)
{
    (void)state;
    struct world w;
    struct job *last;
    world_make(&w, 40, 0);
    schedule_tell(w.s, hear);
    heard[0] = '\0';
    slow(&w, 0, false, true, START, START + 1);
    slow(&w, 1, true, true, START, START + 1);
    assert_int_equal(grant(&w, START + 2, &last).shared, 0);
    assert_true(schedule_site_stopped(w.sites[2]));
    assert_true(schedule_unslow(w.s, w.sites[0], START + 3));
    assert_false(schedule_unslow(w.s, w.sites[0], START + 3));
    assert_false(schedule_site_stopped(w.sites[2]));
    assert_string_equal(heard, "a released;share released;");
    assert_int_equal(grant(&w, START + 3, &last).shared, 3);
    end_all(&w, JOB_SUCCESS, START + 3);
    world_free(&w);
}

/* Everything at once, for long, and no job stays. */
static void nothing_that_shares_is_forgotten(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 20; seed++) {
        struct world w;
        uint64_t random = seed * 2654435761u, t = START;
        world_make(&w, 40, seed % 3 ? 600 : 0);
        schedule_probing(w.s, 20, 60);
        for (unsigned step = 0; schedule_counts(w.s).ready + schedule_counts(w.s).active > 0; step++) {
            struct job *job;
            struct granted g = {0};
            while ((job = schedule_next(w.s, t)))
                g.shared++;
            for (size_t i = 0; i < 5; i++) {
                for (size_t k = 0; k < 40; k++) {
                    random = random * 6364136223846793005u + 1442695040888963407u;
                    if (w.jobs[i][k].state != JOB_ACTIVE || random >> 62 == 0)
                        continue;
                    enum job_end end = step < 400 ? (enum job_end)(random >> 40 & 3) : JOB_SUCCESS;
                    if (step < 400 && (random >> 50) % 7 == 0)
                        slow(&w, i, random >> 33 & 1, random >> 34 & 1, t, t);
                    schedule_done(w.s, &w.jobs[i][k], end, t);
                    if (step < 400 && (random >> 20 & 1))
                        schedule_add(w.s, &w.jobs[i][k], w.sites[i], SPAN_LITERAL("flow"), t);
                }
                if (step % 97 == 0 && step < 400) /* a reload */
                    schedule_site_share(w.s, schedule_site(w.s, name_of(i), 1 + step % 7),
                                        random >> 35 & 1 ? SPAN_LITERAL("share") : (struct span){0}, 1 + step % 5,
                                        (unsigned)(random >> 36 & 1) * 300);
            }
            uint64_t wake = schedule_wake(w.s, t);
            if (schedule_counts(w.s).active == 0 && schedule_counts(w.s).ready > 0 && (wake == 0 || wake > t + 700))
                fail_msg("seed %u: %zu jobs wait, and nobody wakes them", seed, schedule_counts(w.s).ready);
            t = wake > t && schedule_counts(w.s).active == 0 ? wake : t + 1;
            if (step > 100000)
                fail_msg("seed %u: %zu jobs are left", seed, schedule_counts(w.s).ready);
        }
        world_free(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_brake_cuts_to_a_quarter_and_halves_again),
        cmocka_unit_test(what_went_out_before_says_nothing_new),
        cmocka_unit_test(what_is_taken_now_counts_more_than_what_was),
        cmocka_unit_test(of_little_there_is_something_left),
        cmocka_unit_test(words_that_come_together_are_one),
        cmocka_unit_test(it_recovers_step_by_step_until_it_holds_nothing_back),
        cmocka_unit_test(a_pause_lets_nothing_through_and_then_little),
        cmocka_unit_test(the_meter_knows_the_last_minute),
        cmocka_unit_test(sites_that_share_have_their_sessions_together_and_take_turns),
        cmocka_unit_test(one_that_comes_back_makes_room_for_the_next_in_turn),
        cmocka_unit_test(the_rate_is_for_all_of_them_together),
        cmocka_unit_test(a_dead_site_is_dead_alone_and_takes_no_room),
        cmocka_unit_test(sites_that_never_answered_leave_room_for_others),
        cmocka_unit_test(a_reload_moves_a_site_with_what_it_has_under_way),
        cmocka_unit_test(one_site_s_word_slows_it_and_a_second_one_s_all),
        cmocka_unit_test(long_ago_is_no_second_voice),
        cmocka_unit_test(a_word_about_all_slows_all),
        cmocka_unit_test(a_pause_ends_by_itself_and_each_step_is_told),
        cmocka_unit_test(a_brake_is_remembered_of_sites_that_nobody_writes_to),
        cmocka_unit_test(an_administrator_ends_it),
        cmocka_unit_test(nothing_that_shares_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
