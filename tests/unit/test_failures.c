/* Who may try to log in again: strangers, owners, neighbours, and all of them at once. Time is an argument. */
#include "auth/failures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define START ((uint64_t)1000000)

static const struct failures_limits limits = {.address = 5, .network = 12, .account = 10, .known_time = 86400};
static uint64_t now;
static uint32_t delay;

static enum failures_answer try(const char *client, const char *account)
{
    return failures_take_turn(span_of(client), span_of(account), now, &delay);
}

static void fail_times(const char *client, const char *account, int times)
{
    for (int i = 0; i < times; i++)
        failures_wrong(span_of(client), span_of(account), now);
}

static int set_up(void **state)
{
    (void)state;
    failures_open(&limits);
    now = START;
    return 0;
}

static void an_address_that_fails_is_refused_for_a_while(void **state)
{
    (void)state;
    fail_times("192.0.2.1", "a", 4);
    assert_int_equal(try("192.0.2.1", "b"), FAILURES_GO);
    fail_times("192.0.2.1", "b", 1);
    assert_int_equal(try("192.0.2.1", "c"), FAILURES_REFUSE);
    assert_int_equal(try("::ffff:192.0.2.1", "c"), FAILURES_REFUSE);
    assert_int_equal(try("192.0.2.2", "c"), FAILURES_GO);
    now += 3600 / 5 - 1;
    assert_int_equal(try("192.0.2.1", "c"), FAILURES_REFUSE);
    now += 2;
    assert_int_equal(try("192.0.2.1", "c"), FAILURES_GO);
    fail_times("192.0.2.1", "c", 1);
    assert_int_equal(try("192.0.2.1", "c"), FAILURES_REFUSE);
}

static void a_name_alone_takes_no_place_in_line(void **state)
{
    (void)state;
    char address[64];
    for (int i = 0; i < 10; i++) {
        snprintf(address, sizeof address, "192.0.%d.1", i);
        fail_times(address, "ann", 1);
    }
    for (int i = 0; i < 100; i++)
        assert_int_equal(failures_may_try(span_of("198.51.100.1"), span_of("ann"), now), FAILURES_GO);
    assert_int_equal(try("198.51.100.1", "ann"), FAILURES_GO);
    assert_int_equal(delay, FAILURES_PACE);
    for (int i = 1; i < FAILURES_LINE; i++)
        assert_int_equal(try("198.51.100.1", "Ann"), FAILURES_GO);
    assert_int_equal(try("198.51.100.1", "ann"), FAILURES_BUSY);
    assert_int_equal(failures_may_try(span_of("198.51.100.1"), span_of("ann"), now), FAILURES_BUSY);
}

static void an_ipv6_customer_is_one(void **state)
{
    (void)state;
    char address[64];
    for (int i = 0; i < 5; i++) {
        snprintf(address, sizeof address, "2001:db8:1:1::%x", i + 1);
        fail_times(address, "a", 1);
    }
    assert_int_equal(try("2001:db8:1:1:ffff::", "b"), FAILURES_REFUSE);
    assert_int_equal(try("2001:db8:1:2::1", "b"), FAILURES_GO);
}

static void a_network_that_fails_is_refused(void **state)
{
    (void)state;
    char address[64];
    for (int i = 0; i < 12; i++) {
        snprintf(address, sizeof address, "2001:db8:1:%x::1", i);
        fail_times(address, address, 1);
        snprintf(address, sizeof address, "192.0.2.%d", i);
        fail_times(address, address, 1);
    }
    assert_int_equal(try("2001:db8:1:ff::1", "x"), FAILURES_REFUSE);
    assert_int_equal(try("2001:db8:2::1", "x"), FAILURES_GO);
    assert_int_equal(try("192.0.2.200", "x"), FAILURES_REFUSE);
    assert_int_equal(try("192.0.3.1", "x"), FAILURES_GO);
}

static void attack_from_everywhere(const char *account, int n)
{
    char address[64];
    for (int i = 0; i < n; i++) {
        snprintf(address, sizeof address, "10.%d.%d.1", i / 250, i % 250);
        fail_times(address, account, 1);
    }
}

static void an_attack_from_everywhere_does_not_lock_the_owner_out(void **state)
{
    (void)state;
    failures_right(span_of("198.51.100.7"), span_of("ann"), now);
    attack_from_everywhere("ann", 500);
    assert_int_equal(try("198.51.100.7", "ann"), FAILURES_GO);
    assert_int_equal(delay, 0);
    for (uint32_t i = 1; i <= FAILURES_LINE; i++) {
        assert_int_equal(try("203.0.113.9", "ann"), FAILURES_GO);
        assert_int_equal(delay, i * FAILURES_PACE);
    }
    assert_int_equal(try("203.0.113.10", "ann"), FAILURES_BUSY);
    assert_int_equal(try("203.0.113.10", "bob"), FAILURES_GO);
    assert_int_equal(delay, 0);
    now += FAILURES_PACE;
    assert_int_equal(try("203.0.113.10", "ann"), FAILURES_GO);
    assert_int_equal(delay, FAILURES_LINE * FAILURES_PACE);
    assert_int_equal(try("198.51.100.7", "ann"), FAILURES_GO);
    now += 86400 + 1; /* known_time is over */
    attack_from_everywhere("ann", 500);
    assert_int_equal(try("198.51.100.7", "ann"), FAILURES_GO);
    assert_int_not_equal(delay, 0);
}

