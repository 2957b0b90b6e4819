/* What is gathered of a transaction, and how many sessions a client has in one process: doubles, bounds, and taking back. */
#include "smtpd/clients.h"
#include "smtpd/envelope.h"

#include "common/address.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct envelope e;

static int open_envelope(void **state)
{
    (void)state;
    envelope_close(&e);
    envelope_open(&e, SPAN_LITERAL("ann@example.net"));
    return 0;
}

static int close_envelope(void **state)
{
    (void)state;
    envelope_close(&e);
    return 0;
}

/* Adds what route would make of it: each address by itself, blank-separated. */
static bool add(const char *said, const char *made, struct wishes wishes)
{
    struct buf list = BUF_EMPTY(0);
    uint32_t n = 0;
    for (const char *p = made; *p; n++) {
        size_t length = strcspn(p, " ");
        struct record_recipient r = {.address = span_make(p, length),
                                     .transport = SPAN_LITERAL("smtp"),
                                     .nexthop = SPAN_LITERAL("example.org"),
                                     .tls = SPAN_LITERAL("may")};
        record_recipient_add(&list, &r);
        p += length + (p[length] == ' ');
    }
    bool added = envelope_add(&e, span_of(said), wishes, (struct list){n, buf_span(&list)});
    buf_free(&list);
    return added;
}

static const char *all(void)
{
    static char text[4096];
    size_t at = 0;
    struct list list = envelope_recipients(&e);
    text[0] = '\0';
    for (struct record_recipient r; record_recipient_next(&list, &r);)
        at += (size_t)snprintf(text + at, sizeof text - at, "%.*s<%.*s>%.*s/%u ", SPAN_ARG(r.address), SPAN_ARG(r.original),
                               SPAN_ARG(r.orcpt), r.notify);
    return text;
}

static void a_double_is_one(void **state)
{
    (void)state;
    assert_true(add("b@example.org", "b@example.org", (struct wishes){0}));
    assert_true(add("b@example.org", "b@example.org", (struct wishes){0}));
    assert_true(add("alias@example.org", "b@example.org c@example.org", (struct wishes){0}));
    assert_string_equal(all(), "b@example.org<>/0 c@example.org<alias@example.org>rfc822;alias@example.org/0 ");
    assert_int_equal(e.accepted, 3);
    assert_int_equal(e.count, 2);
    assert_string_equal(buf_text(&e.first), "b@example.org");
}

static void a_double_is_reported_on_where_one_wishes_so(void **state)
{
    (void)state;
    static const struct {
        uint16_t first, second, both;
    } cases[] = {{NOTIFY_NEVER, NOTIFY_SUCCESS, NOTIFY_SUCCESS},
                 {NOTIFY_NEVER, NOTIFY_NEVER, NOTIFY_NEVER},
                 {0, NOTIFY_SUCCESS, NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY},
                 {NOTIFY_NEVER, 0, NOTIFY_FAILURE | NOTIFY_DELAY},
                 {0, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        open_envelope(NULL);
        assert_true(add("b@example.org", "b@example.org", (struct wishes){.notify = cases[i].first}));
        assert_true(add("b@example.org", "b@example.org", (struct wishes){.notify = cases[i].second}));
        struct list list = envelope_recipients(&e);
        struct record_recipient r;
        assert_true(record_recipient_next(&list, &r));
        assert_int_equal(r.notify, cases[i].both);
    }
}

static void what_was_said_in_utf8_stays_ascii_in_a_report(void **state)
{
    (void)state;
    assert_true(add("j\xc3\xb6rg@example.org", "joerg@example.org", (struct wishes){0}));
    assert_non_null(strstr(all(), ">utf-8;j\\x{F6}rg@example.org/0"));
}

static void ten_thousand_and_their_doubles(void **state)
{
    (void)state;
    char address[64];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 10000; i++) {
            snprintf(address, sizeof address, "r%d@example.org", i);
            assert_true(add(address, address, (struct wishes){0}));
        }
    }
    assert_int_equal(e.count, 10000);
    assert_int_equal(e.accepted, 20000);
}

