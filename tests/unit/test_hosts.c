#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/address.h"
#include "delivery/hosts.h"
#include "delivery/reach.h"

#include <stdio.h>

#define NOW ((uint64_t)1000000)

static struct settings *settings;

static int set_up(void **state)
{
    (void)state;
    settings = settings_new();
    reach_forget();
    return settings ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    settings_free(settings);
    return 0;
}

static struct sockaddr_storage socket_of(const char *address)
{
    struct sockaddr_storage socket;
    socklen_t n;
    assert_true(address_to_socket(span_of(address), 25, &socket, &n));
    return socket;
}

static void fails(const char *address, const char *host, uint64_t now)
{
    struct sockaddr_storage socket = socket_of(address);
    reach_failed((struct sockaddr *)&socket, span_of(host), now);
}

static void works(const char *address)
{
    struct sockaddr_storage socket = socket_of(address);
    reach_worked((struct sockaddr *)&socket, 10, NOW);
}

static uint64_t delay_after(const char *address, uint64_t took, uint64_t at)
{
    struct sockaddr_storage socket = socket_of(address);
    reach_worked((struct sockaddr *)&socket, took, NOW);
    return reach_delay((struct sockaddr *)&socket, 250, at);
}

static bool doubtful(const char *address, uint64_t now)
{
    struct sockaddr_storage socket = socket_of(address);
    return reach_is_doubtful((struct sockaddr *)&socket, now);
}

/* `answer`: pairs of name and addresses, ended by NULL. */
static struct hosts hosts_of(const char *const *answer, uint64_t now)
{
    struct buf bytes = BUF_EMPTY(1 << 20);
    struct hosts h;
    struct nexthop hop;
    uint32_t count = 0;
    for (; *answer; answer += 2, count++)
        record_host_add(&bytes, &(struct record_host){.name = span_of(answer[0]), .addresses = span_of(answer[1])});
    assert_true(nexthop_parse(SPAN_LITERAL("example.org"), settings, &hop));
    hosts_of_answer(&h, &hop, settings, (struct list){count, buf_span(&bytes)}, now);
    buf_free(&bytes);
    return h;
}

static void expect_at(uint64_t now, const char *addresses, const char *order)
{
    struct hosts h = hosts_of((const char *const[]){"mx.example", addresses, NULL}, now);
    struct buf got = BUF_EMPTY(65536);
    for (size_t i = 0; i < h.n; i++)
        buf_printf(&got, "%s%s", i ? " " : "", h.v[i].text);
    assert_string_equal(buf_text(&got), order);
    buf_free(&got);
    hosts_free(&h);
}

static void expect(const char *addresses, const char *order)
{
    expect_at(NOW, addresses, order);
}

static void families_take_turns(void **state)
{
    (void)state;
    expect("192.0.2.1", "192.0.2.1");
    expect("192.0.2.1 2001:db8::1", "2001:db8::1 192.0.2.1");
    expect("192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1", "2001:db8::1 192.0.2.1 192.0.2.2 192.0.2.3");
    expect("2001:db8::1 2001:db8::2 192.0.2.1 192.0.2.2", "2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2");
    expect("junk 192.0.2.1 x 0.0.0.0", "192.0.2.1");
    expect("", "");
}

static void hosts_stay_in_line(void **state)
{
    (void)state;
    struct hosts h = hosts_of((const char *const[]){"a.example", "192.0.2.1 2001:db8::1", "b.example", "2001:db8::2", NULL}, NOW);
    assert_int_equal(h.n, 3);
    assert_string_equal(h.v[0].text, "2001:db8::1");
    assert_string_equal(h.v[1].text, "192.0.2.1");
    assert_string_equal(h.v[2].name, "b.example");
    assert_int_equal(h.v[0].record, h.v[1].record);
    assert_int_not_equal(h.v[1].record, h.v[2].record);
    hosts_free(&h);
}

static void many_of_one_family_leave_room_for_the_other(void **state)
{
    (void)state;
    struct buf list = BUF_EMPTY(65536);
    for (int i = 1; i <= 100; i++)
        buf_printf(&list, "2001:db8::%d ", i);
    buf_add_text(&list, "192.0.2.1");
    struct hosts h = hosts_of((const char *const[]){"a.example", buf_text(&list), NULL}, NOW);
    assert_int_equal(h.n, HOSTS_MAX);
    assert_string_equal(h.v[1].text, "192.0.2.1");
    hosts_free(&h);
    buf_free(&list);
}

static void what_failed_goes_behind_for_a_while(void **state)
{
    (void)state;
    fails("2001:db8::1", "mx.example", NOW);
    expect_at(NOW + 1, "2001:db8::1 2001:db8::2 192.0.2.1", "2001:db8::2 192.0.2.1 2001:db8::1");
    fails("192.0.2.1", "mx.example", NOW);
    fails("2001:db8::2", "mx.example", NOW);
    expect_at(NOW + 1, "2001:db8::1 2001:db8::2 192.0.2.1", "2001:db8::1 192.0.2.1 2001:db8::2"); /* all of them: as ever */
    works("192.0.2.1");
    expect_at(NOW + 1, "2001:db8::1 192.0.2.1", "192.0.2.1 2001:db8::1");
    expect_at(NOW + REACH_TIME, "2001:db8::1 192.0.2.1", "2001:db8::1 192.0.2.1");
}

