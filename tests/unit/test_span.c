#include "common/span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void is(struct span s, const char *text)
{
    assert_int_equal(s.n, strlen(text));
    assert_memory_equal(s.n ? s.p : "", text, s.n);
}

static void what_is_cut_off_ends_before_its_end(void **state)
{
    (void)state;
    struct span rest = SPAN_LITERAL("one\n\ntwo\nthree"), line;
    assert_true(span_cut(&rest, '\n', &line));
    is(line, "one");
    assert_true(span_cut(&rest, '\n', &line));
    is(line, "");
    assert_true(span_cut(&rest, '\n', &line));
    is(line, "two");
    is(rest, "three");
}

static void a_last_part_without_an_end_is_told_apart(void **state)
{
    (void)state;
    struct span rest = SPAN_LITERAL("three"), line;
    assert_false(span_cut(&rest, '\n', &line));
    is(line, "three");
    is(rest, "");
    assert_false(span_cut(&rest, '\n', &line));
    is(line, "");
}

static void nothing_has_one_part_and_it_is_empty(void **state)
{
    (void)state;
    struct span rest = {0}, front;
    assert_false(span_cut(&rest, ',', &front));
    is(front, "");
    is(rest, "");
}

static void a_walk_meets_each_part_once(void **state)
{
    (void)state;
    static const char *const parts[] = {"192.0.2.1", "", "2001:db8::1"};
    static const char text[] = {'1', '9', '2', '.', '0', '.', '2', '.', '1', ' ', ' ',
                                '2', '0', '0', '1', ':', 'd', 'b', '8', ':', ':', '1'};
    struct span rest = span_make(text, sizeof text); /* no NUL behind it */
    size_t n = 0;
    while (rest.n)
        is(span_until(&rest, ' '), parts[n++]);
    assert_int_equal(n, 3);
}

static void a_list_that_ends_with_its_mark_has_nothing_behind_it(void **state)
{
    (void)state;
    struct span rest = SPAN_LITERAL("a,");
    is(span_until(&rest, ','), "a");
    assert_int_equal(rest.n, 0);
}

static void octets_of_any_value_are_ends(void **state)
{
    (void)state;
    struct span rest = span_make("a\0b\xff"
                                 "c",
                                 5);
    is(span_until(&rest, '\0'), "a");
    is(span_until(&rest, '\xff'), "b");
    is(rest, "c");
}

static void blanks_are_taken_from_the_ends_alone(void **state)
{
    (void)state;
    is(span_trim(SPAN_LITERAL(" \ta b\t ")), "a b");
    is(span_trim(SPAN_LITERAL("a\r")), "a\r");
    is(span_trim(SPAN_LITERAL(" \t ")), "");
    is(span_trim((struct span){0}), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_cut_off_ends_before_its_end),
        cmocka_unit_test(a_last_part_without_an_end_is_told_apart),
        cmocka_unit_test(nothing_has_one_part_and_it_is_empty),
        cmocka_unit_test(a_walk_meets_each_part_once),
        cmocka_unit_test(a_list_that_ends_with_its_mark_has_nothing_behind_it),
        cmocka_unit_test(octets_of_any_value_are_ends),
        cmocka_unit_test(blanks_are_taken_from_the_ends_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
