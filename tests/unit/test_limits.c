/* limits: which limits hold for a site, by its name and the settings. */
#include "qmgr/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void give(enum settings_kind kind, void *object, const char *name, const char *value)
{
    const struct settings_section *section = &settings_sections[kind];
    struct error e;
    for (size_t i = 0; i < section->count; i++) {
        if (strcmp(section->table[i].name, name) == 0) {
            assert_int_equal(setting_assign(&section->table[i], object, span_of(value), &e), 0);
            return;
        }
    }
    fail_msg("no setting %s", name);
}

static void add(struct settings *s, enum settings_kind kind, const char *title, const char *name, const char *value)
{
    void *object = settings_append(s, kind, span_of(title));
    assert_non_null(object);
    if (kind == SETTINGS_ROUTES)
        give(kind, object, "via", "smtp:");
    if (name)
        give(kind, object, name, value);
}

static struct limits of(const struct settings *s, const char *name)
{
    return limits_of_site(s, span_of(name));
}

static void without_sections_the_defaults_hold(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    struct limits l = of(s, "smtp:mx.example may");
    assert_true(l.sessions == 20 && l.rate == 0 && l.session_messages == 100);
    s->queue_site_sessions = 3;
    s->queue_site_rate = 60;
    s->remote_session_messages = 7;
    l = of(s, "smtp:[192.0.2.1]:2525 none");
    assert_true(l.sessions == 3 && l.rate == 60 && l.session_messages == 7);
    l = of(s, "local");
    assert_true(l.sessions == s->queue_local_deliveries && l.rate == 0);
    l = of(s, "dns:mx.example");
    assert_true(l.sessions == 1 && l.rate == 0);
    settings_free(s);
}

static void a_site_section_holds_for_hosts_at_or_below_its_name(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool holds;
    } cases[] = {
        {"smtp:example.net may", true},
        {"smtp:MX1.Example.NET:26 required", true},
        {"smtp:a.mx.example.net,b.example.net may", true},
        {"smtp:[mx.example.net]:2525 may", true},
        {"smtp:a.example.net,mx.example.org may", false}, /* not all */
        {"smtp:mx.example.org,a.example.net may", false},
        {"smtp:badexample.net may", false},
        {"smtp:example.net.org may", false},
        {"smtp:net may", false},
        {"smtp: may", false},
        {"smtp:", false},
        {"dns:example.net", false},
        {"local", false},
        {"", false},
        {"smtp:[192.0.2.1]:25 may route *", false},
    };
    struct settings *s = settings_new();
    add(s, SETTINGS_SITES, "example.net", "rate", "5");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if ((of(s, cases[i].name).rate == 5) != cases[i].holds)
            fail_msg("%s", cases[i].name);
    settings_free(s);
}

static void an_address_is_itself(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    add(s, SETTINGS_SITES, "192.0.2.1", "sessions", "2");
    add(s, SETTINGS_SITES, "2001:db8::1", "sessions", "3");
    assert_int_equal(of(s, "smtp:[192.0.2.1] may").sessions, 2);
    assert_int_equal(of(s, "smtp:[192.0.2.1]:2525 may").sessions, 2);
    assert_int_equal(of(s, "smtp:[2001:db8::1]:2525 may").sessions, 3);
    assert_int_equal(of(s, "smtp:[IPv6:2001:DB8::1] may").sessions, 3);
    assert_int_equal(of(s, "smtp:[10.192.0.2.1] may").sessions, 2); /* no address, and no host: whatever */
    assert_int_equal(of(s, "smtp:[92.0.2.1] may").sessions, 20);
    settings_free(s);
}