static void a_family_that_fails_everywhere_goes_second(void **state)
{
    (void)state;
    const char *fresh = "2001:db8::9 192.0.2.9";
    fails("2001:db8::1", "a.example", NOW);
    fails("2001:db8::2", "b.example", NOW);
    fails("2001:db8::3", "B.example", NOW); /* one host, however many addresses it has */
    expect(fresh, "2001:db8::9 192.0.2.9");
    fails("2001:db8::4", "c.example", NOW);
    assert_true(reach_family_is_doubtful(AF_INET6, NOW));
    assert_false(reach_family_is_doubtful(AF_INET, NOW));
    expect(fresh, "192.0.2.9 2001:db8::9");
    expect_at(NOW + REACH_TIME, fresh, "2001:db8::9 192.0.2.9");
    works("2001:db8::7");
    expect(fresh, "2001:db8::9 192.0.2.9");
}

static void two_that_fail_everywhere_are_as_ever(void **state)
{
    (void)state;
    for (int i = 0; i < REACH_HOSTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "h%d.example", i);
        fails("2001:db8::1", name, NOW);
        fails("192.0.2.1", name, NOW);
    }
    assert_true(reach_family_is_doubtful(AF_INET6, NOW) && reach_family_is_doubtful(AF_INET, NOW));
    assert_true(reach_prefers_ipv6(NOW));
}

/* Hosts that fail now and then, with as long between them as is remembered, are no sign. */
static void old_failures_do_not_add_up(void **state)
{
    (void)state;
    fails("2001:db8::1", "a.example", NOW);
    fails("2001:db8::1", "b.example", NOW);
    fails("2001:db8::1", "c.example", NOW + REACH_TIME);
    assert_false(reach_family_is_doubtful(AF_INET6, NOW + REACH_TIME));
}

static void a_slow_address_is_given_more_time(void **state)
{
    (void)state;
    assert_int_equal(delay_after("192.0.2.1", 10, NOW + 1), 250);
    assert_int_equal(delay_after("192.0.2.1", 120, NOW + 1), 250);
    assert_int_equal(delay_after("192.0.2.1", 300, NOW + 1), 600);
    assert_int_equal(delay_after("192.0.2.1", 300, NOW + REACH_TIME), 250);
    assert_int_equal(delay_after("192.0.2.1", 30000, NOW + 1), REACH_DELAY);
    assert_false(doubtful("192.0.2.1", NOW + 1));
    assert_int_equal(delay_after("192.0.2.1", 10, NOW + 1), 250);
    fails("192.0.2.1", "a.example", NOW);
    assert_int_equal(delay_after("192.0.2.1", 300, NOW + 1), 600);
    fails("192.0.2.1", "a.example", NOW);
    assert_true(doubtful("192.0.2.1", NOW + 1));
}

static void the_table_forgets_the_oldest(void **state)
{
    (void)state;
    size_t kept = 0;
    for (unsigned i = 0; i < 4 * REACH_PLACES; i++) {
        char address[40];
        snprintf(address, sizeof address, "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        fails(address, "a.example", NOW + i);
        assert_true(doubtful(address, NOW + i));
    }
    for (unsigned i = 0; i < 4 * REACH_PLACES; i++) {
        char address[40];
        snprintf(address, sizeof address, "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        kept += doubtful(address, NOW + i);
    }
    assert_in_range(kept, REACH_PLACES / 2, REACH_PLACES);
    assert_false(doubtful("10.0.0.0", NOW));
}

static void the_first_that_is_left(void **state)
{
    (void)state;
    struct hosts h = hosts_of((const char *const[]){"a.example", "192.0.2.1 2001:db8::1 192.0.2.2", NULL}, NOW);
    assert_int_equal(hosts_first(&h, AF_UNSPEC, h.n), 0);
    assert_int_equal(hosts_first(&h, AF_UNSPEC, 0), 1);
    h.v[0].over = true;
    assert_int_equal(hosts_first(&h, AF_INET6, h.n), h.n);
    assert_int_equal(hosts_first(&h, AF_INET, h.n), 1);
    assert_int_equal(hosts_first(&h, AF_INET, 1), 2);
    hosts_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(families_take_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hosts_stay_in_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_of_one_family_leave_room_for_the_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_failed_goes_behind_for_a_while, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_family_that_fails_everywhere_goes_second, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_that_fail_everywhere_are_as_ever, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_failures_do_not_add_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slow_address_is_given_more_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_table_forgets_the_oldest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_that_is_left, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
