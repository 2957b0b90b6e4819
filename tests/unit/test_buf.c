#include "common/buf.h"
#include "common/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void appends_keep_their_order(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_add_text(&b, "one");
    buf_add_char(&b, ' ');
    buf_add_span(&b, SPAN_LITERAL("two"));
    buf_printf(&b, " %d", 3);
    assert_false(b.failed);
    assert_string_equal(buf_text(&b), "one two 3");
    assert_int_equal(buf_span(&b).n, 9);
    buf_free(&b);
}

static void integers_are_little_endian(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_add_u16(&b, 0x0102);
    buf_add_u32(&b, 0x03040506);
    buf_add_u64(&b, UINT64_C(0x0708090a0b0c0d0e));
    static const unsigned char want[] = {2, 1, 6, 5, 4, 3, 0xe, 0xd, 0xc, 0xb, 0xa, 9, 8, 7};
    assert_int_equal(b.len, sizeof want);
    assert_memory_equal(b.data, want, sizeof want);
    buf_free(&b);
}

static void bound_is_exact_and_failure_sticks(void **state)
{
    (void)state;
    struct buf b = BUF_EMPTY(8);
    buf_add_text(&b, "12345678");
    assert_false(b.failed);
    buf_add_char(&b, '9');
    assert_true(b.failed);
    assert_string_equal(buf_text(&b), "12345678");
    buf_consume(&b, 8);
    buf_add_char(&b, 'x');
    assert_int_equal(b.len, 0);
    buf_clear(&b);
    buf_add_char(&b, 'x');
    assert_string_equal(buf_text(&b), "x");
    buf_free(&b);
    assert_int_equal(b.limit, 8);
}

static void printf_is_bounded_as_a_whole(void **state)
{
    (void)state;
    struct buf b = BUF_EMPTY(10);
    buf_add_text(&b, "abc");
    buf_printf(&b, "%s", "12345678");
    assert_true(b.failed);
    assert_string_equal(buf_text(&b), "abc");
    buf_clear(&b);
    buf_printf(&b, "%s", "1234567890");
    assert_false(b.failed);
    assert_string_equal(buf_text(&b), "1234567890");
    buf_free(&b);
}

static void printf_longer_than_the_room_at_hand(void **state)
{
    (void)state;
    struct buf b = {0};
    char text[301];
    memset(text, 'a', 300);
    text[300] = '\0';
    for (int i = 0; i < 20; i++)
        buf_printf(&b, "%s", text);
    assert_int_equal(b.len, 6000);
    for (size_t i = 0; i < b.len; i++)
        assert_int_equal(b.data[i], 'a');
    buf_free(&b);
}

static void huge_sizes_fail_without_wrapping(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_add_char(&b, 'x');
    assert_false(buf_reserve(&b, SIZE_MAX));
    buf_clear(&b);
    b.limit = SIZE_MAX;
    buf_add_char(&b, 'x');
    assert_false(buf_reserve(&b, SIZE_MAX - 1));
    assert_false(buf_reserve(&b, 1));
    assert_string_equal(buf_text(&b), "x");
    buf_free(&b);
}

static void default_limit_holds(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_false(buf_reserve(&b, BUF_LIMIT_DEFAULT + 1));
    assert_true(b.failed);
    buf_free(&b);
}

static void consume_drops_the_front(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_add_text(&b, "abcdef");
    buf_consume(&b, 2);
    assert_string_equal(buf_text(&b), "cdef");
    buf_consume(&b, 0);
    assert_string_equal(buf_text(&b), "cdef");
    buf_consume(&b, 100);
    assert_string_equal(buf_text(&b), "");
    buf_free(&b);
    assert_string_equal(buf_text(&b), "");
}

static bool all_zero(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static void a_secret_is_wiped_when_it_is_dropped(void **state)
{
    (void)state;
    struct buf b = {.limit = 1000, .secret = true};
    buf_add_text(&b, "secret words");
    buf_consume(&b, 7);
    assert_true(span_equal(buf_span(&b), SPAN_LITERAL("words")));
    assert_true(all_zero(b.data + 5, 7));
    for (size_t i = 0; i < 300; i++)
        buf_add_char(&b, 'x');
    assert_int_equal(b.len, 305);
    assert_memory_equal(b.data, "wordsx", 6);
    buf_clear(&b);
    assert_true(all_zero(b.data, 305));
    buf_free(&b);
    assert_true(b.secret);
    assert_int_equal(b.limit, 1000);
}

static void empty_appends_need_no_memory(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_add(&b, NULL, 0);
    buf_add_span(&b, (struct span){0});
    buf_add_text(&b, "");
    buf_printf(&b, "%s", "");
    assert_false(b.failed);
    assert_int_equal(b.len, 0);
    assert_string_equal(buf_text(&b), "");
    buf_free(&b);
}

static void spans_compare(void **state)
{
    (void)state;
    assert_true(span_equal(span_of(NULL), span_of("")));
    assert_true(span_equal_nocase(span_of("EHLO"), span_of("ehlo")));
    assert_false(span_equal(span_of("EHLO"), span_of("ehlo")));
    assert_false(span_equal_nocase(span_of("EHLO"), span_of("EHL")));
}

static void error_may_take_its_own_text(void **state)
{
    (void)state;
    struct error e;
    assert_int_equal(error_set(&e, "%s: %s", "file", "No such file"), -1);
    assert_int_equal(error_set(&e, "reload: %s", e.text), -1);
    assert_string_equal(e.text, "reload: file: No such file");
    assert_int_equal(error_set(NULL, "nobody asks"), -1);
}

static void error_is_cut_at_its_size(void **state)
{
    (void)state;
    struct error e;
    error_set(&e, "%0600d", 1);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_keep_their_order),
        cmocka_unit_test(integers_are_little_endian),
        cmocka_unit_test(bound_is_exact_and_failure_sticks),
        cmocka_unit_test(printf_is_bounded_as_a_whole),
        cmocka_unit_test(printf_longer_than_the_room_at_hand),
        cmocka_unit_test(huge_sizes_fail_without_wrapping),
        cmocka_unit_test(default_limit_holds),
        cmocka_unit_test(consume_drops_the_front),
        cmocka_unit_test(a_secret_is_wiped_when_it_is_dropped),
        cmocka_unit_test(empty_appends_need_no_memory),
        cmocka_unit_test(spans_compare),
        cmocka_unit_test(error_may_take_its_own_text),
        cmocka_unit_test(error_is_cut_at_its_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
