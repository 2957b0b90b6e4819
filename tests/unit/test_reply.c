#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "delivery/reply.h"

#include <stdio.h>
#include <stdlib.h>

static struct reply reply;

static enum reply_progress feed(const char *text, size_t *used)
{
    reply_begin(&reply);
    return reply_feed(&reply, span_of(text), used);
}

static void expect_text(const char *in, const char *wanted)
{
    size_t used;
    struct buf out = BUF_EMPTY(0);
    assert_int_equal(feed(in, &used), REPLY_WHOLE);
    reply_text(&reply, &out);
    assert_string_equal(buf_text(&out), wanted);
    buf_free(&out);
}

static void expect_status(const char *in, char class, bool lenient, const char *wanted)
{
    size_t used;
    char status[STATUS_MAX];
    assert_int_equal(feed(in, &used), REPLY_WHOLE);
    reply_status(&reply, class, lenient, status);
    assert_string_equal(status, wanted);
}

static void single_line(void **state)
{
    (void)state;
    size_t used;
    assert_int_equal(feed("250 ok\r\n220 more", &used), REPLY_WHOLE);
    assert_int_equal(used, 8);
    assert_int_equal(reply.code, 250);
    assert_int_equal(feed("354\r\n", &used), REPLY_WHOLE);
    assert_int_equal(reply.code, 354);
    assert_int_equal(feed("250 bare\n", &used), REPLY_WHOLE);
    assert_int_equal(used, 9);
    reply_free(&reply);
}

static bool is_cut(struct span in, unsigned code)
{
    size_t used;
    reply_begin(&reply);
    enum reply_progress progress = reply_feed(&reply, in, &used);
    bool cut = progress == REPLY_BAD && reply.cut && reply.code == code;
    reply_free(&reply);
    return cut;
}

/* What is wrong with a reply is its length alone, or something else, too. */
static void cut(void **state)
{
    (void)state;
    static char text[REPLY_MAX + 4096];
    struct buf many = BUF_EMPTY(0);
    memset(text, 'x', sizeof text);
    memcpy(text, "250 ", 4);
    assert_true(is_cut(span_make(text, REPLY_LINE_MAX), 250));
    memcpy(text, "250x", 4);
    assert_false(is_cut(span_make(text, REPLY_LINE_MAX), 250));
    memcpy(text, "250-a\r\n250-", 11);
    assert_true(is_cut(span_make(text, 7 + REPLY_LINE_MAX), 250));
    memcpy(text, "250-a\r\n550-", 11);
    assert_false(is_cut(span_make(text, 7 + REPLY_LINE_MAX), 250));
    for (size_t i = 0; i < sizeof text - 8; i += 1000)
        memcpy(text + i, "\r\n550-", 6);
    assert_true(is_cut(span_make(text + 2, sizeof text - 2), 550));
    for (int i = 0; i <= REPLY_LINES_MAX; i++)
        buf_add_text(&many, "354-a\r\n");
    assert_true(is_cut(buf_span(&many), 354));
    buf_free(&many);
    assert_false(is_cut(SPAN_LITERAL("x\r\n"), 0));
}

static void multi_line(void **state)
{
    (void)state;
    size_t used, at = 0;
    struct span line;
    assert_int_equal(feed("250-mx.example\r\n250-SIZE 10\n250 DSN\r\n", &used), REPLY_WHOLE);
    assert_int_equal(reply.line_count, 3);
    assert_true(reply_line(&reply, &at, &line) && span_equal(line, SPAN_LITERAL("mx.example")));
    assert_true(reply_line(&reply, &at, &line) && span_equal(line, SPAN_LITERAL("SIZE 10")));
    assert_true(reply_line(&reply, &at, &line) && span_equal(line, SPAN_LITERAL("DSN")));
    assert_false(reply_line(&reply, &at, &line));
    reply_free(&reply);
}

static void an_unfinished_reply_wants_more(void **state)
{
    (void)state;
    size_t used;
    assert_int_equal(feed("25", &used), REPLY_MORE);
    assert_int_equal(used, 0);
    assert_int_equal(feed("250-a\r\n250-b", &used), REPLY_MORE);
    assert_int_equal(used, 7);
    assert_int_equal(feed("", &used), REPLY_MORE);
    reply_free(&reply);
}

static void any_split_gives_the_same(void **state)
{
    (void)state;
    static const char text[] = "550-5.1.1 no\r\n550-5.1.1 such\n550 5.1.1 user\r\n";
    for (size_t cut = 0; cut < sizeof text; cut++) {
        size_t used;
        struct buf out = BUF_EMPTY(0);
        reply_begin(&reply);
        enum reply_progress progress = reply_feed(&reply, span_make(text, cut), &used);
        if (progress == REPLY_MORE) {
            size_t second;
            progress = reply_feed(&reply, span_make(text + used, sizeof text - 1 - used), &second);
            used += second;
        }
        assert_int_equal(progress, REPLY_WHOLE);
        assert_int_equal(used, sizeof text - 1);
        reply_text(&reply, &out);
        assert_string_equal(buf_text(&out), "550 5.1.1 no such user");
        buf_free(&out);
    }
    reply_free(&reply);
}

