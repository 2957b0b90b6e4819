/* sources: the order of a message among the sources of its pool, and what is left out. */
#include "qmgr/sources.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define NOW UINT64_C(1800000000)

static void assign(enum settings_kind kind, void *object, const char *name, const char *value)
{
    const struct settings_section *section = &settings_sections[kind];
    struct error e;
    for (size_t i = 0; i < section->count; i++)
        if (strcmp(section->table[i].name, name) == 0)
            assert_int_equal(setting_assign(&section->table[i], object, span_of(value), &e), 0);
}

/* Sources, and a route whose pool they are; each as "title weight". */
static struct settings *with(const char *const *items, size_t n)
{
    struct settings *s = settings_new();
    struct settings_route *r = settings_append(s, SETTINGS_ROUTES, SPAN_LITERAL("*"));
    for (size_t i = 0; i < n; i++) {
        struct pool_item item;
        assert_true(pool_item_parse(span_of(items[i]), &item));
        assign(SETTINGS_SOURCES, settings_append(s, SETTINGS_SOURCES, item.title), "address", "192.0.2.1");
        assign(SETTINGS_ROUTES, r, "sources", items[i]);
    }
    return s;
}

static const struct strings *pool(const struct settings *s)
{
    return pool_of(s, &s->routes[0]);
}

static unsigned left; /* messages that may join a line now */

static bool goes(const struct settings_source *source, void *arg)
{
    (void)source, (void)arg;
    return left > 0 && left--;
}

static void shares_are_as_the_weights_say(void **state)
{
    (void)state;
    static const char *const items[] = {"a 5", "b 3", "c 2"};
    enum { MESSAGES = 20000 };
    struct settings *s = with(items, 3);
    const struct settings_source *out[POOL_MOST];
    unsigned first[3] = {0}, second_of_a[3] = {0};
    for (uint64_t id = 0; id < MESSAGES; id++) {
        assert_int_equal(sources_order(s, pool(s), NOW * 1000000 * 256 + id * 977, out), 3);
        first[out[0] - s->sources]++;
        if (out[0] == &s->sources[0])
            second_of_a[out[1] - s->sources]++;
    }
    assert_in_range(first[0], MESSAGES * 48 / 100, MESSAGES * 52 / 100);
    assert_in_range(first[1], MESSAGES * 28 / 100, MESSAGES * 32 / 100);
    assert_in_range(first[2], MESSAGES * 18 / 100, MESSAGES * 22 / 100);
    assert_in_range(second_of_a[1], first[0] * 57 / 100, first[0] * 63 / 100); /* 3 of 5: what is left out is shared by weight, too */
    settings_free(s);
}

static void a_message_keeps_its_order_whatever_joins(void **state)
{
    (void)state;
    static const char *const three[] = {"a", "b", "c"}, *const two[] = {"c", "a"};
    struct settings *s = with(three, 3), *less = with(two, 2);
    const struct settings_source *out[POOL_MOST], *rest[POOL_MOST];
    unsigned moved = 0;
    for (uint64_t id = 1; id <= 1000; id++) {
        size_t n = sources_order(s, pool(s), id, out), at = 0;
        assert_int_equal(sources_order(less, pool(less), id, rest), 2);
        for (size_t i = 0; i < n; i++)
            if (strcmp(out[i]->title, "b") != 0)
                assert_string_equal(rest[at++]->title, out[i]->title);
        moved += strcmp(out[0]->title, "b") == 0;
    }
    assert_in_range(moved, 250, 420);
    settings_free(s);
    settings_free(less);
}

static void what_is_ill_is_left_out_for_a_minute(void **state)
{
    (void)state;
    static const char *const items[] = {"a", "b"};
    struct settings *s = with(items, 2);
    const struct settings_source *out[POOL_MOST];
    sources_order(s, pool(s), 7, out);
    assert_ptr_equal(sources_choose(s, pool(s), 7, NOW, goes, NULL).source, out[0]);
    assert_true(sources_make_ill(SOURCES_SOURCE, span_of(out[0]->title), NOW));
    assert_false(sources_make_ill(SOURCES_SOURCE, span_of(out[0]->title), NOW + 59)); /* one loud line a minute */
    assert_ptr_equal(sources_choose(s, pool(s), 7, NOW + 59, goes, NULL).source, out[1]);
    assert_ptr_equal(sources_choose(s, pool(s), 7, NOW + 60, goes, NULL).source, out[0]);
    assert_true(sources_make_ill(SOURCES_SOURCE, span_of(out[1]->title), NOW + 30));
    struct sources_choice c = sources_choose(s, pool(s), 7, NOW + 31, goes, NULL);
    assert_true(c.verdict == SOURCES_LATER && c.when == NOW + 60);
    sources_forget_ill();
    assert_ptr_equal(sources_choose(s, pool(s), 7, NOW + 31, goes, NULL).source, out[0]);
    settings_free(s);
}

