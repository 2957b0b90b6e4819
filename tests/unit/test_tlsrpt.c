/* The counts of a day, their file, the report made of them, and the record that asks for it (RFC 8460). */
#include "sts/mail_count.h"
#include "sts/public.h"
#include "sts/report_mail.h"
#include "sts/rua.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct reporter reporter = {"Company \"X\"", "sts@x.example", "mx.x.example"};

static struct tally_sessions success(const char *domain, uint64_t count)
{
    return (struct tally_sessions){.domain = span_of(domain), .policy_domain = span_of(domain), .count = count};
}

static struct tally_sessions failure(const char *domain, enum tls_result result, const char *reason)
{
    struct tally_sessions s = success(domain, 1);
    s.policy = TLS_POLICY_STS;
    s.strings = SPAN_LITERAL("version: STSv1\nmode: testing\nmx: *.b.example\nmx: mx.b.example\nmax_age: 86400");
    s.result = result;
    s.source = SPAN_LITERAL("192.0.2.1");
    s.address = SPAN_LITERAL("2001:db8::2");
    s.host = SPAN_LITERAL("mx.b.example");
    s.reason = span_of(reason);
    return s;
}

static struct tally *with(const struct tally_sessions *s, size_t n)
{
    struct tally *t = tally_new(20779);
    for (size_t i = 0; i < n; i++)
        assert_true(tally_add(t, &s[i]));
    return t;
}

static char *text_of(struct tally *t)
{
    struct buf out = {0};
    tally_write(t, &out);
    assert_false(out.failed);
    buf_text(&out);
    return out.data;
}

/* What is alike is one count. */
static void sessions_add_up(void **state)
{
    (void)state;
    struct tally_sessions s[] = {success("b.example", 2), success("B.Example", 3), failure("b.example", TLS_CERTIFICATE_EXPIRED, "old"),
                                 failure("b.example", TLS_CERTIFICATE_EXPIRED, "old"),
                                 failure("b.example", TLS_CERTIFICATE_EXPIRED, "older")};
    s[1].policy_domain = s[0].policy_domain;
    struct tally *t = with(s, 5);
    assert_int_equal(tally_domains(t), 1);
    struct tally_domain *d = tally_first(t);
    assert_string_equal(d->name, "b.example");
    struct tally_policy *none = STAILQ_FIRST(&d->policies), *sts = STAILQ_NEXT(none, link);
    assert_int_equal(none->successes, 5);
    assert_int_equal(none->failures, 0);
    assert_int_equal(sts->successes, 0);
    assert_int_equal(sts->failures, 3);
    struct tally_failure *first = STAILQ_FIRST(&sts->details);
    assert_int_equal(first->count, 2);
    assert_int_equal(STAILQ_NEXT(first, link)->count, 1);
    assert_null(STAILQ_NEXT(sts, link));
    tally_free(t);
}

static void what_can_not_be_is_not_counted(void **state)
{
    (void)state;
    struct tally *t = tally_new(1);
    static const char *const names[] = {"", ".", "a..b", "a b", "[192.0.2.1]", "../x"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct tally_sessions s = success(names[i], 1);
        assert_false(tally_add(t, &s));
    }
    struct tally_sessions s = success("b.example", 1);
    s.policy = TLS_POLICY_STS + 1;
    assert_false(tally_add(t, &s));
    s.policy = TLS_POLICY_STS;
    s.result = TLS_RESULTS;
    assert_false(tally_add(t, &s));
    assert_int_equal(tally_domains(t), 0);
    tally_free(t);
}

static void counts_do_not_wrap(void **state)
{
    (void)state;
    struct tally_sessions s[] = {success("b.example", UINT64_MAX), success("b.example", 5)};
    struct tally *t = with(s, 2);
    assert_true(STAILQ_FIRST(&tally_first(t)->policies)->successes == UINT64_MAX);
    tally_free(t);
}

