/* What strangers may do in a minute and at a time, who is known to have waited, and whom a flood of addresses can push out. Time is an
 * argument. */
#include "resolver/throttle.h"

#include "resolver/fairtable.h"
#include "resolver/passed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND ((uint64_t)1000000)
#define START  (SECOND * 100000)

static struct throttle *t;
static struct throttle_excess excess;
static uint64_t now;

static int set_up(void **state)
{
    (void)state;
    struct throttle_limits limits = {.sessions = 3, .networks = 4};
    limits.rates[THROTTLE_MESSAGES] = 6;
    limits.rates[THROTTLE_ERRORS] = 10;
    t = throttle_new(&limits);
    now = START;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    throttle_free(t);
    return 0;
}

static bool sends(const char *address)
{
    return throttle_count(t, span_of(address), THROTTLE_MESSAGES, now, &excess);
}

static int sends_until_refused(const char *address)
{
    int n = 0;
    while (n < 1000 && sends(address))
        n++;
    return n;
}

static bool enters(const char *address, struct throttle_guest *guest)
{
    return throttle_enter(t, span_of(address), guest, &excess);
}

/* ---- rates ----------------------------------------------------------------------------------------------------------------------- */

static void a_rate_is_kept_to_and_leaks(void **state)
{
    (void)state;
    assert_int_equal(sends_until_refused("192.0.2.1"), 6);
    assert_string_equal(excess.limit, "messages");
    assert_int_equal(excess.count, 6);
    assert_int_equal(excess.most, 6);
    assert_false(excess.network);
    now += 9 * SECOND;
    assert_false(sends("192.0.2.1"));
    now += SECOND;
    assert_true(sends("192.0.2.1"));
    assert_false(sends("192.0.2.1"));
    now += 60 * SECOND;
    assert_int_equal(sends_until_refused("::ffff:192.0.2.1"), 6);
    assert_int_equal(sends_until_refused("192.0.2.1"), 0);
}

static void who_keeps_to_it_is_never_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++, now += 10 * SECOND)
        assert_true(sends("192.0.2.1"));
}

static void other_rates_are_not_touched(void **state)
{
    (void)state;
    sends_until_refused("192.0.2.1");
    assert_true(throttle_fits(t, span_of("192.0.2.1"), THROTTLE_ERRORS, now, &excess));
    for (int i = 0; i < 1000; i++)
        assert_true(throttle_count(t, span_of("192.0.2.1"), THROTTLE_RECIPIENTS, now, &excess)); /* 0: no limit */
}

static void a_customer_with_ipv6_is_one(void **state)
{
    (void)state;
    char address[64];
    for (int i = 0; i < 6; i++) {
        snprintf(address, sizeof address, "2001:db8:1:1::%x", i + 1);
        assert_true(sends(address));
    }
    assert_false(sends("2001:db8:1:1:ffff::"));
    assert_true(sends("2001:db8:1:2::1"));
}

static void a_network_has_more_but_not_all(void **state)
{
    (void)state;
    char address[64];
    int taken = 0;
    for (int i = 0; i < 256; i++) {
        snprintf(address, sizeof address, "192.0.2.%d", i);
        taken += sends(address);
    }
    assert_int_equal(taken, 24);
    assert_true(excess.network);
    assert_int_equal(excess.most, 24);
    assert_true(sends("192.0.3.1"));
    taken = 0;
    for (int i = 0; i < 256; i++) {
        snprintf(address, sizeof address, "2001:db8:7:%x::1", i);
        taken += sends(address);
    }
    assert_int_equal(taken, 24);
    assert_true(sends("2001:db8:8::1"));
}

static void many_errors_are_no_worse_than_a_minute(void **state)
{
    (void)state;
    throttle_add(t, span_of("192.0.2.1"), THROTTLE_ERRORS, 1000000, now);
    assert_false(throttle_fits(t, span_of("192.0.2.1"), THROTTLE_ERRORS, now, &excess));
    assert_string_equal(excess.limit, "errors");
    now += 61 * SECOND;
    assert_true(throttle_fits(t, span_of("192.0.2.1"), THROTTLE_ERRORS, now, &excess));
}