static void neighbours_do_not_lock_the_owner_out(void **state)
{
    (void)state;
    failures_right(span_of("198.51.100.7"), span_of("ann"), now);
    fail_times("198.51.100.7", "bob", 50);
    fail_times("198.51.100.8", "cid", 50);
    assert_int_equal(try("198.51.100.7", "bob"), FAILURES_REFUSE);
    assert_int_equal(try("198.51.100.7", "ann"), FAILURES_GO);
}

/* An address that is known for one account is not known for others, and may not guess that one's either. */
static void a_known_address_may_not_guess(void **state)
{
    (void)state;
    failures_right(span_of("198.51.100.7"), span_of("ann"), now);
    fail_times("198.51.100.7", "ann", 5);
    assert_int_equal(try("198.51.100.7", "ann"), FAILURES_REFUSE);
    assert_int_equal(try("198.51.100.7", "bob"), FAILURES_GO);
    failures_right(span_of("198.51.100.7"), span_of("ann"), now); /* of a session that was looked at before: the count stays */
    assert_int_equal(try("198.51.100.7", "ann"), FAILURES_REFUSE);
}

/* Who has an account can't wash its failures at others away with it. */
static void a_success_forgives_nothing(void **state)
{
    (void)state;
    fail_times("192.0.2.1", "victim", 5);
    failures_right(span_of("192.0.2.1"), span_of("own"), now);
    assert_int_equal(try("192.0.2.1", "victim"), FAILURES_REFUSE);
    assert_int_equal(try("192.0.2.1", "own"), FAILURES_GO);
}

static void floods_do_not_wash_out_what_counts(void **state)
{
    (void)state;
    char text[64];
    failures_right(span_of("198.51.100.7"), span_of("ann"), now);
    attack_from_everywhere("ann", 100);
    fail_times("192.0.2.1", "x", 100);
    for (unsigned i = 0; i < 200000; i++) {
        snprintf(text, sizeof text, "172.%u.%u.%u", 16 + i / 65536, i / 256 % 256, i % 256);
        failures_wrong(span_of(text), span_of(text), now);
        failures_right(span_of(text), span_of("mallory"), now); /* an account of the attacker's, used from everywhere */
    }
    assert_int_equal(try("192.0.2.1", "y"), FAILURES_REFUSE);
    assert_int_equal(try("198.51.100.7", "ann"), FAILURES_GO);
    assert_int_equal(delay, 0);
    assert_int_equal(try("203.0.113.9", "ann"), FAILURES_GO);
    assert_int_not_equal(delay, 0);
}

/* An account that is used from everywhere takes no places of accounts in its bucket; three of them, so that there is one in some bucket. */
static void one_account_takes_from_itself_alone(void **state)
{
    (void)state;
    char account[32], address[32];
    for (int i = 0; i < 16000; i++) {
        snprintf(account, sizeof account, "owner%d", i);
        failures_right(span_of("198.51.100.7"), span_of(account), now);
    }
    now++;
    for (int i = 0; i < 3000; i++) {
        snprintf(account, sizeof account, "mallory%d", i % 3);
        snprintf(address, sizeof address, "10.0.%d.%d", i / 250, i % 250);
        failures_right(span_of(address), span_of(account), now);
    }
    fail_times("198.51.100.7", "nobody", 5); /* from here on only who is known may */
    for (int i = 0; i < 16000; i++) {
        snprintf(account, sizeof account, "owner%d", i);
        if (try("198.51.100.7", account) != FAILURES_GO)
            fail_msg("%s was forgotten", account);
    }
}

static void no_limits(void **state)
{
    (void)state;
    failures_open(&(struct failures_limits){0});
    fail_times("192.0.2.1", "a", 10000);
    fail_times("", "", 10000);
    fail_times("an address that is much longer than any address can ever be, and is none either", "a", 10);
    assert_int_equal(try("192.0.2.1", "a"), FAILURES_GO);
    assert_int_equal(try("", ""), FAILURES_GO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_address_that_fails_is_refused_for_a_while, set_up),
        cmocka_unit_test_setup(a_name_alone_takes_no_place_in_line, set_up),
        cmocka_unit_test_setup(an_ipv6_customer_is_one, set_up),
        cmocka_unit_test_setup(a_network_that_fails_is_refused, set_up),
        cmocka_unit_test_setup(an_attack_from_everywhere_does_not_lock_the_owner_out, set_up),
        cmocka_unit_test_setup(neighbours_do_not_lock_the_owner_out, set_up),
        cmocka_unit_test_setup(a_known_address_may_not_guess, set_up),
        cmocka_unit_test_setup(a_success_forgives_nothing, set_up),
        cmocka_unit_test_setup(floods_do_not_wash_out_what_counts, set_up),
        cmocka_unit_test_setup(one_account_takes_from_itself_alone, set_up),
        cmocka_unit_test_setup(no_limits, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
