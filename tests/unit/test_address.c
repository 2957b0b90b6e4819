#include "common/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ALL (ADDRESS_ALLOW_NULL | ADDRESS_ALLOW_BARE | ADDRESS_ALLOW_UTF8)

/* Sixty-four octets, and a hundred and twenty-eight. */
#define A64  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A128 A64 A64
#define L63  "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void assert_span(struct span got, const char *want)
{
    if (!span_equal(got, span_of(want)))
        fail_msg("got \"%.*s\", want \"%s\"", SPAN_ARG(got), want);
}

static void path_gives(const char *text, int flags, const char *local, const char *domain, const char *rest)
{
    struct span in = span_of(text);
    struct address a;
    if (!address_parse_path(&in, flags, &a))
        fail_msg("refused: %s", text);
    assert_span(a.local, local);
    assert_span(a.domain, domain);
    assert_span(in, rest);
    assert_int_equal(a.whole.n, a.local.n + a.domain.n + (a.domain.n > 0));
}

static void path_refused(const char *text, int flags)
{
    struct span in = span_of(text);
    struct address a;
    if (address_parse_path(&in, flags, &a))
        fail_msg("accepted: %s", text);
    assert_span(in, text);
}

static void paths_of_everyday(void **state)
{
    (void)state;
    path_gives("<a@example.org>", 0, "a", "example.org", "");
    path_gives("<a@example.org> SIZE=100", 0, "a", "example.org", " SIZE=100");
    path_gives("<a.b+tag@example.org>", 0, "a.b+tag", "example.org", "");
    path_gives("<!#$%&'*+-/=?^_`{|}~@x>", 0, "!#$%&'*+-/=?^_`{|}~", "x", "");
    path_gives("<a@EXAMPLE.Org>", 0, "a", "EXAMPLE.Org", "");
    path_gives("<a@_dmarc.x-y.example>", 0, "a", "_dmarc.x-y.example", "");
    path_gives("<a@1.2>", 0, "a", "1.2", "");
}

static void null_and_bare_only_where_allowed(void **state)
{
    (void)state;
    path_gives("<> BODY=8BITMIME", ADDRESS_ALLOW_NULL, "", "", " BODY=8BITMIME");
    path_refused("<>", 0);
    path_refused("<>", ADDRESS_ALLOW_BARE);
    path_refused("", ALL);
    path_gives("<Postmaster>", ADDRESS_ALLOW_BARE, "Postmaster", "", "");
    path_refused("<postmaster>", ADDRESS_ALLOW_NULL);
    path_refused("< >", ALL);
    path_refused("<\"\">x", 0);
}

static void paths_without_brackets(void **state)
{
    (void)state;
    path_gives("a@example.org", 0, "a", "example.org", "");
    path_gives("a@example.org SIZE=1", 0, "a", "example.org", " SIZE=1");
    path_gives("\"a b\"@example.org\tX", 0, "\"a b\"", "example.org", "\tX");
    path_refused("a@example.org>", 0);
    path_refused("a@example.org;X", 0);
    path_refused("@x:a@example.org", 0);
}

static void source_routes_are_skipped(void **state)
{
    (void)state;
    path_gives("<@one.example:a@example.org>", 0, "a", "example.org", "");
    path_gives("<@one.example,@[192.0.2.1]:a@example.org> X", 0, "a", "example.org", " X");
    path_refused("<@one.example>", 0);
    path_refused("<@one.example:>", ALL);
    path_refused("<@one.example a@example.org>", 0);
    path_refused("<@one.example,two.example:a@example.org>", 0);
    path_refused("<@one.example,:a@example.org>", 0);
    path_refused("<@:a@example.org>", 0);
    path_refused("<one.example:a@example.org>", 0);
}

static void quoted_local_parts(void **state)
{
    (void)state;
    path_gives("<\"john doe\"@example.org>", 0, "\"john doe\"", "example.org", "");
    path_gives("<\"a@b>c\"@example.org>", 0, "\"a@b>c\"", "example.org", "");
    path_gives("<\"a\\\"b\\\\\"@example.org>", 0, "\"a\\\"b\\\\\"", "example.org", "");
    path_gives("<\"\"@example.org>", 0, "\"\"", "example.org", "");
    path_refused("<\"a@example.org>", 0);
    path_refused("<\"a\\\"@example.org>", 0);
    path_refused("<\"a\\", 0);
    path_refused("<\"a\"b@example.org>", 0);
    path_refused("<b\"a\"@example.org>", 0);
    path_refused("<\"a\".b@example.org>", 0);
    path_refused("<\"a\tb\"@example.org>", 0);
}