/* Beyond its kinds a policy counts without details, and a domain does not count. */
static void kinds_are_bounded(void **state)
{
    (void)state;
    struct tally *t = tally_new(1);
    char words[20];
    for (int i = 0; i < TALLY_FAILURES + 10; i++) {
        snprintf(words, sizeof words, "%d", i);
        struct tally_sessions s = failure("b.example", TLS_VALIDATION_FAILURE, words);
        assert_true(tally_add(t, &s));
    }
    struct tally_policy *p = STAILQ_FIRST(&tally_first(t)->policies);
    assert_int_equal(p->failures, TALLY_FAILURES + 10);
    assert_int_equal(p->kinds, TALLY_FAILURES);
    for (int i = 1; i < TALLY_POLICIES + 10; i++) {
        snprintf(words, sizeof words, "%d.example", i);
        struct tally_sessions s = success("b.example", 1);
        s.policy_domain = span_of(words);
        assert_int_equal(tally_add(t, &s), i < TALLY_POLICIES);
    }
    tally_free(t);
}

static void memory_is_bounded(void **state)
{
    (void)state;
    struct tally *t = tally_new(1);
    char name[64];
    size_t n = 0;
    bool added = true;
    for (; added && n < 1000000; n++) {
        snprintf(name, sizeof name, "host%zu.example", n);
        struct tally_sessions s = failure(name, TLS_VALIDATION_FAILURE, "words");
        added = tally_add(t, &s);
    }
    assert_in_range(n, 10000, 100000);
    struct tally_sessions s = failure("host5.example", TLS_VALIDATION_FAILURE, "words");
    assert_true(tally_add(t, &s)); /* who has a place keeps it */
    struct buf out = BUF_EMPTY(TALLY_FILE);
    tally_write(t, &out);
    assert_false(out.failed);
    struct tally *again = tally_read(buf_span(&out));
    assert_non_null(again);
    assert_in_range(tally_domains(again), tally_domains(t) - 1, tally_domains(t));
    buf_free(&out);
    tally_free(again);
    tally_free(t);
}

static void texts_are_made_harmless(void **state)
{
    (void)state;
    struct tally_sessions s = failure("b.example", TLS_VALIDATION_FAILURE, "a\nend\n\xff\x01\"b");
    s.strings = SPAN_LITERAL("one\r\n\n\ntwo\x7f");
    struct tally *t = with(&s, 1);
    char *text = text_of(t);
    assert_non_null(strstr(text, "\nreason a?end???\"b\nend\n"));
    assert_non_null(strstr(text, "\nstring one?\nstring two?\nfailure"));
    struct tally *again = tally_read(span_of(text));
    assert_non_null(again);
    free(text);
    tally_free(again);
    tally_free(t);
}

static void a_day_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct tally_sessions s[] = {success("b.example", 7), failure("b.example", TLS_STARTTLS_NOT_SUPPORTED, ""),
                                 failure("c.example", TLS_STS_WEBPKI_INVALID, "a b c"), success("c.example", 1)};
    s[3].policy = TLS_POLICY_TLSA;
    s[3].policy_domain = SPAN_LITERAL("mx.c.example");
    s[3].strings = SPAN_LITERAL("3 1 1 00aa\n3 1 1 bb");
    struct tally *t = with(s, 4);
    s[1].bare = true;
    s[1].count = 9;
    assert_true(tally_add(t, &s[1]));
    char *text = text_of(t);
    struct tally *again = tally_read(span_of(text));
    assert_non_null(again);
    assert_int_equal(tally_day(again), 20779);
    assert_int_equal(STAILQ_NEXT(STAILQ_FIRST(&tally_first(again)->policies), link)->failures, 10);
    char *twice = text_of(again);
    assert_string_equal(text, twice);
    for (size_t n = 0; n < strlen(text); n++)
        assert_null(tally_read(span_make(text, n))); /* cut anywhere it is none */
    free(text);
    free(twice);
    tally_free(again);
    tally_free(t);
}

static void days_of_two_processes_are_one(void **state)
{
    (void)state;
    struct tally_sessions s[] = {success("b.example", 7), failure("b.example", TLS_STARTTLS_NOT_SUPPORTED, "x"),
                                 failure("b.example", TLS_STARTTLS_NOT_SUPPORTED, "y"), success("c.example", 1)};
    s[2].bare = true;
    struct tally *all = with(s, 1), *a = with(s, 3), *b = with(s + 1, 3);
    tally_merge(all, a);
    tally_merge(all, b);
    assert_int_equal(tally_domains(all), 2);
    struct tally_policy *none = STAILQ_FIRST(&tally_first(all)->policies), *sts = STAILQ_NEXT(none, link);
    assert_int_equal(none->successes, 14);
    assert_int_equal(sts->failures, 4);
    assert_int_equal(sts->kinds, 1);
    assert_int_equal(STAILQ_FIRST(&sts->details)->count, 2);
    tally_free(all);
    tally_free(a);
    tally_free(b);
}