/* An alias that does not fit is not there at all; who was there before still is, and is still known as a double. */
static void what_does_not_fit_is_taken_back(void **state)
{
    (void)state;
    static char long_ones[200000];
    char address[64];
    size_t at = 0;
    int taken = 0;
    assert_true(add("b@example.org", "b@example.org", (struct wishes){0}));
    for (int i = 0; i < 800; i++)
        at += (size_t)snprintf(long_ones + at, sizeof long_ones - at, "%sr%d-%0200d@example.org", i ? " " : "", i, i);
    for (int i = 0; i < 1000; i++) {
        for (char *p = long_ones; *p; p++)
            if (*p == 'r' && (p == long_ones || p[-1] == ' '))
                p[3] = (char)('A' + i % 26), p[4] = (char)('A' + i / 26 % 26);
        snprintf(address, sizeof address, "alias%d@example.org", i);
        uint32_t before = e.count;
        if (!add(address, long_ones, (struct wishes){0})) {
            assert_int_equal(e.count, before);
            break;
        }
        taken++;
    }
    assert_in_range(taken, 1, 999);
    uint32_t count = e.count;
    struct list list = envelope_recipients(&e);
    uint32_t n = 0;
    for (struct record_recipient r; record_recipient_next(&list, &r);)
        n++;
    assert_int_equal(n, count);
    assert_true(add("b@example.org", "b@example.org", (struct wishes){0}));
    assert_int_equal(e.count, count);
    assert_true(add("small@example.org", "small@example.org", (struct wishes){0}));
    assert_int_equal(e.count, count + 1);
}

static void headers_in_front_are_headers(void **state)
{
    (void)state;
    envelope_prepend(&e, SPAN_LITERAL("X-A: 1\r\nX-B: 2\r\n"));
    envelope_prepend(&e, SPAN_LITERAL("X-B: 2\r\nno header\r\nX-\x01: 3\r\nX-C: a\x07\r\n: 4\r\nX-D: without an end"));
    envelope_prepend(&e, SPAN_LITERAL("\r\nX-E: 5\r\n"));
    assert_string_equal(buf_text(&e.prepend), "X-A: 1\r\nX-B: 2\r\nX-E: 5\r\n");
    char line[1100];
    memset(line, 'x', sizeof line);
    memcpy(line, "X-F: ", 5);
    memcpy(line + sizeof line - 2, "\r\n", 2);
    envelope_prepend(&e, span_make(line, sizeof line));
    assert_null(strstr(buf_text(&e.prepend), "X-F"));
}

/* ---- clients ----------------------------------------------------------------------------------------------------------------------- */

static struct sockaddr *address_of(const char *text)
{
    static struct sockaddr_storage ss;
    socklen_t len;
    assert_true(address_to_socket(span_of(text), 25, &ss, &len));
    return (struct sockaddr *)&ss;
}

static void a_client_has_so_many_sessions(void **state)
{
    (void)state;
    struct clients *c = clients_new();
    assert_true(clients_enter(c, address_of("2001:db8:1:1::1"), 2));
    assert_true(clients_enter(c, address_of("2001:db8:1:1::2"), 2));
    assert_false(clients_enter(c, address_of("2001:db8:1:1::3"), 2));
    assert_true(clients_enter(c, address_of("2001:db8:1:2::1"), 2));
    assert_true(clients_enter(c, address_of("192.0.2.1"), 1));
    assert_false(clients_enter(c, address_of("::ffff:192.0.2.1"), 1));
    clients_leave(c, address_of("192.0.2.1"));
    clients_leave(c, address_of("192.0.2.1")); /* who is not there */
    assert_true(clients_enter(c, address_of("::ffff:192.0.2.1"), 1));
    struct sockaddr other = {.sa_family = AF_UNIX};
    assert_true(clients_enter(c, &other, 1));
    assert_false(clients_enter(c, &other, 1));
    clients_free(c); /* with who is still there */
}

static void clients_share_buckets(void **state)
{
    (void)state;
    struct clients *c = clients_new();
    char text[64];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 20000; i++) {
            snprintf(text, sizeof text, "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
            assert_int_equal(clients_enter(c, address_of(text), 1), round == 0);
        }
    }
    for (int i = 0; i < 20000; i++) {
        snprintf(text, sizeof text, "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
        clients_leave(c, address_of(text));
    }
    assert_true(clients_enter(c, address_of("10.0.1.1"), 1));
    clients_free(c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_envelope, close_envelope)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_double_is_one),
        TEST(a_double_is_reported_on_where_one_wishes_so),
        TEST(what_was_said_in_utf8_stays_ascii_in_a_report),
        TEST(ten_thousand_and_their_doubles),
        TEST(what_does_not_fit_is_taken_back),
        TEST(headers_in_front_are_headers),
        TEST(a_client_has_so_many_sessions),
        TEST(clients_share_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
