/* The text behind DATA: what comes out, what is refused, and that cuts in the input change nothing. */
#include "smtpd/data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NUL_TEXT "a\0b\r\n"

struct expectation {
    const char *in;
    size_t n;
    const char *out;
    size_t out_n;
    enum data_fault fault;
    bool normalize;
    bool open; /* the end does not come */
};

#define IN(text)  (text), sizeof(text) - 1
#define OUT(text) (text), sizeof(text) - 1

static const struct expectation table[] = {
    {IN(".\r\n"), OUT(""), DATA_OK, false, false},
    {IN("hello\r\n.\r\n"), OUT("hello\r\n"), DATA_OK, false, false},
    {IN("\r\n.\r\n"), OUT("\r\n"), DATA_OK, false, false},
    {IN("..\r\n.\r\n"), OUT(".\r\n"), DATA_OK, false, false},
    {IN("..a\r\n.b\r\n.\r\n"), OUT(".a\r\nb\r\n"), DATA_OK, false, false},
    {IN("a.\r\n.\r\n"), OUT("a.\r\n"), DATA_OK, false, false},
    {IN(NUL_TEXT ".\r\n"), OUT(NUL_TEXT), DATA_OK, false, false},
    {IN("\xff\xfe\r\n.\r\n"), OUT("\xff\xfe\r\n"), DATA_OK, false, false},
    /* Smuggling: nothing but CR LF . CR LF is an end. */
    {IN("a\n.\n"), OUT(""), DATA_BARE_LF, false, true},
    {IN("a\n.\r\nMAIL FROM:<>\r\n.\r\n"), OUT(""), DATA_BARE_LF, false, false},
    {IN("a\r\n.\nQUIT\r\n.\r\n"), OUT(""), DATA_BARE_LF, false, false},
    {IN("a\r.\r\r\n.\r\n"), OUT(""), DATA_BARE_CR, false, false},
    {IN("a\r\n.\r.\r\n.\r\n"), OUT(""), DATA_BARE_CR, false, false},
    {IN("a\r\n.\r\r\n.\r\n"), OUT(""), DATA_BARE_CR, false, false},
    /* Normalized. */
    {IN("a\nb\r\n.\r\n"), OUT("a\r\nb\r\n"), DATA_OK, true, false},
    {IN("a\n.\r\nb\r\n.\r\n"), OUT("a\r\n.\r\nb\r\n"), DATA_OK, true, false},
    {IN("a\n..b\r\n.\r\n"), OUT("a\r\n..b\r\n"), DATA_OK, true, false},
    {IN("a\r\n.\nb\r\n.\r\n"), OUT("a\r\n\r\nb\r\n"), DATA_OK, true, false},
    {IN("a\rb\r\r\n.\r\n"), OUT("a b \r\n"), DATA_OK, true, false},
    {IN("a\r\n.\r.\r\n.\r\n"), OUT("a\r\n .\r\n"), DATA_OK, true, false},
    {IN("a\n.\n"), OUT("a\r\n.\r\n"), DATA_OK, true, true},
    /* Limits: a line of 20 with CR LF, 60 octets, 2 hops. */
    {IN("123456789012345678\r\n.\r\n"), OUT("123456789012345678\r\n"), DATA_OK, false, false},
    {IN("1234567890123456789\r\n.\r\n"), OUT(""), DATA_LINE_TOO_LONG, false, false},
    {IN("123456789012345678\r\n123456789012345678\r\n123456789012345678\r\n.\r\n"),
     OUT("123456789012345678\r\n123456789012345678\r\n123456789012345678\r\n"), DATA_OK, false, false},
    {IN("123456789012345678\r\n123456789012345678\r\n123456789012345678\r\nx\r\n.\r\n"), OUT(""), DATA_TOO_LARGE, false, false},
    {IN("Received: a\r\nRECEIVED: b\r\n\r\nReceived: c\r\n.\r\n"), OUT("Received: a\r\nRECEIVED: b\r\n\r\nReceived: c\r\n"), DATA_OK, false,
     false},
    {IN("Received: a\r\nReceived: b\r\nreceived:c\r\n\r\n.\r\n"), OUT(""), DATA_LOOP, false, false},
    {IN("X: a\r\n Received: b\r\n Received: c\r\n"), OUT("X: a\r\n Received: b\r\n Received: c\r\n"), DATA_OK, false, true},
};

