/* What XCLIENT and XFORWARD may say. */
#include "smtpd/xclient.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct xattributes x;

static const char *parse(enum xverb verb, const char *text)
{
    return xattributes_parse(verb, span_of(text), &x);
}

static void all_attributes(void **state)
{
    (void)state;
    assert_null(parse(XCLIENT, "NAME=spike.example addr=192.0.2.7 Port=40000 PROTO=esmtp HELO=[192.0.2.7] LOGIN=ann+40local "
                               "DESTADDR=IPv6:2001:db8::1 DESTPORT=25"));
    assert_string_equal(x.value[X_NAME], "spike.example");
    assert_string_equal(x.value[X_ADDR], "192.0.2.7");
    assert_string_equal(x.value[X_PORT], "40000");
    assert_string_equal(x.value[X_PROTO], "esmtp");
    assert_string_equal(x.value[X_HELO], "[192.0.2.7]");
    assert_string_equal(x.value[X_LOGIN], "ann@local");
    assert_string_equal(x.value[X_DESTADDR], "2001:db8::1");
    assert_string_equal(x.value[X_DESTPORT], "25");
    assert_false(xattributes_has(&x, X_IDENT));
    assert_null(parse(XFORWARD, "  NAME=a ADDR=IPV6:::1 \t IDENT=3CF6+2B SOURCE=remote PROTO=UUCP "));
    assert_string_equal(x.value[X_IDENT], "3CF6+");
    assert_string_equal(x.value[X_ADDR], "::1");
}

static void what_nobody_knows(void **state)
{
    (void)state;
    assert_null(parse(XCLIENT, "NAME=[TempUnavail] ADDR=[unavailable] PORT=[UNAVAILABLE] LOGIN=[UNAVAILABLE] DESTADDR=[UNAVAILABLE]"));
    for (size_t i = 0; i < XATTRIBUTES; i++)
        assert_string_equal(x.value[i], "");
    assert_true(xattributes_has(&x, X_NAME) && xattributes_has(&x, X_ADDR) && xattributes_has(&x, X_LOGIN));
}

static void what_is_refused(void **state)
{
    (void)state;
    static const char *const both[] = {
        "",
        " ",
        "ADDR",
        "ADDR=",
        "=x",
        "FOO=1",
        "NAMES=a.example",
        "ADDR=192.0.2",
        "ADDR=192.0.2.256",
        "ADDR=2001:db8::1",
        "ADDR=IPV6:192.0.2.7",
        "ADDR=IPV6:",
        "ADDR=IPV6:x",
        "ADDR=IPV6:fe80::1%eth0",
        "ADDR=[192.0.2.7]",
        "ADDR=192.0.2.7 ADDR=192.0.2.8",
        "ADDR=unknown",
        "ADDR=[TEMPUNAVAIL]",
        "NAME=a..b",
        "NAME=-a",
        "NAME=a+0Ab",
        "NAME=a+20b",
        "NAME=a+22b",
        "PORT=65536",
        "PORT=-1",
        "PORT=x",
        "PORT=000001",
        "PROTO=",
        "PROTO=a+20b",
        "HELO=a+20b",
        "HELO=a+0D+0A",
        "HELO=a+7F",
        "HELO=+C3+A4",
        "HELO=a+",
        "HELO=a+0",
        "HELO=a+00b",
    };
    for (size_t i = 0; i < sizeof both / sizeof both[0]; i++)
        if (!parse(XCLIENT, both[i]) || !parse(XFORWARD, both[i]))
            fail_msg("taken: %s", both[i]);
    static const char *const xclient[] = {"PROTO=LMTP", "IDENT=x",        "SOURCE=LOCAL", "LOGIN=a+0Ab",
                                          "LOGIN=+FF",  "DESTPORT=70000", "DESTADDR=x"};
    for (size_t i = 0; i < sizeof xclient / sizeof xclient[0]; i++)
        assert_non_null(parse(XCLIENT, xclient[i]));
    static const char *const xforward[] = {"LOGIN=x", "DESTADDR=192.0.2.1", "SOURCE=x", "IDENT=a+20b", "IDENT=a+0Ab"};
    for (size_t i = 0; i < sizeof xforward / sizeof xforward[0]; i++)
        assert_non_null(parse(XFORWARD, xforward[i]));
}

static void lengths(void **state)
{
    (void)state;
    char text[400];
    snprintf(text, sizeof text, "HELO=%0255d", 0);
    assert_null(parse(XCLIENT, text));
    snprintf(text, sizeof text, "HELO=%0256d", 0);
    assert_non_null(parse(XCLIENT, text));
    snprintf(text, sizeof text, "PROTO=%064d", 0);
    assert_null(parse(XFORWARD, text));
    snprintf(text, sizeof text, "PROTO=%065d", 0);
    assert_non_null(parse(XFORWARD, text));
}

static void what_was_said_before_holds(void **state)
{
    (void)state;
    struct xattributes all = {0};
    assert_null(parse(XCLIENT, "ADDR=192.0.2.7 LOGIN=ann HELO=one"));
    xattributes_merge(&all, &x);
    assert_null(parse(XCLIENT, "LOGIN=[UNAVAILABLE] HELO=two"));
    xattributes_merge(&all, &x);
    assert_string_equal(all.value[X_ADDR], "192.0.2.7");
    assert_string_equal(all.value[X_LOGIN], "");
    assert_string_equal(all.value[X_HELO], "two");
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {T(all_attributes), T(what_nobody_knows), T(what_is_refused), T(lengths),
                                       T(what_was_said_before_holds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
