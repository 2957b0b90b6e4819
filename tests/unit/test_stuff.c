#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "delivery/stuff.h"

/* The octets that go out for `in`, given in pieces of `piece`; false: refused. */
static bool stuffed(struct span in, size_t piece, struct buf *out)
{
    struct stuff s = {0};
    buf_clear(out);
    for (size_t at = 0; at < in.n; at += piece)
        if (!stuff_add(&s, span_make(in.p + at, in.n - at < piece ? in.n - at : piece), out))
            return false;
    return stuff_end(&s, out);
}

static void expect(const char *in, const char *wanted)
{
    struct buf out = BUF_EMPTY(0);
    for (size_t piece = 1; piece <= strlen(in) + 1; piece++) {
        assert_true(stuffed(span_of(in), piece, &out));
        assert_string_equal(buf_text(&out), wanted);
    }
    buf_free(&out);
}

static void refuse(const char *in)
{
    struct buf out = BUF_EMPTY(0);
    for (size_t piece = 1; piece <= strlen(in) + 1; piece++)
        assert_false(stuffed(span_of(in), piece, &out));
    buf_free(&out);
}

static void dots_are_doubled(void **state)
{
    (void)state;
    expect("a\r\n.b\r\n..\r\n.\r\nc.d\r\n", "a\r\n..b\r\n...\r\n..\r\nc.d\r\n.\r\n");
    expect(".first\r\n", "..first\r\n.\r\n");
    expect("\r\n.\r\n\r\n", "\r\n..\r\n\r\n.\r\n");
}

static void an_end_without_a_line_end_gets_one(void **state)
{
    (void)state;
    expect("", ".\r\n");
    expect("a", "a\r\n.\r\n");
    expect("a\r\n.", "a\r\n..\r\n.\r\n");
}

static void bare_line_ends_are_refused(void **state)
{
    (void)state;
    refuse("a\nb\r\n");
    refuse("a\rb\r\n");
    refuse("\n");
    refuse("\n.\n");
    refuse("a\r\n\n");
    refuse("a\r");
    refuse("a\r\r\n");
    refuse("a\r\n.\r.\r\n");
    refuse("a\n\r\n");
    refuse("\rabc");
}

/* What comes out, undone as a server does it, is what went in; and the end of the message is seen at its end only. */
static void a_server_gets_back_what_went_in(void **state)
{
    (void)state;
    static const char *const parts[] = {".", "\r\n", "a", "..", "\r\n.\r\n", "xyz\r\n"};
    struct buf in = BUF_EMPTY(0), out = BUF_EMPTY(0), back = BUF_EMPTY(0);
    uint32_t random = 1;
    for (int round = 0; round < 2000; round++) {
        buf_clear(&in);
        buf_clear(&back);
        for (int i = 0; i < 12; i++) {
            random = random * 1664525 + 1013904223;
            buf_add_text(&in, parts[random >> 16 & 0xffff ? (random >> 16) % 6 : 0]);
        }
        buf_add_text(&in, "\r\n");
        assert_true(stuffed(buf_span(&in), 1 + (random >> 20) % 7, &out));
        const char *p = buf_text(&out), *end;
        while (strncmp(p, ".\r\n", 3) != 0) {
            end = strstr(p, "\r\n");
            assert_non_null(end);
            if (*p == '.')
                p++;
            buf_add(&back, p, (size_t)(end + 2 - p));
            p = end + 2;
        }
        assert_int_equal((size_t)(p - out.data) + 3, out.len);
        assert_true(span_equal(buf_span(&back), buf_span(&in)));
    }
    buf_free(&in);
    buf_free(&out);
    buf_free(&back);
}

/* For BDAT the octets go as they are, and are looked at all the same. */
static void lines_for_bdat_are_looked_at(void **state)
{
    (void)state;
    static const char octets[] = {'\r', '\n', '.', 'x'};
    char text[300];
    for (size_t before = 0; before <= 245; before += 49) {
        for (size_t which = 0; which < 1024; which++) {
            size_t rest = which, n = before;
            memset(text, 'x', sizeof text);
            for (int i = 0; i < 5; i++, rest /= 4)
                text[n++] = octets[rest % 4];
            struct buf out = BUF_EMPTY(0);
            for (size_t first = 0; first <= n; first += before ? 61 : 1) {
                struct stuff s = {0};
                bool good = stuff_check(&s, span_make(text, first)) && stuff_check(&s, span_make(text + first, n - first)) && !s.cr;
                bool wanted = true;
                for (size_t i = 0; i < n; i++) {
                    wanted &= text[i] != '\r' || (i + 1 < n && text[i + 1] == '\n');
                    wanted &= text[i] != '\n' || (i > 0 && text[i - 1] == '\r');
                }
                if (good != wanted || stuffed(span_make(text, n), first ? first : n, &out) != wanted)
                    fail_msg("behind %zu octets, text %zu cut at %zu", before, which, first);
            }
            buf_free(&out);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_for_bdat_are_looked_at),       cmocka_unit_test(dots_are_doubled),
        cmocka_unit_test(an_end_without_a_line_end_gets_one), cmocka_unit_test(bare_line_ends_are_refused),
        cmocka_unit_test(a_server_gets_back_what_went_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