static void run(const struct expectation *e, size_t step, struct data *d, struct buf *out)
{
    struct data_limits limits = {.line = 20, .size = 60, .hops = 2, .normalize = e->normalize};
    data_start(d, &limits);
    for (size_t at = 0; at < e->n && !data_done(d);) {
        size_t n = e->n - at < step ? e->n - at : step;
        size_t before = out->len;
        size_t taken = data_take(d, span_make(e->in + at, n), out);
        assert_true(taken == n || data_done(d));
        assert_true(out->len - before <= 2 * n + 2);
        at += taken;
        assert_true(!data_done(d) || at == e->n);
    }
}

static void texts_are_decoded_however_they_are_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct expectation *e = &table[i];
        for (size_t step = 1; step <= e->n; step++) {
            struct data d;
            struct buf out = {0};
            run(e, step, &d, &out);
            if (d.fault != e->fault || data_done(&d) == e->open)
                fail_msg("text %zu cut by %zu: fault %d, done %d", i, step, d.fault, data_done(&d));
            if (e->fault == DATA_OK && !span_equal(buf_span(&out), span_make(e->out, e->out_n)))
                fail_msg("text %zu cut by %zu: got %.*s", i, step, SPAN_ARG(buf_span(&out)));
            if (e->fault == DATA_OK)
                assert_int_equal(d.size, e->out_n);
            buf_free(&out);
        }
    }
}

static struct data decode(struct span in)
{
    struct data d;
    struct buf out = {0};
    data_start(&d, &(struct data_limits){.line = 1000, .size = 100000, .hops = 50});
    data_take(&d, in, &out);
    buf_free(&out);
    return d;
}

/* Texts made of everything that means something, whole and octet by octet: whole lines take another way than pieces of them. */
static void whole_lines_and_single_octets_give_the_same(void **state)
{
    (void)state;
    static const char *const words[] = {"\r\n", "\r\n", "\r\n",    "\n", "\r", ".", "..", "a", "12345678", "123456789012345678",
                                        "\xe9", "X: y", "\r\n\r\n"};
    unsigned seed = 1;
    for (int i = 0; i < 20000; i++) {
        bool longer = i % 16 == 15; /* than the others */
        struct data_limits limits = {.line = longer ? 1000 : 20,
                                     .size = longer  ? 10000
                                             : i % 3 ? 1000
                                                     : 60,
                                     .hops = 2,
                                     .normalize = i % 2,
                                     .chunked = i % 7 == 0};
        struct buf text = BUF_EMPTY(0), whole = BUF_EMPTY(0), single = BUF_EMPTY(0);
        struct data a, b;
        if (i % 5)
            buf_add_text(&text, "X: y\r\n\r\n");
        for (int k = 0; k < (longer ? 150 : 12); k++)
            buf_add_text(&text, words[(size_t)rand_r(&seed) % (sizeof words / sizeof words[0]) % (i % 4 ? 13 : 3 + 10 * (size_t)(k % 2))]);
        data_start(&a, &limits);
        data_start(&b, &limits);
        size_t taken = data_take(&a, buf_span(&text), &whole), at = 0;
        while (at < text.len && !data_done(&b))
            at += data_take(&b, span_make(text.data + at, 1), &single);
        assert_int_equal(taken, at);
        assert_int_equal(a.fault, b.fault);
        assert_int_equal(a.size, b.size);
        assert_int_equal(a.eight_bit, b.eight_bit);
        assert_int_equal(a.header_text, b.header_text);
        assert_int_equal(data_done(&a), data_done(&b));
        assert_true(a.fault != DATA_OK || span_equal(buf_span(&whole), buf_span(&single)));
        buf_free(&text);
        buf_free(&whole);
        buf_free(&single);
    }
}

/* A text in chunks, cut by `step`, to its end. */
static void take_chunks(struct span in, size_t step, const struct data_limits *limits, struct data *d, struct buf *out)
{
    data_start(d, limits);
    for (size_t at = 0; at < in.n; at += step)
        assert_int_equal(data_take(d, span_make(in.p + at, in.n - at < step ? in.n - at : step), out), in.n - at < step ? in.n - at : step);
    assert_false(data_done(d));
    data_finish(d, out);
    assert_true(data_done(d));
}

