/* base64 of AUTH. */
#include "common/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void base64_is_strict(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; /* NULL: refused */
    } table[] = {
        {"", ""},           {"Zg==", "f"},      {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"Zm9vYmE=", "fooba"}, {"+/+/", "\xfb\xff\xbf"},
        {"Zg=", NULL},      {"Zg", NULL},       {"Zh==", NULL}, {"Zm9=", NULL},  {"Zm 9", NULL},        {"====", NULL},
        {"Z===", NULL},     {"Zg==Zg==", NULL}, {"Z=g=", NULL}, {"Zm9v=", NULL}, {"-_-_", NULL},        {"Zm9v\r\n", NULL},
        {"Zm9v====", NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct buf out = {0};
        bool ok = base64_decode(span_of(table[i].in), &out);
        if (ok != (table[i].out != NULL))
            fail_msg("%s: %d", table[i].in, ok);
        if (ok)
            assert_true(span_equal(buf_span(&out), span_of(table[i].out)));
        buf_free(&out);
    }
}

static void encoding_turns_it_back(void **state)
{
    (void)state;
    char octets[64];
    for (size_t i = 0; i < sizeof octets; i++)
        octets[i] = (char)(i * 37 + 200);
    for (size_t n = 0; n <= sizeof octets; n++) {
        struct buf text = {0}, back = {0};
        base64_encode(span_make(octets, n), &text);
        assert_int_equal(text.len, (n + 2) / 3 * 4);
        assert_true(base64_decode(buf_span(&text), &back));
        assert_true(span_equal(buf_span(&back), span_make(octets, n)));
        buf_free(&text);
        buf_free(&back);
    }
}

/* CVE-2018-6789: text of a length that is no multiple of four made more octets than the buffer was computed for. Here a buffer of exactly
 * n / 4 * 3 octets is never outgrown, whatever the length. */
static void cve_2018_6789_lengths(void **state)
{
    (void)state;
    char text[200];
    memset(text, 'A', sizeof text);
    for (size_t n = 0; n <= sizeof text; n++) {
        struct buf out = BUF_EMPTY(n < 4 ? 1 : n / 4 * 3);
        char *exact = malloc(n ? n : 1); /* AddressSanitizer sees a read behind it */
        memcpy(exact, text, n);
        bool ok = base64_decode(span_make(exact, n), &out);
        assert_int_equal(ok, n % 4 == 0);
        assert_false(out.failed);
        assert_int_equal(out.len, ok ? n / 4 * 3 : 0);
        free(exact);
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_is_strict),
        cmocka_unit_test(encoding_turns_it_back),
        cmocka_unit_test(cve_2018_6789_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
