#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/address.h"
#include "delivery/nexthop.h"

static struct settings *settings;

static int set_up(void **state)
{
    (void)state;
    settings = settings_new();
    return settings ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    settings_free(settings);
    return 0;
}

static void expect(const char *text, enum nexthop_kind kind, const char *name, unsigned port)
{
    struct nexthop hop;
    assert_true(nexthop_parse(span_of(text), settings, &hop));
    assert_int_equal(hop.kind, kind);
    assert_string_equal(hop.name, name);
    assert_int_equal(hop.port, port);
    assert_int_equal(hop.port_given, port != 25);
}

static void forms(void **state)
{
    (void)state;
    expect("example.org", NEXTHOP_DOMAIN, "example.org", 25);
    expect("example.org:2525", NEXTHOP_DOMAIN, "example.org", 2525);
    expect("[mx.example.org]", NEXTHOP_HOST, "mx.example.org", 25);
    expect("[mx.example.org]:587", NEXTHOP_HOST, "mx.example.org", 587);
    expect("[192.0.2.1]", NEXTHOP_ADDRESS, "192.0.2.1", 25);
    expect("[192.0.2.1]:26", NEXTHOP_ADDRESS, "192.0.2.1", 26);
    expect("[IPv6:2001:db8::1]:26", NEXTHOP_ADDRESS, "2001:db8::1", 26);
    expect("[2001:db8::1]", NEXTHOP_ADDRESS, "2001:db8::1", 25);
}

static void a_socket(void **state)
{
    (void)state;
    struct nexthop hop;
    char text[200] = "unix:/";
    expect("unix:/run/dovecot/lmtp", NEXTHOP_SOCKET, "/run/dovecot/lmtp", 25);
    assert_true(nexthop_parse(SPAN_LITERAL("unix:/run/lmtp"), settings, &hop));
    assert_int_equal(((struct sockaddr *)&hop.address)->sa_family, AF_UNIX);
    assert_int_equal(hop.address_length, 2 + strlen("/run/lmtp") + 1);
    assert_false(nexthop_parse(SPAN_LITERAL("unix:run/lmtp"), settings, &hop));
    assert_false(nexthop_parse(SPAN_LITERAL("unix:"), settings, &hop));
    memset(text + 6, 'x', 106);
    assert_true(nexthop_parse(span_of(text), settings, &hop));
    assert_int_equal(strlen(hop.name), 107);
    memset(text + 6, 'x', 107);
    assert_false(nexthop_parse(span_of(text), settings, &hop));
}

static void with_tls_from_the_first_byte(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum nexthop_kind kind;
        unsigned port;
    } good[] = {{"[mx.example.org]", NEXTHOP_HOST, 465},
                {"[mx.example.org]:4650", NEXTHOP_HOST, 4650},
                {"[192.0.2.1]", NEXTHOP_ADDRESS, 465},
                {"[2001:db8::1]", NEXTHOP_ADDRESS, 465},
                {"[IPv6:2001:db8::1]:25", NEXTHOP_ADDRESS, 25}};
    static const char *const bad[] = {"example.org", "example.org:465", "unix:/run/x", "", ":465", "[]", "[a.example]:", "[a.example]465"};
    struct nexthop hop;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(nexthop_parse_smtps(span_of(good[i].text), settings, &hop));
        assert_int_equal(hop.kind, good[i].kind);
        assert_int_equal(hop.port, good[i].port);
        assert_true(hop.port_given);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(nexthop_parse_smtps(span_of(bad[i]), settings, &hop));
}

static void what_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",        ":25",         "[]",    "[a.example",       "[a.example]25", "[a.example]:", "a.example:",  "a b", "a.example:0",
        "a:65536", "a.example:x", "[]:25", "a.example:123456", "[a]b]",         "a..b",         "[192.0.2.1]x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct nexthop hop;
        assert_false(nexthop_parse(span_of(bad[i]), settings, &hop));
    }
}

static bool allowed(const char *nexthop, const char *address)
{
    struct nexthop hop;
    struct sockaddr_storage socket;
    socklen_t n;
    const char *setting;
    assert_true(nexthop_parse(span_of(nexthop), settings, &hop));
    assert_true(address_to_socket(span_of(address), 25, &socket, &n));
    return nexthop_forbids(&hop, settings, (struct sockaddr *)&socket, &setting) == NULL;
}

static void loopback_needs_leave(void **state)
{
    (void)state;
    static const char *const loopback[] = {"127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"};
    for (size_t i = 0; i < 4; i++) {
        settings->remote_loopback = false;
        assert_false(allowed("example.org", loopback[i]));
        settings->remote_loopback = true;
        assert_true(allowed("example.org", loopback[i]));
    }
    settings->remote_loopback = false;
    assert_true(allowed("example.org", "128.0.0.1"));
    assert_true(allowed("example.org", "::2"));
    assert_true(allowed("example.org", "2001:db8::1"));
}

static void nobodys_addresses_never_get_mail(void **state)
{
    (void)state;
    static const char *const never[] = {"0.0.0.0",         "0.1.2.3", "224.0.0.1", "239.1.1.1",
                                        "255.255.255.255", "::",      "ff02::1",   "::ffff:0.0.0.0"};
    settings->remote_loopback = true;
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        assert_false(allowed("example.org", never[i]));
    settings->remote_loopback = false;
}