static void the_more_specific_wins_for_each_limit_by_itself(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    s->queue_site_rate = 9;
    add(s, SETTINGS_SITES, "mx.example.net", "sessions", "4");
    add(s, SETTINGS_SITES, "example.net", "sessions", "5");
    give(SETTINGS_SITES, &s->sites[1], "session_messages", "6");
    add(s, SETTINGS_ROUTES, "*", "session_messages", "8");
    add(s, SETTINGS_ROUTES, "a.example", "rate", "0");
    struct limits l = of(s, "smtp:mx.example.net may");
    assert_true(l.sessions == 4 && l.rate == 9 && l.session_messages == 6);
    l = of(s, "smtp:other.example.net may");
    assert_true(l.sessions == 5 && l.rate == 9 && l.session_messages == 6);
    l = of(s, "smtp:mx.example.net may route *");
    assert_true(l.sessions == 4 && l.rate == 9 && l.session_messages == 8);
    l = of(s, "smtp:mx.example.net may route a.example");
    assert_true(l.sessions == 4 && l.rate == 0 && l.session_messages == 6); /* 0 lifts it */
    l = of(s, "smtp:mx.example.net may route gone.example");
    assert_true(l.sessions == 4 && l.rate == 9 && l.session_messages == 6);
    settings_free(s);
}

static struct record_recipient to(const char *address)
{
    return (struct record_recipient){.address = span_of(address)};
}

static void a_route_with_limits_has_a_line_of_its_own(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    struct record_recipient a = to("x@A.example"), b = to("\"@a.example\"@b.example"), none = to("postmaster");
    struct buf name = BUF_EMPTY(0);
    add(s, SETTINGS_ROUTES, "*", NULL, NULL);
    assert_null(limits_route(s, &a));
    add(s, SETTINGS_ROUTES, "a.example", "sessions", "1");
    assert_string_equal(limits_route(s, &a)->title, "a.example");
    assert_null(limits_route(s, &b)); /* "*" is its route, and gives none */
    assert_null(limits_route(s, &none));
    add(s, SETTINGS_ROUTES, "xn--bcher-kva.example", "rate", "1");
    struct record_recipient umlauts = {.address = SPAN_LITERAL("\xc3\xbc@b\xc3\xbc"
                                                               "cher.example")};
    struct record_recipient no_domain = {.address = SPAN_LITERAL("\xc3\xbc@\xc3\xbc..example")};
    assert_string_equal(limits_route(s, &umlauts)->title, "xn--bcher-kva.example");
    assert_null(limits_route(s, &no_domain));
    buf_add_text(&name, "smtp:mx.example may");
    limits_add_route(s, &b, &name);
    assert_string_equal(buf_text(&name), "smtp:mx.example may");
    assert_true(limits_in_line(s, &b, buf_span(&name)));
    assert_int_equal(limits_line_of(buf_span(&name)).n, 0);
    assert_false(limits_in_line(s, &a, buf_span(&name)));
    limits_add_route(s, &a, &name);
    assert_true(span_equal(limits_line_of(buf_span(&name)), SPAN_LITERAL("a.example")));
    assert_string_equal(buf_text(&name), "smtp:mx.example may route a.example");
    assert_true(limits_in_line(s, &a, buf_span(&name)));
    assert_false(limits_in_line(s, &b, buf_span(&name)));
    assert_int_equal(limits_of_site(s, buf_span(&name)).sessions, 1);
    buf_free(&name);
    settings_free(s);
}

static void a_route_of_lmtp_is_for_mail_that_goes_there(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    struct record_recipient r = to("x@a.example");
    add(s, SETTINGS_ROUTES, "*", "via", "lmtp:unix:/run/lmtp");
    give(SETTINGS_ROUTES, &s->routes[0], "sessions", "3");
    r.transport = SPAN_LITERAL("smtp");
    r.nexthop = SPAN_LITERAL("a.example");
    assert_null(limits_route(s, &r));
    r.transport = SPAN_LITERAL("lmtp");
    r.nexthop = SPAN_LITERAL("unix:/run/other"); /* a domain's own server */
    assert_null(limits_route(s, &r));
    r.nexthop = SPAN_LITERAL("unix:/run/lmtp");
    assert_non_null(limits_route(s, &r));
    assert_int_equal(of(s, "lmtp:unix:/run/lmtp none route *").sessions, 3);
    assert_int_equal(of(s, "lmtp:unix:/run/lmtp none").sessions, s->queue_site_sessions);
    settings_free(s);
}

