#include "common/httpsurl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void urls(void **state)
{
    (void)state;
    struct httpsurl u;
    assert_true(httpsurl_parse("https://oauth2.example.com/token", &u));
    assert_string_equal(u.host, "oauth2.example.com");
    assert_int_equal(u.port, 443);
    assert_true(httpsurl_parse("https://a.example:8443", &u));
    assert_int_equal(u.port, 8443);
    assert_true(httpsurl_parse("https://[::1]:8443/x", &u));
    assert_string_equal(u.host, "::1");
    assert_true(u.address);
    assert_true(httpsurl_parse("https://127.0.0.1/x?y", &u));
    static const char *const bad[] = {"",
                                      "http://a.example/",
                                      "https://",
                                      "https:///x",
                                      "https://a.example:/x",
                                      "https://a.example:0/x",
                                      "https://a.example:65536/x",
                                      "https://a.example:x/",
                                      "https://u@a.example/",
                                      "https://u:p@a.example/",
                                      "https://[::1/x",
                                      "https://[a.example]/x",
                                      "https://[::1]x/",
                                      "https://a example/",
                                      "https://a.example/\r\nx"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (httpsurl_parse(bad[i], &u))
            fail_msg("%s", bad[i]);
}

static void resolves(const char *addresses, const char *text)
{
    struct buf out = BUF_EMPTY(1024);
    assert_true(httpsurl_resolve("token.example.org", 8443, span_of(addresses), &out));
    assert_string_equal(buf_text(&out), text);
    buf_free(&out);
}

static void addresses_are_told_as_libcurl_has_them(void **state)
{
    (void)state;
    resolves("192.0.2.1", "token.example.org:8443:192.0.2.1");
    resolves("2001:db8::1", "token.example.org:8443:[2001:db8::1]");
    resolves("192.0.2.1 2001:db8::1 192.0.2.2", "token.example.org:8443:192.0.2.1,[2001:db8::1],192.0.2.2");
    resolves(" 192.0.2.1  192.0.2.2 ", "token.example.org:8443:192.0.2.1,192.0.2.2");
}

static void the_first_eight_are_enough(void **state)
{
    (void)state;
    resolves("::1 ::2 ::3 ::4 ::5 ::6 ::7 ::8 ::9", "token.example.org:8443:[::1],[::2],[::3],[::4],[::5],[::6],[::7],[::8]");
}

/* libcurl would look for itself then. */
static void no_address_is_no_success(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(1024), little = BUF_EMPTY(30);
    assert_false(httpsurl_resolve("token.example.org", 443, span_of(""), &out));
    assert_false(httpsurl_resolve("token.example.org", 443, span_of("  "), &out));
    assert_false(httpsurl_resolve("token.example.org", 443, span_of("192.0.2.1"), &little));
    buf_free(&out);
    buf_free(&little);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls),
        cmocka_unit_test(addresses_are_told_as_libcurl_has_them),
        cmocka_unit_test(the_first_eight_are_enough),
        cmocka_unit_test(no_address_is_no_success),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
