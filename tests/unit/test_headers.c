/* The header parser of sendmail: address lists as people and programs write them, well and badly. */
#include "admin/headers.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>

static bool join(struct span address, void *arg, struct error *error)
{
    struct buf *b = arg;
    (void)error;
    if (b->len)
        buf_add_char(b, '|');
    buf_add_span(b, address);
    return true;
}

struct list_case {
    const char *value, *wanted; /* wanted NULL: refused */
};

static void address_lists(void **state)
{
    (void)state;
    static const struct list_case cases[] = {
        {"", ""},
        {" \r\n\t ", ""},
        {"a@b.example", "a@b.example"},
        {" a@b.example ,c@d.example", "a@b.example|c@d.example"},
        {"a", "a"},
        {"root, postmaster", "root|postmaster"},
        {"<a@b.example>", "a@b.example"},
        {"Alice <a@b.example>, Bob <c@d.example>", "a@b.example|c@d.example"},
        {"\"Smith, John\" <a@b.example>", "a@b.example"},
        {"\"a \\\" , <x@y.example>\" <a@b.example>", "a@b.example"},
        {"John Q. Public <a@b.example>", "a@b.example"},
        {"x@y.example <a@b.example>", "a@b.example"},
        {"\xc3\xa9t\xc3\xa9 <a@b.example>", "a@b.example"},
        {"=?utf-8?Q?a=2C?= <a@b.example>", "a@b.example"},
        {"a@b.example (Alice, of b)", "a@b.example"},
        {"(x@y.example) a@b.example", "a@b.example"},
        {"(one (two \\) three) , ) a@b.example", "a@b.example"},
        {"a(x)@(y)b.example", "a@b.example"},
        {"a . b @ c . example", "a.b@c.example"},
        {"a@b.\r\n example", "a@b.example"},
        {"Alice\r\n\t<a@b.example>,\n Bob <c@d.example>", "a@b.example|c@d.example"},
        {"\"john doe\"@b.example", "\"john doe\"@b.example"},
        {"\"a@b\"@c.example", "\"a@b\"@c.example"},
        {"a@[192.0.2.1]", "a@[192.0.2.1]"},
        {"<@x.example,@y.example:a@b.example>", "a@b.example"},
        {"<@x.example:a@b.example>", "a@b.example"},
        {"friends: a@b.example, Bob <c@d.example>;", "a@b.example|c@d.example"},
        {"friends:a@b.example;, e@f.example", "a@b.example|e@f.example"},
        {"undisclosed-recipients:;", ""},
        {"\"the (un)disclosed\": ;", ""},
        {"friends: ;, a@b.example", "a@b.example"},
        {"friends: a@b.example", "a@b.example"},
        {",,a@b.example,,", "a@b.example"},
        {"a@b.example; c@d.example", "a@b.example|c@d.example"},
        {"<>", ""},
        {"a@b.example c@d.example", NULL},
        {"Alice", "Alice"},
        {"Alice Smith", NULL},
        {"<a@b.example> Alice", NULL},
        {"<a@b.example> <c@d.example>", NULL},
        {"Alice <a@b.example", NULL},
        {"Alice <a@b.example, c@d.example>", NULL},
        {"Alice <x:a@b.example>", NULL},
        {"a@b.example>", NULL},
        {"a: b: c@d.example;;", NULL},
        {"\"a@b.example", NULL},
        {"(a@b.example", NULL},
        {"a@b.example)", NULL},
        {"a@[192.0.2.1", NULL},
        {"@b.example", NULL},
        {"a@", NULL},
        {"a@b@c.example", NULL},
        {"a..b@c.example", NULL},
        {"a\\b@c.example", NULL},
        {"a@b.example\x01", NULL},
        {"a\x7f@b.example", NULL},
        {"a@b .example c", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf got = BUF_EMPTY(4096);
        struct error error;
        int status = headers_addresses(span_of(cases[i].value), join, &got, &error);
        if ((status == 0) != (cases[i].wanted != NULL) || (cases[i].wanted && strcmp(buf_text(&got), cases[i].wanted) != 0))
            fail_msg("\"%s\": status %d, got \"%s\" %s", cases[i].value, status, buf_text(&got), status ? error.text : "");
        buf_free(&got);
    }
}

static void nul_and_depth_and_length(void **state)
{
    (void)state;
    struct buf got = BUF_EMPTY(4096), in = BUF_EMPTY(1 << 20);
    struct error error;
    assert_int_equal(headers_addresses(SPAN_LITERAL("a\0@b.example"), join, &got, &error), -1);
    for (int i = 0; i < 100000; i++)
        buf_add_char(&in, '(');
    assert_int_equal(headers_addresses(buf_span(&in), join, &got, &error), -1);
    buf_clear(&in);
    for (int i = 0; i < 100000; i++)
        buf_add_text(&in, "a.");
    buf_add_text(&in, "a@b.example");
    assert_int_equal(headers_addresses(buf_span(&in), join, &got, &error), -1);
    buf_clear(&in);
    for (int i = 0; i < 2000; i++) /* a display name may be as long as it likes */
        buf_add_text(&in, "very ");
    buf_add_text(&in, "<a@b.example>");
    assert_int_equal(headers_addresses(buf_span(&in), join, &got, &error), 0);
    assert_string_equal(buf_text(&got), "a@b.example");
    buf_free(&got);
    buf_free(&in);
}

static void errors_do_not_reach_the_terminal_raw(void **state)
{
    (void)state;
    struct error error;
    struct buf got = BUF_EMPTY(4096);
    assert_int_equal(headers_addresses(span_of("a b, \x1b[2J\r\n x"), join, &got, &error), -1);
    assert_null(strchr(error.text, 0x1b));
    assert_null(strchr(error.text, '\n'));
    buf_free(&got);
}

static void split(const char *message, const char *header, const char *body)
{
    struct span rest;
    struct span h = headers_split(span_of(message), &rest);
    if (!span_equal(h, span_of(header)) || !span_equal(rest, span_of(body)))
        fail_msg("\"%s\": header \"%.*s\", body \"%.*s\"", message, SPAN_ARG(h), SPAN_ARG(rest));
}

static void header_and_body(void **state)
{
    (void)state;
    split("To: a\n\nbody\n", "To: a\n", "body\n");
    split("To: a\r\n\r\nbody\r\n", "To: a\r\n", "body\r\n");
    split("To: a\n b\nCc: c\n\n\nbody", "To: a\n b\nCc: c\n", "\nbody");
    split("To: a\n", "To: a\n", "");
    split("To: a", "To: a", "");
    split("\nTo: a\n", "", "To: a\n");
    split("hello world\n", "", "hello world\n");
    split(" folded: nothing\n", "", " folded: nothing\n");
    split("To: a\nno field here\nCc: b\n", "To: a\n", "no field here\nCc: b\n");
    split("From a@b Mon Jan  1 00:00:00 2024\nTo: a\n\nx", "To: a\n", "x");
    split(">From a@b Mon\nTo: a\n\nx", "To: a\n", "x");
    split("From : a@b\n\nx", "From : a@b\n", "x");
    split("", "", "");
}

static void recipients(const char *header, const char *wanted)
{
    struct buf got = BUF_EMPTY(4096);
    struct error error = {""};
    int status = headers_recipients(span_of(header), join, &got, &error);
    if ((status == 0) != (wanted != NULL) || (wanted && strcmp(buf_text(&got), wanted) != 0))
        fail_msg("\"%s\": %d, \"%s\" %s", header, status, buf_text(&got), error.text);
    buf_free(&got);
}

static void whose_the_recipients_are(void **state)
{
    (void)state;
    recipients("to: a@x.example\nSubject: To: z@x.example\nCC: b@x.example\nBcc: c@x.example,\n d@x.example\nTo: e@x.example\n",
               "a@x.example|b@x.example|c@x.example|d@x.example|e@x.example");
    recipients("To: a@x.example\nResent-To: b@x.example\nResent-Bcc: c@x.example\n", "b@x.example|c@x.example");
    recipients("To: a@x.example\nResent-From: b@x.example\n", "");
    recipients("To : a@x.example\n", "a@x.example");
    recipients("X-To: a@x.example\nReply-To: b@x.example\n", "");
    recipients("To: a@x.example\nCc: broken <\n", NULL);
}

static void phrase(const char *name, const char *wanted)
{
    struct buf got = BUF_EMPTY(4096);
    headers_phrase(span_of(name), &got);
    assert_string_equal(buf_text(&got), wanted);
    buf_free(&got);
}

static void display_names(void **state)
{
    (void)state;
    phrase("Alice Smith", "Alice Smith");
    phrase("Smith, J.", "\"Smith, J.\"");
    phrase("a \"b\" \\", "\"a \\\"b\\\" \\\\\"");
    phrase("a\r\nBcc: x", "\"aBcc: x\"");
    phrase("J\xc3\xb6rg M", "=?UTF-8?Q?J=C3=B6rg_M?=");
    struct buf got = BUF_EMPTY(4096);
    char name[401];
    for (size_t i = 0; i < 400; i += 2)
        memcpy(name + i, "\xc3\xb6", 2);
    headers_phrase(span_make(name, 400), &got);
    const char *text = buf_text(&got);
    for (const char *word = text; word; word = strchr(word, ' ')) {
        word += *word == ' ';
        size_t n = strcspn(word, " ");
        assert_true(n <= 75);
        assert_memory_equal(word + n - 5, "=B6?=", 5); /* no character is cut */
    }
    buf_free(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(address_lists),
        cmocka_unit_test(nul_and_depth_and_length),
        cmocka_unit_test(errors_do_not_reach_the_terminal_raw),
        cmocka_unit_test(header_and_body),
        cmocka_unit_test(whose_the_recipients_are),
        cmocka_unit_test(display_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
