/* SMTP smuggling (CVE-2023-51764, -51765, -51766 and kin), without exception: every text of up to LENGTH octets of those that matter goes
 * in behind DATA, in every two pieces, and what comes out goes on to the next host.
 *
 *   in    the text ends where the first CR LF . CR LF is (the CR LF of the DATA command counts), and nowhere else
 *   bdat  the same in chunks, where nothing in the text ends it: what comes out is a text that DATA could have brought
 *   out   CR and LF stand only as CR LF, and the first CR LF . CR LF is the end, so that no server can find another one, however it reads */
#include "delivery/stuff.h"
#include "smtpd/data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define LENGTH 7

static const char octets[] = {'\r', '\n', '.', '\0', 'x'};
static const struct data_limits refuse = {.line = 1000, .size = 100000, .hops = 50};
static const struct data_limits normalize = {.line = 1000, .size = 100000, .hops = 50, .normalize = true};

/* Where the text ends: behind the first CR LF . CR LF, if there is one. */
static size_t end_of(struct span text)
{
    for (size_t i = 0; i + 3 <= text.n; i++) {
        bool line_start = i == 0 || (i >= 2 && text.p[i - 2] == '\r' && text.p[i - 1] == '\n');
        if (line_start && memcmp(text.p + i, ".\r\n", 3) == 0)
            return i + 3;
    }
    return 0;
}

static bool pairs_only(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n'))
            return false;
        if (s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r'))
            return false;
    }
    return true;
}

/* How much of the text was taken, in two pieces. */
static size_t take(struct data *d, const struct data_limits *limits, struct span text, size_t first, struct buf *out)
{
    data_start(d, limits);
    buf_clear(out);
    size_t taken = data_take(d, span_make(text.p, first), out);
    return taken < first ? taken : taken + data_take(d, span_make(text.p + first, text.n - first), out);
}

static void look_at_output(struct span out)
{
    struct buf sent = BUF_EMPTY(0);
    struct stuff s = {0};
    assert_true(pairs_only(out));
    assert_true(stuff_add(&s, out, &sent));
    assert_true(stuff_end(&s, &sent));
    assert_true(pairs_only(buf_span(&sent)));
    assert_int_equal(end_of(buf_span(&sent)), sent.len);
    buf_free(&sent);
}

static void look_at(struct span text, const struct data_limits *limits, struct buf *out)
{
    size_t end = end_of(text);
    size_t cuts = end ? end : text.n;
    for (size_t first = 0; first <= cuts; first++) {
        struct data d;
        size_t taken = take(&d, limits, text, first, out);
        bool clean = pairs_only(span_make(text.p, end ? end : text.n));
        assert_int_equal(data_done(&d), end > 0);
        assert_int_equal(taken, end ? end : text.n);
        if (end && !limits->normalize)
            assert_int_equal(d.fault == DATA_OK, clean);
        if (end && d.fault == DATA_OK)
            look_at_output(buf_span(out));
    }
}

static void every_text(const struct data_limits *limits)
{
    struct buf out = BUF_EMPTY(0);
    char room[2 + LENGTH + 5] = "\r\n", *text = room + 2; /* by itself, and behind the end of a header, where lines may go in one piece */
    for (size_t n = 0; n <= LENGTH; n++) {
        size_t count = 1;
        for (size_t i = 0; i < n; i++)
            count *= sizeof octets;
        for (size_t which = 0; which < count; which++) {
            size_t rest = which;
            for (size_t i = 0; i < n; i++, rest /= sizeof octets)
                text[i] = octets[rest % sizeof octets];
            memcpy(text + n, "\r\n.\r\n", 5);
            look_at(span_make(text, n), limits, &out);
            look_at(span_make(text, n + 5), limits, &out);
            look_at(span_make(room, 2 + n + 5), limits, &out);
        }
    }
    buf_free(&out);
}

/* In two chunks, and a last one of nothing. */
static void look_at_chunks(struct span text, bool normalize_too, struct buf *out)
{
    struct data_limits limits = normalize_too ? normalize : refuse;
    limits.chunked = true;
    for (size_t first = 0; first <= text.n; first++) {
        struct data d;
        assert_int_equal(take(&d, &limits, text, first, out), text.n);
        data_finish(&d, out);
        assert_int_equal(d.fault == DATA_OK, normalize_too || pairs_only(text));
        if (d.fault == DATA_OK)
            look_at_output(buf_span(out));
    }
}

static void no_chunks_make_what_data_could_not(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(0);
    char text[LENGTH];
    for (size_t which = 0; which < 78125; which++) {
        size_t rest = which;
        for (size_t i = 0; i < LENGTH; i++, rest /= sizeof octets)
            text[i] = octets[rest % sizeof octets];
        for (size_t n = 0; n <= LENGTH; n += LENGTH / 2) {
            look_at_chunks(span_make(text, n), false, &out);
            look_at_chunks(span_make(text, n), true, &out);
        }
    }
    buf_free(&out);
}

static void only_one_end_when_bare_line_ends_are_refused(void **state)
{
    (void)state;
    every_text(&refuse);
}

static void only_one_end_when_bare_line_ends_are_normalized(void **state)
{
    (void)state;
    every_text(&normalize);
}

/* Whatever is in the queue, and however it came there: it leaves well formed, or not at all. */
static void nothing_else_leaves(void **state)
{
    (void)state;
    struct buf sent = BUF_EMPTY(0);
    char text[LENGTH];
    for (size_t which = 0; which < 78125; which++) {
        size_t rest = which;
        for (size_t i = 0; i < LENGTH; i++, rest /= sizeof octets)
            text[i] = octets[rest % sizeof octets];
        for (size_t first = 0; first <= LENGTH; first++) {
            struct stuff s = {0};
            buf_clear(&sent);
            bool good = stuff_add(&s, span_make(text, first), &sent) && stuff_add(&s, span_make(text + first, LENGTH - first), &sent) &&
                        stuff_end(&s, &sent);
            assert_int_equal(good, pairs_only(span_make(text, LENGTH)));
            if (!good)
                assert_int_equal(end_of(buf_span(&sent)), 0); /* what left already, ends no message */
            else
                assert_int_equal(end_of(buf_span(&sent)), sent.len);
        }
    }
    buf_free(&sent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_one_end_when_bare_line_ends_are_refused),
        cmocka_unit_test(only_one_end_when_bare_line_ends_are_normalized),
        cmocka_unit_test(no_chunks_make_what_data_could_not),
        cmocka_unit_test(nothing_else_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
