/* socks, proxy_out, proxy_spec: what is said to proxies, and what they may answer. */
#include "conf/proxy_spec.h"
#include "delivery/proxy_out.h"
#include "delivery/socks.h"

#include "common/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BYTES SPAN_LITERAL

static struct sockaddr_storage address(const char *text, unsigned port)
{
    struct sockaddr_storage a;
    socklen_t length;
    assert_true(address_to_socket(span_of(text), port, &a, &length));
    return a;
}

static void same(const struct buf *out, struct span wanted)
{
    assert_int_equal(out->len, wanted.n);
    assert_memory_equal(out->data, wanted.p, wanted.n);
}

/* Fed octet by octet, and what follows the reply is left alone. */
static void a_conversation_in_small_pieces(void **state)
{
    (void)state;
    static const struct {
        const char *to;
        struct span in, connect;
    } cases[] = {
        {"192.0.2.7",
         BYTES("\5\0\5\0\0\1\1\2\3\4\5\6"
               "220 hi"),
         BYTES("\5\1\0\5\1\0\1\300\0\2\7\0\31")},
        {"2001:db8::7",
         BYTES("\5\0\5\0\0\4\1\2\3\4\5\6\1\2\3\4\5\6\1\2\3\4\5\6"
               "220 hi"),
         BYTES("\5\1\0\5\1\0\4\40\1\r\270\0\0\0\0\0\0\0\0\0\0\0\7\0\31")},
        {"192.0.2.7",
         BYTES("\5\0\5\0\0\3\2ab\5\6"
               "220 hi"),
         BYTES("\5\1\0\5\1\0\1\300\0\2\7\0\31")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sockaddr_storage to = address(cases[i].to, 25);
        for (size_t step = 1; step <= cases[i].in.n; step++) {
            struct socks s;
            struct buf out = BUF_EMPTY(100);
            size_t at = 0, have = 0, used;
            socks_begin(&s, &out);
            while (s.state != SOCKS_DONE) {
                assert_true(have < cases[i].in.n);
                have = have + step < cases[i].in.n ? have + step : cases[i].in.n;
                assert_int_not_equal(socks_feed(&s, span_make(cases[i].in.p + at, have - at), (const struct sockaddr *)&to, &used, &out),
                                     SOCKS_FAILED);
                at += used;
            }
            assert_int_equal(cases[i].in.n - at, 6);
            same(&out, cases[i].connect);
            buf_free(&out);
        }
    }
}

static void what_a_proxy_may_refuse(void **state)
{
    (void)state;
    static const struct {
        struct span in;
        bool is_theirs;
        const char *why;
    } cases[] = {
        {BYTES("HT"), false, "it does not speak SOCKS 5"},
        {BYTES("\5\377"), false, "it wants a login"},
        {BYTES("\5\2"), false, "it wants a login"},
        {BYTES("\5\0\4\0"), false, "its reply is broken"},
        {BYTES("\5\0\5\1"), false, "it failed"},
        {BYTES("\5\0\5\2"), false, "its rules do not allow the connection"},
        {BYTES("\5\0\5\3"), true, "Network is unreachable"},
        {BYTES("\5\0\5\4"), true, "No route to host"},
        {BYTES("\5\0\5\5"), true, "Connection refused"},
        {BYTES("\5\0\5\6"), true, "Connection timed out"},
        {BYTES("\5\0\5\7"), false, "it makes no connections"},
        {BYTES("\5\0\5\10"), false, "it has no addresses of that family"},
        {BYTES("\5\0\5\377"), false, "it failed"},
        {BYTES("\5\0\5\0\0\2xxxxxxxxxx"), false, "its reply is broken"},
    };
    struct sockaddr_storage to = address("192.0.2.7", 25);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct socks s;
        struct buf out = BUF_EMPTY(100);
        size_t used;
        socks_begin(&s, &out);
        assert_int_equal(socks_feed(&s, cases[i].in, (const struct sockaddr *)&to, &used, &out), SOCKS_FAILED);
        assert_string_equal(s.why, cases[i].why);
        assert_int_equal(s.is_theirs, cases[i].is_theirs);
        buf_free(&out);
    }
}

static void a_PROXY_header(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(100);
    struct sockaddr_storage from = address("192.0.2.1", 0), to = address("198.51.100.2", 25);
    proxy_out_header((const struct sockaddr *)&from, (const struct sockaddr *)&to, &out);
    same(&out, BYTES("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\14\300\0\2\1\306\63\144\2\0\0\0\31"));
    buf_clear(&out);
    from = address("2001:db8::1", 0), to = address("2001:db8::2", 2525);
    proxy_out_header((const struct sockaddr *)&from, (const struct sockaddr *)&to, &out);
    assert_int_equal(out.len, 16 + 36);
    assert_memory_equal(out.data + 12, "\x21\x21\0\44", 4);
    assert_memory_equal(out.data + 16 + 34, "\11\335", 2);
    buf_free(&out);
}

static void how_a_proxy_is_written(void **state)
{
    (void)state;
    static const char *const wrong[] = {"socks5:",
                                        "socks5:192.0.2.1",
                                        "socks:192.0.2.1:1",
                                        "192.0.2.1:1080",
                                        "socks5:proxy.example:1080",
                                        "socks5:192.0.2.1:0",
                                        "socks5:192.0.2.1:65536",
                                        "socks5:2001:db8::1:1080",
                                        "socks5:[192.0.2.1]:1080",
                                        "haproxy:192.0.2.1:x"};
    struct proxy_spec p;
    assert_true(proxy_spec_parse(SPAN_LITERAL(""), &p) && p.kind == PROXY_NONE);
    assert_true(proxy_spec_parse(SPAN_LITERAL("socks5:192.0.2.1:1080"), &p) && p.kind == PROXY_SOCKS5 && p.address.ss_family == AF_INET);
    assert_true(proxy_spec_parse(SPAN_LITERAL("haproxy:[2001:db8::1]:2525"), &p) && p.kind == PROXY_HAPROXY &&
                p.address.ss_family == AF_INET6);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (proxy_spec_parse(span_of(wrong[i]), &p))
            fail_msg("%s", wrong[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_conversation_in_small_pieces),
        cmocka_unit_test(what_a_proxy_may_refuse),
        cmocka_unit_test(a_PROXY_header),
        cmocka_unit_test(how_a_proxy_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