static void malformed_paths(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "<a@example.org",
        "<a@>",
        "<@example.org>",
        "<a@@example.org>",
        "<a@b@example.org>",
        "<a b@example.org>",
        "<.a@example.org>",
        "<a.@example.org>",
        "<a..b@example.org>",
        "<a@example..org>",
        "<a@.example.org>",
        "<a@example.org.>",
        "<a@-example.org>",
        "<a@example-.org>",
        "<a@exa mple.org>",
        "<a@exa/mple>",
        "<a@example.org,>",
        "<<a@example.org>>",
        "<a@[192.0.2.1>",
        "<a@192.0.2.1]>",
        "<a@[192.0.2.256]>",
        "<a@[192.0.2]>",
        "<a@[]>",
        "<a@[IPv6:]>",
        "<a@[2001:db8::1]>",
        "<a@[IPv6:192.0.2.1]>",
        "<a@[IPv6:1::2::3]>",
        "<a@[x:y]>",
        "<a@[192.0.2.1] >",
        "<a(comment)@example.org>",
        "<a,b@example.org>",
        "<a:b@example.org>",
        "<a;b@example.org>",
        "<a[b@example.org>",
        "<a\\b@example.org>",
        "< a@example.org>",
        " <a@example.org>",
        "<a@example.org >",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        path_refused(bad[i], ADDRESS_ALLOW_NULL | ADDRESS_ALLOW_UTF8);
}

static void controls_are_refused_everywhere(void **state)
{
    (void)state;
    static const char *const shapes[] = {"<a%cb@example.org>", "<\"a%cb\"@example.org>", "<\"a\\%cb\"@example.org>",
                                         "<a@exa%cmple.org>",  "<a@[192.0.2%c.1]>",      "<@one%c.example:a@example.org>"};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int c = 0; c < 0x20; c++) {
            struct buf text = {0};
            struct address a;
            const char *at = strchr(shapes[i], '%');
            buf_add(&text, shapes[i], (size_t)(at - shapes[i]));
            buf_add_char(&text, (char)c);
            buf_add_text(&text, at + 2);
            struct span in = buf_span(&text);
            assert_false(address_parse_path(&in, ALL, &a));
            text.data[at - shapes[i]] = 0x7f;
            assert_false(address_parse_path(&in, ALL, &a));
            buf_free(&text);
        }
}