static void files_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Postino TLSRPT 2\nday 1\nend\n",
        "Postino TLSRPT 1\nday x\nend\n",
        "Postino TLSRPT 1\nday 1 1\nend\n",
        "Postino TLSRPT 1\nday 1\nend\nend\n",
        "Postino TLSRPT 1\nday 1\ndomain ..\npolicy sts 1 0 b\nend\n",
        "Postino TLSRPT 1\nday 1\npolicy sts 1 0 b\nend\n",
        "Postino TLSRPT 1\nday 1\ndomain b.example\npolicy no 1 0 b\nend\n",
        "Postino TLSRPT 1\nday 1\ndomain b.example\npolicy sts 1 -1 b\nend\n",
        "Postino TLSRPT 1\nday 1\ndomain b.example\npolicy sts 99999999999999999999 0 b\nend\n",
        "Postino TLSRPT 1\nday 1\ndomain b.example\nstring x\nend\n",
        "Postino TLSRPT 1\nday 1\ndomain b.example\npolicy sts 1 0 b\nfailure validation-failure 1\nsource \naddress \nhost \nreason "
        "\nend\n",
        "Postino TLSRPT 1\nday 1\ndomain b.example\npolicy sts 1 1 b\nfailure success 1\nsource \naddress \nhost \nreason \nend\n",
        "Postino TLSRPT 1\nday 1\ndomain b.example\npolicy sts 1 1 b\nfailure validation-failure 1\naddress \nsource \nhost \nreason "
        "\nend\n",
    };
    struct tally *good =
        tally_read(SPAN_LITERAL("Postino TLSRPT 1\nday 1\ndomain b.example\npolicy sts 1 1 b\nfailure validation-failure 1\n"
                                "source \naddress \nhost \nreason \nend\n"));
    assert_non_null(good);
    tally_free(good);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (tally_read(span_of(bad[i])))
            fail_msg("%zu is read", i);
}

/* Field by field, as RFC 8460 4.4 has them. (That it is JSON is looked at in tests/e2e/test_tlsrpt.py, by another's parser.) */
static void the_report(void **state)
{
    (void)state;
    struct tally_sessions s[] = {success("b.example", 7), failure("b.example", TLS_CERTIFICATE_HOST_MISMATCH, "say \"no\" \\"),
                                 failure("b.example", TLS_STARTTLS_NOT_SUPPORTED, "")};
    struct tally *t = with(s, 3);
    struct buf out = {0};
    report_json(&reporter, tally_first(t), 20779, &out);
    assert_string_equal(
        buf_text(&out),
        "{\"organization-name\":\"Company \\\"X\\\"\",\"date-range\":{\"start-datetime\":\"2026-11-22T00:00:00Z\",\"end-datetime\":"
        "\"2026-11-22T23:59:59Z\"},\"contact-info\":\"sts@x.example\",\"report-id\":\"20261122.b.example@mx.x.example\",\"policies\":["
        "{\"policy\":{\"policy-type\":\"no-policy-found\",\"policy-domain\":\"b.example\"},\"summary\":{\"total-successful-session-count\":"
        "7,"
        "\"total-failure-session-count\":0}},"
        "{\"policy\":{\"policy-type\":\"sts\",\"policy-string\":[\"version: STSv1\",\"mode: testing\",\"mx: *.b.example\",\"mx: "
        "mx.b.example\",\"max_age: 86400\"],\"policy-domain\":\"b.example\",\"mx-host\":[\"*.b.example\",\"mx.b.example\"]},"
        "\"summary\":{\"total-successful-session-count\":0,\"total-failure-session-count\":2},\"failure-details\":["
        "{\"result-type\":\"certificate-host-mismatch\",\"sending-mta-ip\":\"192.0.2.1\",\"receiving-mx-hostname\":\"mx.b.example\","
        "\"receiving-ip\":\"2001:db8::2\",\"failed-session-count\":1,\"failure-reason-code\":\"say \\\"no\\\" \\\\\"},"
        "{\"result-type\":\"starttls-not-supported\",\"sending-mta-ip\":\"192.0.2.1\",\"receiving-mx-hostname\":\"mx.b.example\","
        "\"receiving-ip\":\"2001:db8::2\",\"failed-session-count\":1}]}]}");
    buf_free(&out);
    tally_free(t);
}