static void what_a_warm_up_does_not_take_goes_by_others(void **state)
{
    (void)state;
    static const char *const items[] = {"a", "b"};
    struct settings *s = with(items, 2);
    const struct settings_source *out[POOL_MOST];
    sources_order(s, pool(s), 7, out);
    struct settings_source *first = &s->sources[out[0] - s->sources], *second = &s->sources[out[1] - s->sources];
    assign(SETTINGS_SOURCES, first, "warm_up", "2027-01-14"); /* of NOW's week */
    left = 1;
    struct sources_choice c = sources_choose(s, pool(s), 7, NOW, goes, NULL);
    assert_true(c.verdict == SOURCES_LINE && c.source == first && left == 0);
    c = sources_choose(s, pool(s), 7, NOW, goes, NULL);
    assert_true(c.verdict == SOURCES_THIS && c.source == second);
    assert_true(sources_make_ill(SOURCES_SOURCE, span_of(second->title), NOW));
    c = sources_choose(s, pool(s), 7, NOW, goes, NULL);
    assert_true(c.verdict == SOURCES_LINE && c.source == first); /* it waits there */
    sources_forget_ill();
    assign(SETTINGS_SOURCES, second, "warm_up", "2027-01-14");
    c = sources_choose(s, pool(s), 7, NOW, goes, NULL);
    assert_true(c.verdict == SOURCES_LINE && c.source == first);
    left = 1;
    assert_true(sources_make_ill(SOURCES_SOURCE, span_of(first->title), NOW));
    c = sources_choose(s, pool(s), 7, NOW, goes, NULL);
    assert_true(c.verdict == SOURCES_LINE && c.source == second);
    assert_true(sources_make_ill(SOURCES_SOURCE, span_of(second->title), NOW + 1));
    c = sources_choose(s, pool(s), 7, NOW + 2, goes, NULL);
    assert_true(c.verdict == SOURCES_LATER && c.when == NOW + 60);
    sources_forget_ill();
    left = 0;
    assert_int_equal(sources_choose(s, pool(s), 7, NOW + 20 * 86400, goes, NULL).verdict, SOURCES_THIS); /* the plan is over */
    settings_free(s);
}

static void memory_of_what_is_ill_is_bounded(void **state)
{
    (void)state;
    char title[310];
    unsigned taken = 0;
    for (int i = 0; i < 1000; i++) {
        snprintf(title, sizeof title, "s%d", i);
        taken += sources_make_ill(SOURCES_SOURCE, span_of(title), NOW);
    }
    assert_int_equal(taken, 256);
    assert_true(sources_make_ill(SOURCES_SOURCE, SPAN_LITERAL("other"), NOW + 60));
    memset(title, 'x', sizeof title);
    assert_false(sources_make_ill(SOURCES_SOURCE, span_make(title, 300), NOW + 61));
    assert_false(sources_make_ill(SOURCES_SOURCE, SPAN_LITERAL(""), NOW + 61));
    sources_forget_ill();
}

static void a_proxy_is_not_the_source_of_that_name(void **state)
{
    (void)state;
    struct span name = SPAN_LITERAL("a");
    assert_true(sources_make_ill(SOURCES_PROXY, name, NOW));
    assert_int_equal(sources_ill_until(SOURCES_PROXY, name, NOW + 59), NOW + 60);
    assert_int_equal(sources_ill_until(SOURCES_SOURCE, name, NOW), 0);
    assert_true(sources_make_ill(SOURCES_SOURCE, name, NOW + 10));
    assert_int_equal(sources_ill_until(SOURCES_PROXY, name, NOW + 20), NOW + 60);
    assert_int_equal(sources_ill_until(SOURCES_SOURCE, name, NOW + 20), NOW + 70);
    sources_forget_ill();
}

static void without_a_pool_the_system_chooses(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    struct sources_choice c = sources_choose(s, pool_of(s, NULL), 7, NOW, goes, NULL);
    assert_true(c.verdict == SOURCES_THIS && c.source == NULL);
    settings_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_as_the_weights_say),          cmocka_unit_test(a_message_keeps_its_order_whatever_joins),
        cmocka_unit_test(what_is_ill_is_left_out_for_a_minute),   cmocka_unit_test(what_a_warm_up_does_not_take_goes_by_others),
        cmocka_unit_test(memory_of_what_is_ill_is_bounded),       cmocka_unit_test(without_a_pool_the_system_chooses),
        cmocka_unit_test(a_proxy_is_not_the_source_of_that_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
