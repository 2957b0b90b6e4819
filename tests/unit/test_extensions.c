#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/sasl.h"
#include "delivery/extensions.h"

#include <stdio.h>

static struct reply reply;

static struct extensions parse(const char *text)
{
    size_t used;
    reply_begin(&reply);
    assert_int_equal(reply_feed(&reply, span_of(text), &used), REPLY_WHOLE);
    return extensions_parse(&reply);
}

static void all_of_them(void **state)
{
    (void)state;
    struct extensions e = parse("250-mx.example hello\r\n250-PIPELINING\r\n250-size 1000\r\n250-8BITMIME\r\n250-STARTTLS\r\n"
                                "250-EnhancedStatusCodes\r\n250-DSN\r\n250 SMTPUTF8\r\n");
    assert_int_equal(e.offered, 127);
    assert_int_equal(e.size_limit, 1000);
    assert_true(span_equal(extensions_name(&reply), SPAN_LITERAL("mx.example")));
    reply_free(&reply);
}

static void the_first_line_is_no_extension(void **state)
{
    (void)state;
    assert_int_equal(parse("250 STARTTLS\r\n").offered, 0);
    assert_int_equal(parse("250-STARTTLS\r\n250 PIPELINING\r\n").offered, EXTENSION_PIPELINING);
    assert_int_equal(parse("250\r\n").offered, 0);
    assert_int_equal(extensions_name(&reply).n, 0);
    reply_free(&reply);
}

static void odd_ones_are_skipped(void **state)
{
    (void)state;
    assert_int_equal(parse("250-x\r\n250-STARTTLSX\r\n250-START TLS\r\n250-\r\n250 AUTH PLAIN\r\n").offered, 0);
    assert_int_equal(parse("250-x\r\n250  STARTTLS  a b\r\n").offered, EXTENSION_STARTTLS);
    reply_free(&reply);
}

static void size_limits(void **state)
{
    (void)state;
    assert_int_equal(parse("250-x\r\n250 SIZE\r\n").size_limit, 0);
    assert_int_equal(parse("250-x\r\n250 SIZE 0\r\n").size_limit, 0);
    assert_int_equal(parse("250-x\r\n250 SIZE  52428800 \r\n").size_limit, 52428800);
    assert_int_equal(parse("250-x\r\n250 SIZE -1\r\n").size_limit, 0);
    assert_int_equal(parse("250-x\r\n250 SIZE 99999999999999999999999\r\n").size_limit, 0);
    assert_int_equal(parse("250-x\r\n250 SIZE 12k\r\n").size_limit, 0);
    reply_free(&reply);
}

static struct limits limits(const char *words)
{
    char text[300];
    snprintf(text, sizeof text, "250-x\r\n250-DSN\r\n250 LIMITS %s\r\n", words);
    return parse(text).limits;
}

static void limits_of_a_server(void **state)
{
    (void)state;
    struct limits l = limits("rcptmax=10  MAILMAX=999999 X=1 RCPTDOMAINMAX=1 FLAG");
    assert_int_equal(l.recipients, 10);
    assert_int_equal(l.transactions, 999999);
    assert_int_equal(l.domains, 1);
    l = limits("RCPTMAX=10 RCPTMAX=7 RCPTMAX=9");
    assert_int_equal(l.recipients, 7);
    static const char *const none[] = {"RCPTMAX=0",
                                       "RCPTMAX=1000000",
                                       "RCPTMAX=1000000000000000000000000000000",
                                       "RCPTMAX=-1",
                                       "RCPTMAX=",
                                       "RCPTMAX",
                                       "RCPTMAX=1x",
                                       "RCPTMAX=05",
                                       "RCPTMAX=+5",
                                       "RCPTMAX==5",
                                       "=5",
                                       "RCPTMAXX=5",
                                       "",
                                       "RCPTMAX =5"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_int_equal(limits(none[i]).recipients, 0);
    assert_int_equal(parse("250-x\r\n250 LIMITS\r\n").limits.recipients, 0);
    assert_int_equal(parse("250-LIMITS RCPTMAX=1\r\n250 DSN\r\n").limits.recipients, 0);
    reply_free(&reply);
}

static unsigned auth_of(const char *lines)
{
    struct buf text = {0};
    struct reply r = {0};
    size_t used;
    buf_printf(&text, "250-mx.example\r\n%s", lines);
    reply_begin(&r);
    assert_int_equal(reply_feed(&r, buf_span(&text), &used), REPLY_WHOLE);
    unsigned auth = extensions_parse(&r).auth;
    reply_free(&r);
    buf_free(&text);
    return auth;
}

static void mechanisms_are_those_that_are_known(void **state)
{
    (void)state;
    assert_int_equal(auth_of("250 AUTH plain LOGIN GSSAPI SCRAM-SHA-256\r\n"), SASL_PLAIN | SASL_LOGIN | SASL_SCRAM_SHA_256);
    assert_int_equal(auth_of("250-AUTH LOGIN\r\n250 AUTH=PLAIN CRAM-MD5\r\n"), SASL_LOGIN | SASL_PLAIN | SASL_CRAM_MD5);
    assert_int_equal(auth_of("250-AUTH\r\n250-AUTH=\r\n250 AUTHX PLAIN\r\n"), 0);
    assert_int_equal(auth_of("250 SIZE 1\r\n"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mechanisms_are_those_that_are_known),
        cmocka_unit_test(all_of_them),
        cmocka_unit_test(the_first_line_is_no_extension),
        cmocka_unit_test(odd_ones_are_skipped),
        cmocka_unit_test(size_limits),
        cmocka_unit_test(limits_of_a_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