static void an_lmtp_server_on_the_network_is_a_host(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    add(s, SETTINGS_SITES, "b.example", "sessions", "2");
    add(s, SETTINGS_SITES, "unix", "sessions", "5");
    assert_int_equal(of(s, "lmtp:[mail.b.example]:24 dane").sessions, 2);
    assert_int_equal(of(s, "lmtp:unix:/b.example none").sessions, s->queue_site_sessions);
    assert_int_equal(limits_hosts(SPAN_LITERAL("lmtp:unix:/b.example none")).n, 0);
    settings_free(s);
}

static void a_domain_s_mail_goes_where_its_route_leads(void **state)
{
    (void)state;
    static const struct {
        const char *domain, *nexthop;
    } rows[] = {{"a.example", "[hub]:26"},
                {"x.b.example", "unix:/run/l"},
                {"b.example", "smart.example"},
                {"own.example", "own.example"},
                {"first.example", "[smart]:4650"},
                {"[hub]:26", "[hub]:26"},
                {"smtp:[x]:25 may", "smtp:[x]:25 may"}};
    struct settings *s = settings_new();
    assert_true(span_equal(limits_nexthop(s, SPAN_LITERAL("a.example")), SPAN_LITERAL("a.example")));
    add(s, SETTINGS_ROUTES, "a.example", "via", "smtp:[hub]:26");
    add(s, SETTINGS_ROUTES, ".b.example", "via", "lmtp:unix:/run/l");
    add(s, SETTINGS_ROUTES, "first.example", "via", "smtps:[smart]:4650");
    add(s, SETTINGS_ROUTES, "own.example", "via", "smtp::26");
    add(s, SETTINGS_ROUTES, "*", "via", "smtp:smart.example");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_true(span_equal(limits_nexthop(s, span_of(rows[i].domain)), span_of(rows[i].nexthop)));
    settings_free(s);
}

static void a_host_with_tls_from_the_first_byte_is_a_host(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    struct record_recipient r = to("x@a.example");
    add(s, SETTINGS_SITES, "b.example", "sessions", "2");
    add(s, SETTINGS_ROUTES, "*", "via", "smtps:[mail.b.example]");
    give(SETTINGS_ROUTES, &s->routes[0], "rate", "7");
    assert_int_equal(of(s, "smtps:[mail.b.example]:4650 verify").sessions, 2);
    assert_int_equal(of(s, "smtps:[mail.b.example] verify route *").sessions, 2);
    assert_int_equal(of(s, "smtps:[mail.b.example] verify route *").rate, 7);
    assert_true(span_equal(limits_hosts(SPAN_LITERAL("smtps:[IPv6:2001:db8::1]:4650 verify")), SPAN_LITERAL("2001:db8::1")));
    assert_true(span_equal(limits_hosts(SPAN_LITERAL("smtps:[mail.b.example] verify")), SPAN_LITERAL("mail.b.example")));
    r.transport = SPAN_LITERAL("smtps");
    r.nexthop = SPAN_LITERAL("[mail.b.example]");
    assert_non_null(limits_route(s, &r));
    r.transport = SPAN_LITERAL("smtp"); /* taken before the route had smtps: */
    assert_non_null(limits_route(s, &r));
    r.transport = SPAN_LITERAL("lmtp");
    assert_null(limits_route(s, &r));
    settings_free(s);
}

static void a_host_that_no_route_names_is_a_stray(void **state)
{
    (void)state;
    static const char *const strays[] = {"smtp:[192.0.2.1]:26 may", "smtp:[old.example] dane", "smtp:[old.example]:25 verify route *",
                                         "smtps:[hub]:26 verify"};
    static const char *const others[] = {"smtp:[hub]:26 may",
                                         "smtp:[HUB]:26 may route *",
                                         "smtp:[192.0.2.1] may",
                                         "smtp:[IPv6:2001:db8::1] may",
                                         "smtp:mx.example may",
                                         "dns:old.example",
                                         "local",
                                         "lmtp:[old.example]:24 may"};
    struct settings *s = settings_new();
    add(s, SETTINGS_ROUTES, "*", "via", "smtp:[hub]:26");
    for (size_t i = 0; i < sizeof strays / sizeof strays[0]; i++)
        assert_true(limits_is_stray(s, span_of(strays[i])));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(limits_is_stray(s, span_of(others[i])));
    settings_free(s);
}