/* A stranger may write to user@[127.0.0.1]; only the administrator's own route opens that door, and only for the port that it names. */
static void an_address_in_the_file_is_allowed(void **state)
{
    (void)state;
    assert_false(allowed("[127.0.0.1]:2526", "127.0.0.1"));
    struct settings_route *route = settings_append(settings, SETTINGS_ROUTES, SPAN_LITERAL("*"));
    assert_non_null(route);
    for (size_t i = 0; i < settings_route_settings; i++)
        if (strcmp(settings_route_table[i].name, "via") == 0)
            assert_int_equal(setting_assign(&settings_route_table[i], route, SPAN_LITERAL("smtp:[127.0.0.1]:2526"), &(struct error){0}), 0);
    assert_true(allowed("[127.0.0.1]:2526", "127.0.0.1"));
    assert_false(allowed("[127.0.0.1]:24", "127.0.0.1"));
    struct settings_domain *domain = settings_append(settings, SETTINGS_DOMAINS, SPAN_LITERAL("a.example"));
    assert_non_null(domain);
    for (size_t i = 0; i < settings_domain_settings; i++)
        if (strcmp(settings_domain_table[i].name, "deliver") == 0)
            assert_int_equal(setting_assign(&settings_domain_table[i], domain, SPAN_LITERAL("lmtp:[127.0.0.1]:24"), &(struct error){0}), 0);
    assert_true(allowed("[127.0.0.1]:24", "127.0.0.1"));
    assert_false(allowed("[127.0.0.1]", "127.0.0.1"));
    assert_false(allowed("[127.0.0.2]:2526", "127.0.0.2"));
    assert_false(allowed("example.org:2526", "127.0.0.1"));
}

/* The port is that of the transport: 465 for smtps. */
static void an_address_in_the_file_is_allowed_at_its_transport_s_port(void **state)
{
    (void)state;
    struct nexthop hop;
    struct settings *s = settings_new();
    struct settings_route *route = settings_append(s, SETTINGS_ROUTES, SPAN_LITERAL("*"));
    assert_non_null(route);
    for (size_t i = 0; i < settings_route_settings; i++)
        if (strcmp(settings_route_table[i].name, "via") == 0)
            assert_int_equal(setting_assign(&settings_route_table[i], route, SPAN_LITERAL("smtps:[127.0.0.1]"), &(struct error){0}), 0);
    assert_true(nexthop_parse_smtps(SPAN_LITERAL("[127.0.0.1]"), s, &hop) && hop.configured);
    assert_true(nexthop_parse(SPAN_LITERAL("[127.0.0.1]"), s, &hop) && !hop.configured);
    assert_true(nexthop_parse(SPAN_LITERAL("[127.0.0.1]:587"), s, &hop) && !hop.configured);
    settings_free(s);
}

static void an_address_literal_is_its_next_hop(void **state)
{
    (void)state;
    static const struct {
        const char *nexthop, *domain;
        bool is;
    } rows[] = {{"[192.0.2.1]", "[192.0.2.1]", true},
                {"[192.0.2.1]:2525", "[192.0.2.1]", true},
                {"[IPv6:::1]", "[IPv6:0:0::1]", true},
                {"[::1]:2525", "[ipv6:::1]", true},
                {"[192.0.2.1]", "[192.0.2.2]", false},
                {"[192.0.2.1]", "192.0.2.1", false},
                {"[192.0.2.1]", "[a.example]", false},
                {"[a.example]", "[a.example]", false},
                {"[192.0.2.1]", "[]", false},
                {"[192.0.2.1]", "", false},
                {"[::1]", "[IPv6:]", false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct nexthop hop;
        assert_true(nexthop_parse(span_of(rows[i].nexthop), settings, &hop));
        if (nexthop_is_literal(&hop, span_of(rows[i].domain)) != rows[i].is)
            fail_msg("%s %s", rows[i].nexthop, rows[i].domain);
    }
}

static void families(void **state)
{
    (void)state;
    settings->remote_address_family = FAMILY_IPV4;
    assert_false(allowed("example.org", "2001:db8::1"));
    assert_true(allowed("example.org", "192.0.2.1"));
    settings->remote_address_family = FAMILY_IPV6;
    assert_true(allowed("example.org", "2001:db8::1"));
    assert_false(allowed("example.org", "192.0.2.1"));
    settings->remote_address_family = FAMILY_ANY;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms),
        cmocka_unit_test(a_socket),

        cmocka_unit_test(with_tls_from_the_first_byte),
        cmocka_unit_test(what_is_none),
        cmocka_unit_test(an_address_in_the_file_is_allowed_at_its_transport_s_port),
        cmocka_unit_test(an_address_literal_is_its_next_hop),
        cmocka_unit_test(loopback_needs_leave),
        cmocka_unit_test(nobodys_addresses_never_get_mail),
        cmocka_unit_test(an_address_in_the_file_is_allowed),
        cmocka_unit_test(families),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