/* ---- the record ------------------------------------------------------------------------------------------------------------------ */

static size_t places(const char *record, struct rua out[RUA_MOST])
{
    return rua_parse(span_of(record), out);
}

static void records_name_places(void **state)
{
    (void)state;
    struct rua r[RUA_MOST];
    assert_int_equal(places("v=TLSRPTv1; rua=mailto:reports@b.example", r), 1);
    assert_int_equal(r[0].kind, RUA_MAIL);
    assert_string_equal(r[0].text, "reports@b.example");
    assert_int_equal(places("v=TLSRPTv1;rua=https://Reports.B.example/v1/tlsrpt?x=1 , MAILTO:a%2bb%21c@b.example?subject=x;ext=1; ", r), 2);
    assert_int_equal(r[0].kind, RUA_HTTPS);
    assert_string_equal(r[0].text, "https://Reports.B.example/v1/tlsrpt?x=1");
    assert_string_equal(r[0].host, "reports.b.example");
    assert_string_equal(r[1].text, "a+b!c@b.example");
    assert_int_equal(places("v=TLSRPTv1; rua=https://b.example:443", r), 1);
    assert_string_equal(r[0].host, "b.example");
    assert_int_equal(places("v=TLSRPTv1; rua=x:1,mailto:2@b.example; rua=mailto:,mailto:4@b.example,mailto:5@b.example", r), RUA_MOST);
    assert_string_equal(r[0].text, "2@b.example");
    assert_string_equal(r[1].text, "4@b.example");
}