static void a_source_in_warm_up_has_a_line_of_its_own(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    const uint64_t day = UINT64_C(1793491200); /* 2026-11-01 */
    add(s, SETTINGS_ROUTES, "*", "sources", "out1 2");
    add(s, SETTINGS_SOURCES, "out1", "warm_up", "2026-11-01");
    struct settings_source *source = &s->sources[0];
    struct buf name = BUF_EMPTY(0);
    assert_int_equal(limits_a_day(s, SPAN_LITERAL("smtp:mx.example may source out1"), day + 9 * 86400), 100000);
    give(SETTINGS_SOURCES, source, "warm_up_plan", "50");
    give(SETTINGS_SOURCES, source, "warm_up_plan", "1000");
    limits_add_source(SPAN_LITERAL("smtp:mx.example may route *"), source, &name);
    assert_string_equal(buf_text(&name), "smtp:mx.example may route * source out1");
    assert_true(span_equal(limits_line_of(buf_span(&name)), SPAN_LITERAL("*")));
    assert_true(span_equal(limits_source_of(buf_span(&name)), SPAN_LITERAL("out1")));
    assert_true(span_equal(limits_source_of(SPAN_LITERAL("smtp:mx.example may source out1")), SPAN_LITERAL("out1")));
    assert_int_equal(limits_line_of(SPAN_LITERAL("smtp:mx.example may source out1")).n, 0);
    assert_int_equal(limits_source_of(SPAN_LITERAL("smtp:mx.example may route source")).n, 0);
    assert_true(limits_hosts_below(buf_span(&name), SPAN_LITERAL("example")));
    assert_int_equal(limits_a_day(s, buf_span(&name), day - 86400), 50); /* not before the first day */
    assert_int_equal(limits_a_day(s, buf_span(&name), day + 86399), 50);
    assert_int_equal(limits_a_day(s, buf_span(&name), day + 86400), 1000);
    assert_int_equal(limits_a_day(s, buf_span(&name), day + 2 * 86400), 0);
    assert_int_equal(limits_a_day(s, SPAN_LITERAL("smtp:mx.example may route *"), day), 0);
    s->queue_site_rate = 1; /* a minute: 1440 a day */
    assert_int_equal(limits_a_day(s, buf_span(&name), day + 86400), 1000);
    give(SETTINGS_SOURCES, source, "warm_up_plan", "1441");
    assert_int_equal(limits_a_day(s, buf_span(&name), day + 2 * 86400), 0); /* the site's own is less */
    struct record_recipient b = to("x@b.example");
    assert_true(limits_in_line(s, &b, buf_span(&name)));
    assert_false(limits_in_line(s, &b, SPAN_LITERAL("smtp:mx.example may route * source out2")));
    buf_free(&name);
    settings_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_sections_the_defaults_hold),
        cmocka_unit_test(a_site_section_holds_for_hosts_at_or_below_its_name),
        cmocka_unit_test(an_address_is_itself),
        cmocka_unit_test(the_more_specific_wins_for_each_limit_by_itself),
        cmocka_unit_test(a_route_with_limits_has_a_line_of_its_own),
        cmocka_unit_test(a_domain_s_mail_goes_where_its_route_leads),
        cmocka_unit_test(a_host_that_no_route_names_is_a_stray),
        cmocka_unit_test(a_source_in_warm_up_has_a_line_of_its_own),
        cmocka_unit_test(a_route_of_lmtp_is_for_mail_that_goes_there),
        cmocka_unit_test(an_lmtp_server_on_the_network_is_a_host),
        cmocka_unit_test(a_host_with_tls_from_the_first_byte_is_a_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