static void chunks_have_no_dots_and_no_end_of_their_own(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        enum data_fault fault;
        bool normalize;
    } texts[] = {
        {"", "", DATA_OK, false},
        {".\r\n", ".\r\n", DATA_OK, false},
        {"a\r\n.\r\nb\r\n", "a\r\n.\r\nb\r\n", DATA_OK, false},
        {"a: b\r\n\r\n..\r\n.\r\n.c\r\n", "a: b\r\n\r\n..\r\n.\r\n.c\r\n", DATA_OK, false},
        {"a", "a\r\n", DATA_OK, false},
        {"a: b\r\n\r\nc", "a: b\r\n\r\nc\r\n", DATA_OK, false},
        {"a\r", "", DATA_BARE_CR, false},
        {"a\r", "a \r\n", DATA_OK, true},
        {"a\n", "", DATA_BARE_LF, false},
        {"a\n", "a\r\n", DATA_OK, true},
        {"a\n.\n", "", DATA_BARE_LF, false},
        {"a\n.\r\n", "a\r\n.\r\n", DATA_OK, true},
        {"123456789012345678", "123456789012345678\r\n", DATA_OK, false},
        {"1234567890123456789", "", DATA_LINE_TOO_LONG, false},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (size_t step = 1; step <= strlen(texts[i].in) + 1; step++) {
            struct data_limits limits = {.line = 20, .size = 60, .hops = 2, .normalize = texts[i].normalize, .chunked = true};
            struct data d;
            struct buf out = {0};
            take_chunks(span_of(texts[i].in), step, &limits, &d, &out);
            if (d.fault != texts[i].fault || (d.fault == DATA_OK && strcmp(buf_text(&out), texts[i].out) != 0))
                fail_msg("text %zu cut by %zu: fault %d, %s", i, step, d.fault, buf_text(&out));
            buf_free(&out);
        }
    }
}

static void binary_texts_are_octets_behind_their_header(void **state)
{
    (void)state;
    static const char text[] = "a: b\r\n\r\n\r.\n\0\r\r\n.\r\n0123456789012345678901234567890\r";
    struct data_limits limits = {.line = 20, .size = 100, .hops = 2, .chunked = true, .binary = true};
    for (size_t n = 8; n < sizeof text; n++) {
        for (size_t step = 1; step <= n; step++) {
            struct data d;
            struct buf out = {0};
            take_chunks(span_make(text, n), step, &limits, &d, &out);
            assert_int_equal(d.fault, DATA_OK);
            assert_true(span_equal(buf_span(&out), span_make(text, n)));
            assert_int_equal(d.size, n);
            buf_free(&out);
        }
    }
}

static enum header_text header_of(const char *text, size_t step)
{
    struct data d;
    struct buf out = {0};
    data_start(&d, &(struct data_limits){.line = 1000, .size = 100000, .hops = 50});
    for (size_t at = 0, n = strlen(text); at < n && !data_done(&d); at += step)
        data_take(&d, span_make(text + at, n - at < step ? n - at : step), &out);
    assert_true(data_done(&d));
    buf_free(&out);
    return d.header_text;
}

static void a_header_beyond_ascii_is_told_from_its_body(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum header_text kind;
    } texts[] = {
        {"Subject: x\r\n\r\nj\xc3\xb6rg\r\n.\r\n", HEADER_ASCII},
        {"Subject: j\xc3\xb6rg\r\n\r\nx\r\n.\r\n", HEADER_UTF8},
        {"A: b\r\n\xf0\x9f\x98\x80: \xe2\x82\xac\r\n\r\n\xff\r\n.\r\n", HEADER_UTF8},
        {"Subject: j\xf6rg\r\n\r\nx\r\n.\r\n", HEADER_OTHER},
        {"Subject: \xc3\r\n \xb6\r\n\r\nx\r\n.\r\n", HEADER_OTHER},
        {"Subject: \xe2\x82 \r\n\r\nx\r\n.\r\n", HEADER_OTHER},
        {"Subject: \xc3\xb6 \xff\r\n\r\nx\r\n.\r\n", HEADER_OTHER},
        {"Subject: \xb6\xc3\r\n\r\nx\r\n.\r\n", HEADER_OTHER},
        {"j\xc3\xb6rg is no header\r\n.\r\n", HEADER_ASCII},
        {"A: \xc3\xb6\r\n.\r\n", HEADER_UTF8},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        for (size_t step = 1; step < 40; step++)
            if (header_of(texts[i].text, step) != texts[i].kind)
                fail_msg("text %zu cut by %zu: %d", i, step, header_of(texts[i].text, step));
}