static void what_is_no_address_is_not_counted(void **state)
{
    (void)state;
    static const char *const none[] = {
        "", "x", "192.0.2.1.", "192.0.2.256", "1:2:3", "::ffff:1.2.3.4.5", "2001:db8:1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa"};
    struct throttle_guest guest;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        assert_int_equal(sends_until_refused(none[i]), 1000);
        for (int n = 0; n < 20; n++)
            assert_true(enters(none[i], &guest));
        throttle_leave(t, &guest);
    }
}

/* ---- sessions -------------------------------------------------------------------------------------------------------------------- */

static void sessions_at_a_time(void **state)
{
    (void)state;
    struct throttle_guest guests[4];
    for (int i = 0; i < 3; i++)
        assert_true(enters("192.0.2.1", &guests[i]));
    assert_false(enters("192.0.2.1", &guests[3]));
    assert_string_equal(excess.limit, "sessions");
    assert_int_equal(excess.count, 3);
    assert_true(enters("192.0.2.2", &guests[3]));
    throttle_leave(t, &guests[3]);
    throttle_leave(t, &guests[0]);
    assert_true(enters("192.0.2.1", &guests[0]));
    assert_false(enters("192.0.2.1", &guests[3]));
    throttle_leave(t, &guests[3]); /* it was refused: nothing to leave */
    assert_false(enters("192.0.2.1", &guests[3]));
    assert_true(throttle_enter(t, span_of("192.0.2.1"), &guests[3], NULL)); /* whatever the limits are */
    for (int i = 0; i < 4; i++)
        throttle_leave(t, &guests[i]);
    for (int i = 0; i < 3; i++)
        assert_true(enters("192.0.2.1", &guests[i]));
}

static void sessions_of_a_network(void **state)
{
    (void)state;
    struct throttle_guest guests[256];
    char address[64];
    int taken = 0;
    for (int i = 0; i < 256; i++) {
        snprintf(address, sizeof address, "192.0.2.%d", i);
        if (enters(address, &guests[taken]))
            taken++;
    }
    assert_int_equal(taken, 12);
    assert_true(excess.network);
    while (taken)
        throttle_leave(t, &guests[--taken]);
    assert_true(enters("192.0.2.200", &guests[0]));
}

/* ---- floods of addresses --------------------------------------------------------------------------------------------------------- */

/* Who has a /32 of IPv6 comes from two million /64s; those that have used up their limit elsewhere keep it. */
static void a_region_pushes_out_nobody_elses_limits(void **state)
{
    (void)state;
    char address[64];
    for (int i = 0; i < 250; i++) {
        snprintf(address, sizeof address, "198.51.%d.1", i);
        assert_int_equal(sends_until_refused(address), 6);
        snprintf(address, sizeof address, "%d.20.30.40", i + 1);
        assert_int_equal(sends_until_refused(address), 6);
    }
    for (int i = 0; i < 2000000; i++) {
        snprintf(address, sizeof address, "2001:db8:%x:%x::1", i >> 8 & 0xffff, i & 0xff);
        throttle_add(t, span_of(address), THROTTLE_MESSAGES, 6, now);
    }
    int forgotten = 0;
    for (int i = 0; i < 250; i++) {
        snprintf(address, sizeof address, "%d.20.30.40", i + 1);
        forgotten += sends(address);
    }
    assert_int_equal(forgotten, 0);
}

/* From everywhere at once, an address once each: what is nearest to empty goes first, and that is the flood's own. */
static void a_flood_from_everywhere_pushes_out_its_own(void **state)
{
    (void)state;
    char address[64];
    assert_int_equal(sends_until_refused("192.0.2.1"), 6);
    for (uint32_t i = 0, x = 1; i < 300000; i++) {
        x = x * 1664525 + 1013904223;
        snprintf(address, sizeof address, "%u.%u.%u.%u", x >> 24, x >> 16 & 255, x >> 8 & 255, i & 255);
        sends(address);
    }
    assert_false(sends("192.0.2.1"));
}