static void what_is_no_place(void **state)
{
    (void)state;
    struct rua r[RUA_MOST];
    static const char *const bad[] = {
        "",
        "v=TLSRPTv1",
        "v=TLSRPTv1;",
        "v=TLSRPTv1; rua=",
        "v=TLSRPTv2; rua=mailto:a@b.example",
        "V=TLSRPTv1; rua=mailto:a@b.example",
        "rua=mailto:a@b.example; v=TLSRPTv1",
        "v=TLSRPTv1; rua=http://b.example/",
        "v=TLSRPTv1; rua=ftp:a@b.example",
        "v=TLSRPTv1; rua=https://b.example:8443/",
        "v=TLSRPTv1; rua=https://user@b.example/",
        "v=TLSRPTv1; rua=https://[::1]/",
        "v=TLSRPTv1; rua=https://localhost/",
        "v=TLSRPTv1; rua=https:///x",
        "v=TLSRPTv1; rua=https://b.example/a b",
        "v=TLSRPTv1; rua=https://b.example/\r\nX: y",
        "v=TLSRPTv1; rua=mailto:",
        "v=TLSRPTv1; rua=mailto:nobody",
        "v=TLSRPTv1; rua=mailto:a%40b%0d%0aX@b.example",
        "v=TLSRPTv1; rua=mailto:a%2cb@b.example",
        "v=TLSRPTv1; rua=mailto:a%4",
        "v=TLSRPTv1; rua=mailto:a@[192.0.2.1]",
        "v=TLSRPTv1; rua=mailto:\xc3\xa9@b.example",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (places(bad[i], r) != 0)
            fail_msg("\"%s\" names a place", bad[i]);
}

static void long_places_are_passed_over(void **state)
{
    (void)state;
    struct rua r[RUA_MOST];
    char record[2000];
    for (int n = 1; n < 1900; n += 37) {
        snprintf(record, sizeof record, "v=TLSRPTv1; rua=https://b.example/%0*d", n, 0);
        assert_int_equal(places(record, r), n + 18 < RUA_TEXT - 1 ? 1 : 0);
        snprintf(record, sizeof record, "v=TLSRPTv1; rua=mailto:%0*d@b.example", n, 0);
        assert_true(places(record, r) <= 1);
    }
}

/* ---- where it goes --------------------------------------------------------------------------------------------------------------- */

static void reports_go_to_public_addresses(void **state)
{
    (void)state;
    struct buf out = {0};
    public_addresses(
        SPAN_LITERAL("127.0.0.1 10.1.2.3 172.31.0.1 192.168.1.1 169.254.169.254 100.100.1.1 0.0.0.0 224.0.0.1 255.255.255.255 ::1 :: "
                     "::ffff:127.0.0.1 ::ffff:10.0.0.1 ::7f00:1 fd00::1 fe80::1 fec0::1 ff02::1 64:ff9b::a00:1 2002:7f00:1:: nonsense  "),
        &out);
    assert_int_equal(out.len, 0);
    public_addresses(SPAN_LITERAL("127.0.0.1 203.0.113.5 x 2001:db8::1 172.32.0.1"), &out);
    assert_string_equal(buf_text(&out), "203.0.113.5 2001:db8::1 172.32.0.1");
    buf_free(&out);
}

static void mail_about_others_is_bounded(void **state)
{
    (void)state;
    mail_count_clear();
    for (int i = 0; i < 10; i++) {
        assert_int_equal(mail_count_may("a@Victim.example", "mine.example", 3), i < 3);
        assert_true(mail_count_may("a@b.example", "b.example", 3));
        assert_int_equal(mail_count_may("a@above.example", i % 2 ? "x.above.example" : "y.Above.example", 3), i < 3);
        assert_true(mail_count_may("a@r.b.example", "b.example", 3));
        assert_int_equal(mail_count_may("a@ab.example", "b.example", 3), i < 3);
        assert_int_equal(mail_count_may("a@example", "b.example", 3), i < 3);
    }
    mail_count_clear();
    assert_true(mail_count_may("a@victim.example", "mine.example", 3));
    char name[64];
    int n = 0;
    for (; n < 100000; n++) {
        snprintf(name, sizeof name, "a@d%d.example", n);
        if (!mail_count_may(name, "mine.example", 3))
            break;
    }
    assert_in_range(n, 1000, 5000);
    mail_count_clear();
}

static void a_message_has_short_lines(void **state)
{
    (void)state;
    struct tally_sessions s = success("b.example", 7);
    struct tally *t = with(&s, 1);
    struct buf json = {0}, gzip = {0}, out = {0};
    for (size_t n = 0; n < 200; n++) {
        buf_clear(&gzip);
        buf_clear(&out);
        buf_printf(&json, "%zu", n * n * n);
        assert_true(report_gzip(buf_span(&json), &gzip));
        report_mail(&reporter, "a@x.example", "r@b.example", tally_first(t), 20779, 1795391999, buf_span(&gzip), &out);
        assert_false(out.failed);
        for (const char *line = buf_text(&out), *end; *line; line = end + 2) {
            end = strstr(line, "\r\n");
            assert_non_null(end);
            assert_in_range(end - line, 0, 998);
            assert_null(memchr(line, '\n', (size_t)(end - line)));
        }
    }
    struct buf small = BUF_EMPTY(20);
    assert_false(report_gzip(buf_span(&json), &small));
    buf_free(&small);
    buf_free(&json);
    buf_free(&gzip);
    buf_free(&out);
    tally_free(t);
}

int main(void)
{

    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_add_up),
        cmocka_unit_test(what_can_not_be_is_not_counted),
        cmocka_unit_test(counts_do_not_wrap),
        cmocka_unit_test(kinds_are_bounded),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(texts_are_made_harmless),
        cmocka_unit_test(a_day_is_read_as_it_was_written),
        cmocka_unit_test(days_of_two_processes_are_one),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(the_report),
        cmocka_unit_test(records_name_places),
        cmocka_unit_test(what_is_no_place),
        cmocka_unit_test(long_places_are_passed_over),
        cmocka_unit_test(reports_go_to_public_addresses),
        cmocka_unit_test(mail_about_others_is_bounded),
        cmocka_unit_test(a_message_has_short_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