static void tls_required_no_is_seen(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool no;
    } texts[] = {
        {"TLS-Required: No\r\n\r\n.\r\n", true},          {"a: b\r\ntls-required:no\r\n\r\n.\r\n", true},
        {"TLS-Required:\t no \t\r\n\r\n.\r\n", true},     {"TLS-Required: Nobody\r\n\r\n.\r\n", false},
        {"TLS-Required: yes\r\n\r\n.\r\n", false},        {"TLS-Required: No, or yes, or what you like\r\n\r\n.\r\n", false},
        {"a: b\r\n\r\nTLS-Required: No\r\n.\r\n", false}, {"TLS-Required:\r\n No\r\n\r\n.\r\n", false},
        {"X-TLS-Required: No\r\n\r\n.\r\n", false},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (!(decode(span_of(texts[i].text)).headers & HEADER_TLS_OPTIONAL) == texts[i].no)
            fail_msg("text %zu", i);
}

/* 16 MiB of it: looked through anew at each CR it would be hours. */
static void many_bare_line_ends_cost_no_more_than_others(void **state)
{
    (void)state;
    size_t n = (size_t)1 << 24;
    char *text = malloc(n);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        text[i] = i % 2 ? '\r' : 'x';
    struct data_limits limits = {.line = 20, .size = UINT64_MAX, .hops = 2};
    struct buf out = BUF_EMPTY(0);
    struct data d;
    data_start(&d, &limits);
    assert_int_equal(data_take(&d, span_make(text, n), &out), n);
    assert_int_equal(d.fault, DATA_BARE_CR);
    free(text);
    buf_free(&out);
}

static void what_follows_the_end_is_left(void **state)
{
    (void)state;
    struct data d;
    struct buf out = {0};
    data_start(&d, &(struct data_limits){.line = 1000, .size = 1000, .hops = 5});
    assert_int_equal(data_take(&d, SPAN_LITERAL("a\r\n.\r\nQUIT\r\n"), &out), 6);
    assert_true(data_done(&d));
    assert_int_equal(data_take(&d, SPAN_LITERAL("QUIT\r\n"), &out), 0);
    buf_free(&out);
}

static void header_fields_are_seen(void **state)
{
    (void)state;
    struct data d = decode(SPAN_LITERAL("date: x\r\nSubject: y\r\n\r\nFrom: z\r\n.\r\n"));
    assert_int_equal(d.headers, HEADER_DATE);
    assert_false(d.no_header);
    d = decode(SPAN_LITERAL("Message-Id:\r\nFROM: a\r\n\r\n.\r\n"));
    assert_int_equal(d.headers, HEADER_MESSAGE_ID | HEADER_FROM);
    d = decode(SPAN_LITERAL("just words\r\nDate: x\r\n.\r\n"));
    assert_true(d.no_header);
    assert_int_equal(d.headers, 0);
    d = decode(SPAN_LITERAL("A-Very-Long-Field-Name-Indeed: x\r\nDate: x\r\n.\r\n"));
    assert_false(d.no_header);
    assert_int_equal(d.headers, HEADER_DATE);
}

static void eight_bit_is_seen(void **state)
{
    (void)state;
    assert_true(decode(SPAN_LITERAL("a\xe4\r\n.\r\n")).eight_bit);
    assert_false(decode(SPAN_LITERAL("a\x7f\r\n.\r\n")).eight_bit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_decoded_however_they_are_cut),
        cmocka_unit_test(a_header_beyond_ascii_is_told_from_its_body),
        cmocka_unit_test(tls_required_no_is_seen),
        cmocka_unit_test(whole_lines_and_single_octets_give_the_same),
        cmocka_unit_test(chunks_have_no_dots_and_no_end_of_their_own),
        cmocka_unit_test(binary_texts_are_octets_behind_their_header),
        cmocka_unit_test(many_bare_line_ends_cost_no_more_than_others),
        cmocka_unit_test(what_follows_the_end_is_left),
        cmocka_unit_test(header_fields_are_seen),
        cmocka_unit_test(eight_bit_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
