/* Received: lines, dates, replies, and header fields made for a submission. */
#include "smtpd/complete.h"
#include "smtpd/reply.h"
#include "smtpd/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static struct trace example(void)
{
    return (struct trace){.helo = span_of("client.example"),
                          .name = span_of("host.example"),
                          .address = span_of("192.0.2.1"),
                          .protocol = span_of("ESMTPS"),
                          .tls = span_of("TLSv1.3 TLS_AES_256_GCM_SHA384"),
                          .host = span_of("mx.example"),
                          .id = span_of("000000000001"),
                          .recipient = span_of("a@example.org"),
                          .now = 1000000000};
}

static void expect(const struct trace *t, const char *text)
{
    struct buf out = {0};
    trace_add(&out, t);
    assert_string_equal(buf_text(&out), text);
    buf_free(&out);
}

static void a_client_is_named(void **state)
{
    (void)state;
    struct trace t = example();
    expect(&t, "Received: from client.example (host.example [192.0.2.1])\r\n\tby mx.example (Postino) with ESMTPS id 000000000001\r\n"
               "\t(TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n\tfor <a@example.org>;\r\n\tSun, 9 Sep 2001 01:46:40 +0000\r\n");
    t.address = span_of("2001:db8::1");
    t.tls = t.recipient = span_of("");
    t.helo = span_of("evil)(\\x");
    expect(&t, "Received: from evil???x (host.example [IPv6:2001:db8::1])\r\n\tby mx.example (Postino) with ESMTPS id 000000000001;\r\n"
               "\tSun, 9 Sep 2001 01:46:40 +0000\r\n");
}

static void a_local_user_and_a_hidden_client(void **state)
{
    (void)state;
    struct trace t = example();
    t.tls = t.recipient = span_of("");
    t.local = true;
    t.uid = 1000;
    expect(&t, "Received: by mx.example (Postino, from userid 1000)\r\n\tid 000000000001;\r\n\tSun, 9 Sep 2001 01:46:40 +0000\r\n");
    t.local = false;
    t.hidden = true;
    expect(&t, "Received: by mx.example (Postino) with ESMTPS id 000000000001;\r\n\tSun, 9 Sep 2001 01:46:40 +0000\r\n");
}

static void dates_know_their_zone(void **state)
{
    (void)state;
    struct buf out = {0};
    setenv("TZ", "XXX+3:30", 1);
    tzset();
    trace_date(&out, 1000000000);
    assert_string_equal(buf_text(&out), "Sat, 8 Sep 2001 22:16:40 -0330");
    setenv("TZ", "UTC0", 1);
    tzset();
    buf_free(&out);
}

static void replies_are_harmless_and_short(void **state)
{
    (void)state;
    struct buf out = {0};
    reply_add(&out, 550, span_of("5.1.1"), span_of("no \r\n such\x80 user"));
    assert_string_equal(buf_text(&out), "550 5.1.1 no ?? such? user\r\n");
    buf_clear(&out);
    char text[2000];
    memset(text, 'x', sizeof text);
    reply_add(&out, 550, span_of("5.1.1"), span_make(text, sizeof text));
    assert_int_equal(out.len, 512);
    buf_clear(&out);
    reply_add_line(&out, 250, false, span_of("SIZE 1"));
    reply_add_line(&out, 250, true, span_of("HELP"));
    assert_string_equal(buf_text(&out), "250-SIZE 1\r\n250 HELP\r\n");
    buf_free(&out);
}

static void only_what_is_missing_is_made(void **state)
{
    (void)state;
    struct buf out = {0};
    struct complete c = {
        .headers = HEADER_FROM, .sender = span_of("a@b.example"), .id = span_of("ID"), .host = span_of("mx"), .now = 1000000000};
    complete_add(&out, &c);
    assert_string_equal(buf_text(&out), "Date: Sun, 9 Sep 2001 01:46:40 +0000\r\nMessage-ID: <1000000000.ID@mx>\r\n");
    buf_clear(&out);
    c.headers = HEADER_DATE | HEADER_MESSAGE_ID;
    c.no_header = true;
    complete_add(&out, &c);
    assert_string_equal(buf_text(&out), "From: <a@b.example>\r\n\r\n");
    buf_clear(&out);
    c.headers |= HEADER_FROM;
    complete_add(&out, &c);
    assert_int_equal(out.len, 0);
    buf_free(&out);
}

static int set_up(void **state)
{
    (void)state;
    setenv("TZ", "UTC0", 1);
    tzset();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_is_named),
        cmocka_unit_test(a_local_user_and_a_hidden_client),
        cmocka_unit_test(dates_know_their_zone),
        cmocka_unit_test(replies_are_harmless_and_short),
        cmocka_unit_test(only_what_is_missing_is_made),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