static void garbage_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"hello\r\n", "25 ok\r\n",   "150 preliminary\r\n",    "600 what\r\n", "250x\r\n",    "\r\n",
                                      "25\r\n",    "2500 ok\r\n", "250-a\r\n550 other\r\n", " 250 ok\r\n",  "-250 ok\r\n", "250_ok\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t used;
        assert_int_equal(feed(bad[i], &used), REPLY_BAD);
        assert_non_null(reply.wrong);
    }
    reply_free(&reply);
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    size_t used;
    char *text = malloc(REPLY_MAX * 2);
    assert_non_null(text);
    memset(text, 'x', REPLY_MAX);
    memcpy(text, "250 ", 4);
    reply_begin(&reply);
    assert_int_equal(reply_feed(&reply, span_make(text, REPLY_LINE_MAX - 1), &used), REPLY_MORE);
    assert_int_equal(reply_feed(&reply, span_make(text, REPLY_LINE_MAX), &used), REPLY_BAD);
    text[REPLY_LINE_MAX - 1] = '\n';
    reply_begin(&reply);
    assert_int_equal(reply_feed(&reply, span_make(text, REPLY_LINE_MAX), &used), REPLY_WHOLE);
    text[REPLY_LINE_MAX - 1] = 'x';
    text[REPLY_LINE_MAX] = '\n';
    reply_begin(&reply);
    assert_int_equal(reply_feed(&reply, span_make(text, REPLY_LINE_MAX + 1), &used), REPLY_BAD);

    enum reply_progress progress = REPLY_MORE;
    size_t lines = 0;
    for (reply_begin(&reply); progress == REPLY_MORE; lines++)
        progress = reply_feed(&reply, SPAN_LITERAL("250-a\r\n"), &used);
    assert_int_equal(progress, REPLY_BAD);
    assert_int_equal(lines, REPLY_LINES_MAX + 1);

    text[3] = '-';
    text[1023] = '\n';
    progress = REPLY_MORE;
    for (lines = 0, reply_begin(&reply); progress == REPLY_MORE; lines++)
        progress = reply_feed(&reply, span_make(text, 1024), &used);
    assert_int_equal(progress, REPLY_BAD);
    assert_int_equal(lines, REPLY_MAX / 1024 + 1);
    free(text);
    reply_free(&reply);
}

static void status_codes(void **state)
{
    (void)state;
    expect_status("550 5.1.1 no such user\r\n", '5', false, "5.1.1");
    expect_status("550 no such user\r\n", '5', false, "5.0.0");
    expect_status("450 5.1.1 inconsistent\r\n", '4', false, "4.0.0");
    expect_status("552 5.2.2 full\r\n", '4', true, "4.2.2");
    expect_status("250 2.0.0\r\n", '2', false, "2.0.0");
    expect_status("550 5.123.999 x\r\n", '5', false, "5.123.999");
    expect_status("550 5.1234.1 x\r\n", '5', false, "5.0.0");
    expect_status("550 5.1.1234 x\r\n", '5', false, "5.0.0");
    expect_status("550 5.1.1: x\r\n", '5', false, "5.0.0");
    expect_status("550 5..1 x\r\n", '5', false, "5.0.0");
    expect_status("550 5.1\r\n", '5', false, "5.0.0");
    expect_status("550\r\n", '5', false, "5.0.0");
    reply_free(&reply);
}

static void texts(void **state)
{
    (void)state;
    expect_text("550 5.1.1 no such user\r\n", "550 5.1.1 no such user");
    expect_text("550\r\n", "550");
    expect_text("550-5.7.1 a\r\n550-5.7.1  b \r\n550 c\r\n", "550 5.7.1 a b c");
    expect_text("550-5.7.1 a\r\n550 5.7.2 b\r\n", "550 5.7.1 a 5.7.2 b");
    expect_text("550-a\r\n550-\r\n550 \r\n", "550 a");
    expect_text("550 a\tb\x01\x7f\xc3\xa9\r\r\n", "550 a b?????");
    reply_free(&reply);
}

static void text_is_cut(void **state)
{
    (void)state;
    size_t used;
    char text[1500];
    struct buf out = BUF_EMPTY(0);
    memset(text, 'y', sizeof text);
    memcpy(text, "550 ", 4);
    text[sizeof text - 1] = '\n';
    reply_begin(&reply);
    assert_int_equal(reply_feed(&reply, span_make(text, sizeof text), &used), REPLY_WHOLE);
    reply_text(&reply, &out);
    assert_int_equal(out.len, REPLY_TEXT_MAX);
    buf_free(&out);
    reply_free(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_line),
        cmocka_unit_test(multi_line),
        cmocka_unit_test(cut),
        cmocka_unit_test(an_unfinished_reply_wants_more),
        cmocka_unit_test(any_split_gives_the_same),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(status_codes),
        cmocka_unit_test(texts),
        cmocka_unit_test(text_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
