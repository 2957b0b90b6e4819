/* Moments as RFC 3339 has them. */
#include "common/date.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void what_is_a_moment_and_what_is_none(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t seconds; /* 0: none */
    } table[] = {
        {"1970-01-01T00:00:01Z", 1},
        {"2000-02-29T12:00:00Z", 951825600},
        {"2026-11-22T06:38:25Z", 1795329505},
        {"2026-11-22t06:38:25z", 1795329505},
        {"2026-11-22T06:38:25.0Z", 1795329505},
        {"2026-11-22T06:38:25.000001Z", 1795329506},
        {"2016-12-31T23:59:60Z", 1483228800}, /* a leap second */
        {"2024-02-29T00:00:00Z", 1709164800},
        {"2105-12-31T23:59:59Z", 4291747199},
        {"2038-01-19T03:14:08Z", 2147483648},
        {"2023-02-29T00:00:00Z", 0},
        {"2100-02-29T00:00:00Z", 0},
        {"2026-04-31T00:00:00Z", 0},
        {"2026-00-10T00:00:00Z", 0},
        {"2026-13-10T00:00:00Z", 0},
        {"2026-11-00T00:00:00Z", 0},
        {"2026-11-22T24:00:00Z", 0},
        {"2026-11-22T06:60:00Z", 0},
        {"2026-11-22T06:38:61Z", 0},
        {"2026-11-22T06:38:60Z", 0},
        {"1969-12-31T23:59:59Z", 0},
        {"2106-01-01T00:00:00Z", 0},
        {"9999-12-31T23:59:59Z", 0},
        {"2026-11-22T06:38:25", 0},
        {"2026-11-22T06:38:25+00:00", 0},
        {"2026-11-22T06:38:25-01:00", 0},
        {"2026-11-22T06:38:25.Z", 0},
        {"2026-11-22T06:38:25.5", 0},
        {"2026-11-22T06:38:25ZZ", 0},
        {"2026-11-22 06:38:25Z", 0},
        {"2026/11/22T06:38:25Z", 0},
        {"2026-11-2 T06:38:25Z", 0},
        {"+026-11-22T06:38:25Z", 0},
        {"", 0},
        {"Z", 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        size_t n = strlen(table[i].text);
        char *exact = malloc(n + 1); /* nothing behind its end is looked at */
        uint64_t seconds = 0;
        memcpy(exact, table[i].text, n);
        exact = realloc(exact, n ? n : 1);
        bool is = date_parse(span_make(exact, n), &seconds);
        if (is != (table[i].seconds != 0) || (is && seconds != table[i].seconds))
            fail_msg("%s: %d %llu", table[i].text, is, (unsigned long long)seconds);
        free(exact);
    }
}

static void what_is_written_is_read_as_the_same(void **state)
{
    (void)state;
    char text[DATE_TEXT];
    for (uint64_t t = 1; t < 4291747199; t += 7654321) {
        uint64_t again;
        date_format(t, text);
        assert_true(date_parse(span_of(text), &again));
        assert_int_equal(again, t);
    }
    date_format(UINT64_MAX, text);
    assert_string_equal(text, "2105-12-31T23:59:59Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_a_moment_and_what_is_none),
        cmocka_unit_test(what_is_written_is_read_as_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