static void a_bucket_is_shared_by_regions(void **state)
{
    (void)state;
    struct fairtable *f = fairtable_new(1, sizeof(struct fair_entry));
    for (uint64_t i = 1; i <= 1000; i++)
        ((struct fair_entry *)fairtable_take(f, i, 7))->until = i;
    int own = 0;
    for (uint64_t i = 1; i <= 1000; i++)
        own += fairtable_find(f, i, 7) != NULL;
    assert_int_equal(own, FAIRTABLE_WAYS / 2);
    assert_non_null(fairtable_find(f, 1000, 7));
    assert_null(fairtable_find(f, 1, 7));
    assert_null(fairtable_find(f, 1000, 8));
    for (uint64_t i = 1; i <= 32; i++) /* thirty-two others come, with less: each has a place of its own */
        ((struct fair_entry *)fairtable_take(f, 5000 + i, 100 + i))->until = 1;
    for (uint64_t i = 1; i <= 32; i++)
        assert_non_null(fairtable_find(f, 5000 + i, 100 + i));
    assert_non_null(fairtable_find(f, 1000, 7));
    fairtable_free(f);
}

/* ---- names ----------------------------------------------------------------------------------------------------------------------- */

static void prefixes_have_names(void **state)
{
    (void)state;
    static const struct {
        const char *address, *own, *network;
    } cases[] = {{"192.0.2.7", "192.0.2.7", "192.0.2.0/24"},
                 {"::ffff:192.0.2.7", "192.0.2.7", "192.0.2.0/24"},
                 {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"},
                 {"x", "nobody", "nobody"}};
    char out[64];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        prefix_name(cases[i].address, strlen(cases[i].address), false, out, sizeof out);
        assert_string_equal(out, cases[i].own);
        prefix_name(cases[i].address, strlen(cases[i].address), true, out, sizeof out);
        assert_string_equal(out, cases[i].network);
    }
}

/* ---- who waited ------------------------------------------------------------------------------------------------------------------ */

static void who_waited_is_known_for_a_time(void **state)
{
    (void)state;
    struct passed *p = passed_new(3600);
    assert_false(passed_is_known(p, span_of("192.0.2.1"), 1000));
    passed_remember(p, span_of("192.0.2.1"), 1000);
    passed_remember(p, span_of("2001:db8::1"), 1000);
    passed_remember(p, span_of("nonsense"), 1000);
    assert_true(passed_is_known(p, span_of("192.0.2.1"), 4599));
    assert_true(passed_is_known(p, span_of("2001:db8::ffff:1"), 4599));
    assert_false(passed_is_known(p, span_of("2001:db8:0:1::1"), 1000));
    assert_false(passed_is_known(p, span_of("192.0.2.2"), 1000));
    assert_false(passed_is_known(p, span_of("nonsense"), 1000));
    assert_false(passed_is_known(p, span_of("192.0.2.1"), 4600));
    passed_free(p);
}

static void patient_robots_push_out_few(void **state)
{
    (void)state;
    struct passed *p = passed_new(3600);
    char address[64];
    for (int i = 0; i < 200; i++) {
        snprintf(address, sizeof address, "%d.1.1.1", i + 1);
        passed_remember(p, span_of(address), 1000);
    }
    for (int i = 0; i < 500000; i++) {
        snprintf(address, sizeof address, "2001:db8:%x:%x::1", i >> 8 & 0xffff, i & 0xff);
        passed_remember(p, span_of(address), 2000);
    }
    int known = 0;
    for (int i = 0; i < 200; i++) {
        snprintf(address, sizeof address, "%d.1.1.1", i + 1);
        known += passed_is_known(p, span_of(address), 3000);
    }
    assert_int_equal(known, 200);
    passed_free(p);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_rate_is_kept_to_and_leaks),
        TEST(who_keeps_to_it_is_never_refused),
        TEST(other_rates_are_not_touched),
        TEST(a_customer_with_ipv6_is_one),
        TEST(a_network_has_more_but_not_all),
        TEST(many_errors_are_no_worse_than_a_minute),
        TEST(what_is_no_address_is_not_counted),
        TEST(sessions_at_a_time),
        TEST(sessions_of_a_network),
        TEST(a_region_pushes_out_nobody_elses_limits),
        TEST(a_flood_from_everywhere_pushes_out_its_own),
        TEST(a_bucket_is_shared_by_regions),
        TEST(prefixes_have_names),
        TEST(who_waited_is_known_for_a_time),
        TEST(patient_robots_push_out_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