static void lengths(void **state)
{
    (void)state;
    path_gives("<" A64 "@example.org>", 0, A64, "example.org", "");
    path_gives("<" A128 "@example.org>", 0, A128, "example.org", "");
    path_refused("<" A128 "a@example.org>", 0);
    path_refused("<\"" A128 "\"@example.org>", 0);
    path_gives("<a@" L63 ".example>", 0, "a", L63 ".example", "");
    path_refused("<a@" L63 "b.example>", 0);
    /* 254 octets between the brackets */
    path_gives("<" A64 "@" L63 "." L63 ".bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb>", 0, A64,
               L63 "." L63 ".bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "");
    path_refused("<" A64 "@" L63 "." L63 ".bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb>", 0);
    assert_true(address_is_domain(span_of(L63 "." L63 "." L63 "." L63), false));
    assert_false(address_is_domain(span_of(L63 "." L63 "." L63 "." L63 ".b"), false));
}

static void utf8_only_where_allowed_and_well_formed(void **state)
{
    (void)state;
    path_gives("<j\xc3\xbcrgen@b\xc3\xbc"
               "cher.example>",
               ADDRESS_ALLOW_UTF8, "j\xc3\xbcrgen",
               "b\xc3\xbc"
               "cher.example",
               "");
    path_gives("<\"\xf0\x9f\x98\x80 x\"@\xe4\xbe\x8b.example>", ADDRESS_ALLOW_UTF8, "\"\xf0\x9f\x98\x80 x\"", "\xe4\xbe\x8b.example", "");
    path_gives("<\xe0\xa4\x95\xe0\xa5\x8d\xe2\x80\x8d@example.org>", ADDRESS_ALLOW_UTF8, "\xe0\xa4\x95\xe0\xa5\x8d\xe2\x80\x8d",
               "example.org", "");
    path_refused("<j\xc3\xbcrgen@example.org>", 0);
    path_refused("<a@b\xc3\xbc"
                 "cher.example>",
                 0);
    path_refused("<\"\xc3\xbc\"@example.org>", 0);
    static const char *const bad[] = {"\xfc",
                                      "\xc3",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf0\x80\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf8\x88\x80\x80\x80",
                                      "\x80",
                                      "\xc2\x80",
                                      "\xc2\x9f",
                                      "\xe2\x82",
                                      "\xff\xfe",
                                      "\xe2\x80\xa8", /* ends a line for some */
                                      "\xe2\x80\xa9",
                                      "\xe2\x80\x8e", /* turn what follows */
                                      "\xe2\x80\xae",
                                      "\xe2\x81\xa6",
                                      "\xe2\x81\xa9",
                                      "\xd8\x9c",
                                      "\xef\xbb\xbf", /* byte order */
                                      "\xef\xbf\xbe", /* no characters */
                                      "\xef\xb7\x90",
                                      "\xf0\x9f\xbf\xbf"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf text = {0};
        buf_printf(&text, "<a%s@example.org>", bad[i]);
        path_refused(buf_text(&text), ALL);
        buf_clear(&text);
        buf_printf(&text, "<a@a%s.example>", bad[i]);
        path_refused(buf_text(&text), ALL);
        buf_clear(&text);
        buf_printf(&text, "<\"\\%s\"@a.example>", bad[i]);
        path_refused(buf_text(&text), ALL);
        buf_free(&text);
    }
}

static void whole_spans(void **state)
{
    (void)state;
    struct address a;
    assert_true(address_parse(span_of("a@example.org"), 0, &a));
    assert_span(a.whole, "a@example.org");
    assert_false(address_parse(span_of("a@example.org "), 0, &a));
    assert_false(address_parse(span_of("<a@example.org>"), ALL, &a));
    assert_false(address_parse(SPAN_LITERAL("a@example.org\0"), ALL, &a));
    assert_true(address_parse((struct span){0}, ADDRESS_ALLOW_NULL, &a));
    assert_int_equal(a.whole.n, 0);
    assert_false(address_parse((struct span){0}, ADDRESS_ALLOW_BARE, &a));
    assert_true(address_parse(span_of("root"), ADDRESS_ALLOW_BARE, &a));
    assert_int_equal(a.domain.n, 0);
}

static void canonical_is(const char *text, const char *want)
{
    struct address a;
    struct buf out = {0};
    assert_true(address_parse(span_of(text), ALL, &a));
    address_canonical(&a, &out);
    assert_string_equal(buf_text(&out), want);
    buf_free(&out);
}

static void canonical_form(void **state)
{
    (void)state;
    canonical_is("", "");
    canonical_is("Root", "Root");
    canonical_is("John@Example.ORG", "John@example.org");
    canonical_is("\"john\"@example.org", "john@example.org");
    canonical_is("\"jo\\hn.x\"@example.org", "john.x@example.org");
    canonical_is("\"john doe\"@Example.ORG", "\"john doe\"@example.org");
    canonical_is("\"john\\ doe\"@example.org", "\"john doe\"@example.org");
    canonical_is("\"a\\\"b\\\\\"@example.org", "\"a\\\"b\\\\\"@example.org");
    canonical_is("\"\"@example.org", "\"\"@example.org");
    canonical_is("\"a..b\"@example.org", "\"a..b\"@example.org");
    canonical_is("\"a@b\"@example.org", "\"a@b\"@example.org");
    canonical_is("\"\xc3\xbc\"@example.org", "\xc3\xbc@example.org");
    canonical_is("a@[IPv6:2001:DB8::1]", "a@[ipv6:2001:db8::1]");
}

static void literals(void **state)
{
    (void)state;
    struct sockaddr_storage s;
    struct buf out = {0};
    assert_true(address_literal(span_of("[192.0.2.1]"), &s));
    assert_int_equal(s.ss_family, AF_INET);
    address_of_socket((struct sockaddr *)&s, &out);
    assert_string_equal(buf_text(&out), "192.0.2.1");
    buf_clear(&out);
    assert_true(address_literal(span_of("[ipV6:2001:DB8:0:0::1]"), &s));
    assert_int_equal(s.ss_family, AF_INET6);
    address_of_socket((struct sockaddr *)&s, &out);
    assert_string_equal(buf_text(&out), "2001:db8::1");
    buf_free(&out);
    assert_false(address_literal(span_of("192.0.2.1"), &s));
    assert_false(address_literal(span_of("["), &s));
    assert_false(address_literal(span_of("[]"), &s));
    assert_false(address_literal(span_of("[192.0.2.01]"), &s));
    assert_false(address_literal(span_of("[ 192.0.2.1]"), &s));
    assert_false(address_literal(span_of("[2001:db8::1]"), &s));
    assert_false(address_literal(span_of("[IPv6:fe80::1%eth0]"), &s));
    assert_false(address_literal(SPAN_LITERAL("[192.0.2.1\0]"), &s));
}

static void sockets(void **state)
{
    (void)state;
    struct sockaddr_storage s;
    socklen_t len;
    struct buf out = {0};
    assert_true(address_to_socket(span_of("192.0.2.7"), 25, &s, &len));
    assert_int_equal(len, sizeof(struct sockaddr_in));
    assert_int_equal(((struct sockaddr_in *)&s)->sin_port, htons(25));
    assert_true(address_to_socket(span_of("::1"), 65535, &s, &len));
    assert_int_equal(len, sizeof(struct sockaddr_in6));
    assert_int_equal(((struct sockaddr_in6 *)&s)->sin6_port, htons(65535));
    assert_false(address_to_socket(span_of("::1"), 65536, &s, &len));
    assert_false(address_to_socket(span_of("localhost"), 25, &s, &len));
    assert_false(address_to_socket(span_of("127.1"), 25, &s, &len));
    assert_false(address_to_socket(span_of(""), 25, &s, &len));
    assert_true(address_to_socket(span_of("::ffff:192.0.2.9"), 0, &s, &len));
    address_of_socket((struct sockaddr *)&s, &out);
    assert_string_equal(buf_text(&out), "192.0.2.9");
    buf_clear(&out);
    s.ss_family = AF_UNIX;
    address_of_socket((struct sockaddr *)&s, &out);
    assert_int_equal(out.len, 0);
    buf_free(&out);
}

static void octets_of_an_address(void **state)
{
    (void)state;
    struct sockaddr_storage s, same;
    socklen_t len;
    memset(&s, 'x', sizeof s);
    assert_int_equal(address_of_octets(SPAN_LITERAL("\xc0\0\2\7"), 40000, &s), sizeof(struct sockaddr_in));
    assert_true(address_to_socket(span_of("192.0.2.7"), 40000, &same, &len));
    assert_memory_equal(&s, &same, sizeof s);
    memset(&s, 'x', sizeof s);
    assert_int_equal(address_of_octets(SPAN_LITERAL("\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"), 25, &s), sizeof(struct sockaddr_in6));
    assert_true(address_to_socket(span_of("2001:db8::1"), 25, &same, &len));
    assert_memory_equal(&s, &same, sizeof s);
    assert_int_equal(((struct sockaddr_in6 *)&s)->sin6_port, htons(25));
    assert_int_equal(((struct sockaddr_in6 *)&s)->sin6_addr.s6_addr[15], 1);
}

static bool contains(const char *network, const char *address)
{
    struct network n;
    struct sockaddr_storage s;
    socklen_t len;
    assert_true(network_parse(span_of(network), &n));
    assert_true(address_to_socket(span_of(address), 0, &s, &len));
    return network_contains(&n, (struct sockaddr *)&s);
}

static void networks_contain(void **state)
{
    (void)state;
    assert_true(contains("10.0.0.0/8", "10.255.1.2"));
    assert_false(contains("10.0.0.0/8", "11.0.0.0"));
    assert_true(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
    assert_false(contains("10.0.0.0/8", "::10.1.2.3"));
    assert_true(contains("192.0.2.7", "192.0.2.7"));
    assert_false(contains("192.0.2.7", "192.0.2.6"));
    assert_true(contains("192.0.2.128/25", "192.0.2.129"));
    assert_false(contains("192.0.2.128/25", "192.0.2.127"));
    assert_true(contains("0.0.0.0/0", "203.0.113.1"));
    assert_false(contains("0.0.0.0/0", "2001:db8::1"));
    assert_true(contains("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(contains("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(contains("::1", "::1"));
    assert_false(contains("::/0", "192.0.2.1"));
    assert_false(contains("::/0", "::ffff:192.0.2.1"));
    assert_true(contains("::ffff:10.0.0.0/104", "10.9.9.9"));
    assert_true(contains("::ffff:10.0.0.0/104", "::ffff:10.9.9.9"));
}

static void stands_for(const char *address, enum network_reach reach, const char *network)
{
    struct network n, wanted;
    struct sockaddr_storage s;
    socklen_t len;
    assert_true(network_parse(span_of(network), &wanted));
    assert_true(address_to_socket(span_of(address), 25, &s, &len));
    assert_true(network_of((struct sockaddr *)&s, reach, &n));
    assert_int_equal(n.family, wanted.family);
    assert_int_equal(n.bits, wanted.bits);
    assert_memory_equal(n.bytes, wanted.bytes, sizeof n.bytes);
}

static void an_address_stands_for_its_neighbours(void **state)
{
    (void)state;
    static const char *const v4[] = {"198.51.100.77", "198.51.100.0/24", "198.51.0.0/16"};
    static const char *const v6[] = {"2001:db8:1:2::/64", "2001:db8:1::/48", "2001:db8::/32"};
    for (int reach = REACH_CLIENT; reach <= REACH_REGION; reach++) {
        stands_for("198.51.100.77", (enum network_reach)reach, v4[reach]);
        stands_for("::ffff:198.51.100.77", (enum network_reach)reach, v4[reach]);
        stands_for("2001:db8:1:2:3:4:5:6", (enum network_reach)reach, v6[reach]);
    }
    struct network n;
    assert_false(network_of(&(struct sockaddr){.sa_family = AF_UNIX}, REACH_CLIENT, &n));
    assert_int_equal(n.bits, 0);
}

static void networks_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "/",
                                      "/8",
                                      "10.0.0.0/",
                                      "10.0.0.0/33",
                                      "10.0.0.0/-1",
                                      "10.0.0.0/+8",
                                      "10.0.0.0/ 8",
                                      "10.0.0.0/08",
                                      "10.0.0.0/8/8",
                                      "10.0.0.0/1000",
                                      "10.0.0.0/4294967304",
                                      "10/8",
                                      "10.0.0.1/8",
                                      "::1/129",
                                      "::1/64",
                                      "2001:db8::/31x",
                                      "localhost",
                                      "10.0.0.0 /8",
                                      "1.2.3.4.5"};
    struct network n;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (network_parse(span_of(bad[i]), &n))
            fail_msg("accepted: %s", bad[i]);
}

static void domains(void **state)
{
    (void)state;
    assert_true(address_is_domain(span_of("localhost"), false));
    assert_true(address_is_domain(span_of("xn--bcher-kva.example"), false));
    assert_true(address_is_domain(span_of("b\xc3\xbc"
                                          "cher.example"),
                                  true));
    assert_false(address_is_domain(span_of("b\xc3\xbc"
                                           "cher.example"),
                                   false));
    assert_false(address_is_domain(span_of(""), true));
    assert_false(address_is_domain((struct span){0}, true));
    assert_false(address_is_domain(span_of("."), true));
    assert_false(address_is_domain(span_of("a."), true));
    assert_false(address_is_domain(span_of("a b"), true));
    assert_false(address_is_domain(span_of("[192.0.2.1]"), true));
    assert_false(address_is_domain(SPAN_LITERAL("a\0b"), true));
}

static void xtext_is(const char *in, const char *want)
{
    struct buf out = {0};
    buf_add_text(&out, "before:");
    bool good = xtext_decode(span_of(in), &out);
    assert_int_equal(good, want != NULL);
    assert_string_equal(buf_text(&out) + 7, good ? want : "");
    buf_free(&out);
}

static void xtext(void **state)
{
    (void)state;
    xtext_is("", "");
    xtext_is("rfc822;a@example.org", "rfc822;a@example.org");
    xtext_is("a+2Bb+3Dc+20d", "a+b=c d");
    xtext_is("a+2bb", "a+b");
    xtext_is("+C3+BC", "\xc3\xbc");
    xtext_is("+C3", NULL);
    xtext_is("+0A", NULL);
    xtext_is("+00", NULL);
    xtext_is("+7F", NULL);
    xtext_is("a=b", NULL);
    xtext_is("a b", NULL);
    xtext_is("+", NULL);
    xtext_is("+2", NULL);
    xtext_is("+2G", NULL);
    xtext_is("a\xc3\xbc", NULL);
    struct buf out = {0};
    xtext_encode(span_of("a+b=c d\xc3\xbc"), &out);
    assert_string_equal(buf_text(&out), "a+2Bb+3Dc+20d+C3+BC");
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_of_everyday),
        cmocka_unit_test(null_and_bare_only_where_allowed),
        cmocka_unit_test(paths_without_brackets),
        cmocka_unit_test(source_routes_are_skipped),
        cmocka_unit_test(quoted_local_parts),
        cmocka_unit_test(malformed_paths),
        cmocka_unit_test(controls_are_refused_everywhere),
        cmocka_unit_test(lengths),
        cmocka_unit_test(utf8_only_where_allowed_and_well_formed),
        cmocka_unit_test(whole_spans),
        cmocka_unit_test(canonical_form),
        cmocka_unit_test(literals),
        cmocka_unit_test(sockets),
        cmocka_unit_test(octets_of_an_address),
        cmocka_unit_test(networks_contain),
        cmocka_unit_test(an_address_stands_for_its_neighbours),
        cmocka_unit_test(networks_refused),
        cmocka_unit_test(domains),
        cmocka_unit_test(xtext),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
