/* Limits of messages and recipients an hour. Time is an argument. */
#include "auth/usage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define START 1000

static enum usage_answer add(const char *login, uint32_t recipients, uint64_t now)
{
    return usage_add(span_of(login), recipients, now);
}

static void messages(void **state)
{
    (void)state;
    usage_open(&(struct usage_limits){.messages = 10});
    for (int i = 0; i < 10; i++)
        assert_int_equal(add("ann", 1000, START), USAGE_OK);
    assert_int_equal(add("ann", 1, START), USAGE_ALARM);
    assert_int_equal(add("ann", 1, START + 1), USAGE_BEYOND);
    assert_int_equal(add("bob", 1, START), USAGE_OK);
    assert_int_equal(add("ann", 1, START + 361), USAGE_OK); /* one of ten has leaked away */
    assert_int_equal(add("ann", 1, START + 362), USAGE_BEYOND);
    for (int i = 0; i < 10; i++)
        assert_int_equal(add("ann", 1, START + 8000), USAGE_OK);
    assert_int_equal(add("ann", 1, START + 8000), USAGE_ALARM); /* an hour later: told again */
}

static void recipients(void **state)
{
    (void)state;
    usage_open(&(struct usage_limits){.messages = 100, .recipients = 1000});
    assert_int_equal(add("ann", 999, START), USAGE_OK);
    assert_int_equal(add("ann", 2, START), USAGE_ALARM);
    assert_int_equal(add("ann", 1, START), USAGE_OK); /* what was beyond does not count against what fits */
    assert_int_equal(add("ann", 1, START), USAGE_BEYOND);
    assert_int_equal(add("bob", 1001, START), USAGE_ALARM);
    assert_int_equal(add("bob", UINT32_MAX, START), USAGE_REFUSE);
    assert_int_equal(add("bob", 1000, START), USAGE_OK);
}

static void what_is_held_has_a_limit_too(void **state)
{
    (void)state;
    usage_open(&(struct usage_limits){.messages = 24});
    for (int i = 0; i < 24; i++)
        assert_int_equal(add("ann", 1, START), USAGE_OK);
    assert_int_equal(add("ann", 1, START), USAGE_ALARM);
    for (int i = 1; i < 24; i++)
        assert_int_equal(add("ann", 1, START), USAGE_BEYOND);
    for (int i = 0; i < 100; i++)
        assert_int_equal(add("ann", 1, START), USAGE_REFUSE);
    assert_int_equal(add("bob", 1, START), USAGE_OK);
    for (int i = 0; i < 24; i++) /* an hour later: as many as ever, and one of the others' places is free again */
        assert_int_equal(add("ann", 1, START + 3601), USAGE_OK);
    assert_int_equal(add("ann", 1, START + 3601), USAGE_ALARM);
    assert_int_equal(add("ann", 1, START + 3601), USAGE_REFUSE);
}

static void recipients_that_are_held_have_a_limit_too(void **state)
{
    (void)state;
    usage_open(&(struct usage_limits){.messages = 1000, .recipients = 100});
    assert_int_equal(add("ann", 5000, START), USAGE_ALARM);
    assert_int_equal(add("ann", 5000, START), USAGE_REFUSE);
    assert_int_equal(add("ann", 100, START), USAGE_OK);
    assert_int_equal(add("bob", 60, START), USAGE_OK);
    assert_int_equal(add("bob", 60, START), USAGE_ALARM);
    assert_int_equal(add("bob", 60, START), USAGE_BEYOND);
    assert_int_equal(add("bob", 60, START), USAGE_REFUSE);
}

static void no_limits(void **state)
{
    (void)state;
    usage_open(&(struct usage_limits){0});
    for (int i = 0; i < 1000; i++)
        assert_int_equal(add("ann", UINT32_MAX, START), USAGE_OK);
}

static void many_logins(void **state)
{
    (void)state;
    char login[32];
    usage_open(&(struct usage_limits){.messages = 1});
    for (int i = 0; i < 8000; i++) { /* an eighth of the table: more would crowd one of its places now and then */
        snprintf(login, sizeof login, "user%d", i);
        assert_int_equal(add(login, 1, START), USAGE_OK);
    }
    for (int i = 0; i < 8000; i++) {
        snprintf(login, sizeof login, "user%d", i);
        assert_int_equal(add(login, 1, START), USAGE_ALARM);
    }
}

static void one_account_in_any_case(void **state)
{
    (void)state;
    usage_open(&(struct usage_limits){.messages = 1});
    assert_int_equal(add("alice", 1, START), USAGE_OK);
    assert_int_equal(add("Alice", 1, START), USAGE_ALARM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages),
        cmocka_unit_test(recipients),
        cmocka_unit_test(what_is_held_has_a_limit_too),
        cmocka_unit_test(recipients_that_are_held_have_a_limit_too),
        cmocka_unit_test(no_limits),
        cmocka_unit_test(many_logins),
        cmocka_unit_test(one_account_in_any_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
