#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sts/policy.h"
#include "sts/store.h"

#define FRONT "version: STSv1\nmode: enforce\nmax_age: 86400\n"

/* "mode max_age mx", or what is wrong. */
static const char *policy(const char *text)
{
    static struct buf out;
    struct sts_policy p;
    const char *why;
    buf_clear(&out);
    if (sts_policy_parse(span_of(text), &p, &why))
        buf_printf(&out, "%d %lu %s", (int)p.mode, (unsigned long)p.max_age, buf_text(&p.mx));
    else
        buf_add_text(&out, why);
    buf_free(&p.mx);
    return buf_text(&out);
}

static const char *record(const char *txt)
{
    static char id[STS_ID];
    return sts_record_parse(span_of(txt), id) ? id : NULL;
}

/* ---- RFC 8461 3.1 ---------------------------------------------------------------------------------------------------------------- */

static void records_have_an_id(void **state)
{
    (void)state;
    assert_string_equal(record("v=STSv1; id=20160831085700Z;"), "20160831085700Z");
    assert_string_equal(record("v=STSv1;id=1"), "1");
    assert_string_equal(record("v=STSv1 ; \tother=x;id=aB9 ;more=y"), "aB9");
    assert_string_equal(record("v=STSv1; id="
                               "12345678901234567890123456789012"),
                        "12345678901234567890123456789012");
}

static void what_is_no_record(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "v=STSv1",
                                      "v=STSv1;",
                                      "v=STSv2; id=1",
                                      "id=1; v=STSv1",
                                      "v=STSv1; id=",
                                      "v=STSv1; id=a-b",
                                      "v=STSv1; id=a b",
                                      "v=STSv1; ID=1",
                                      "v=STSv1; id=1; id=2",
                                      "v=STSv1; id=123456789012345678901234567890123",
                                      "V=STSv1; id=1",
                                      "v=STSv10; id=1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_null(record(bad[i]));
    assert_true(sts_is_record(SPAN_LITERAL("v=STSv1")));
    assert_false(sts_is_record(SPAN_LITERAL("v=spf1 -all")));
}

/* ---- RFC 8461 3.2 ---------------------------------------------------------------------------------------------------------------- */

static void policies_are_read(void **state)
{
    (void)state;
    assert_string_equal(policy(FRONT "mx: mail.example.com\nmx: *.Example.NET\nmx: backupmx.example.com\n"),
                        "2 86400 mail.example.com *.example.net backupmx.example.com");
    assert_string_equal(policy("version: STSv1\r\nmode: testing\r\nmax_age: 0\r\nmx: a.example\r\n"), "1 0 a.example");
    assert_string_equal(policy("mx:a.example\nmax_age:1\nmode:none\nversion:STSv1"), "0 1 a.example");
    assert_string_equal(policy("version: STSv1\nmode: none\nmax_age: 9999999999\n"), "0 31557600 ");
    assert_string_equal(policy("version: STSv1 \nmode: \tenforce\t\nmax_age: 5\nx: \xc3\xa4\n\n\nmx: a.example\nmode: none\nmax_age: x\n"),
                        "2 5 a.example");
}

static void policies_that_can_not_be(void **state)
{
    (void)state;
    assert_string_equal(policy(""), "it has no version");
    assert_string_equal(policy("mode: none\nmax_age: 1\n"), "it has no version");
    assert_string_equal(policy("version: STSv2\nmode: none\nmax_age: 1\n"), "its version is not STSv1");
    assert_string_equal(policy("version: STSv1\nmax_age: 1\n"), "it has no mode");
    assert_string_equal(policy("version: STSv1\nmode: Enforce\n"), "its mode is none that there is");
    assert_string_equal(policy("version: STSv1\nmode: none\n"), "it has no max_age");
    static const char *const ages[] = {"", "-1", "1.5", "12345678901", "1d", "0x10"};
    for (size_t i = 0; i < sizeof ages / sizeof ages[0]; i++) {
        char text[100];
        snprintf(text, sizeof text, "version: STSv1\nmode: none\nmax_age: %s\n", ages[i]);
        assert_string_equal(policy(text), "its max_age is no number of seconds");
    }
    assert_string_equal(policy(FRONT), "it names no mx");
    static const char *const hosts[] = {"",    "*",      "*.",  "a..b",        "*.*.example", "a.*.example",
                                        "a b", "../etc", "a/b", "[192.0.2.1]", "*a.example",  "\xc3\xa4.example"};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, FRONT "mx: %s\n", hosts[i]);
        assert_string_equal(policy(text), "an mx of it is no name of a host");
    }
}

static void policies_are_bounded(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY(200000);
    buf_add_text(&text, FRONT);
    for (int i = 0; i < STS_MX_MOST; i++)
        buf_add_text(&text, "mx: a.example\n");
    assert_memory_equal(policy(buf_text(&text)), "2 86400 a.example", 17);
    buf_add_text(&text, "mx: a.example\n");
    assert_string_equal(policy(buf_text(&text)), "it names too many MX hosts");
    buf_clear(&text);
    while (text.len <= STS_TEXT_MOST)
        buf_add_text(&text, FRONT "mx: a.example\n");
    assert_string_equal(policy(buf_text(&text)), "it is too long");
    buf_free(&text);
}

/* ---- the store ------------------------------------------------------------------------------------------------------------------- */

static char place[] = "/tmp/postino-test-XXXXXX";
static int directory;

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(place) || (directory = open(place, O_RDONLY | O_DIRECTORY)) < 0)
        return -1;
    store_setup(directory);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(directory);
    return rmdir(place);
}

static void put(const char *name, const char *text)
{
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void what_was_stored_is_read(void **state)
{
    (void)state;
    struct stored got;
    struct error e;
    assert_false(store_read("a.example", &got));
    assert_int_equal(store_write("a.example", "id1", 1700000000, SPAN_LITERAL("one\n\ntwo"), &e), 0);
    assert_int_equal(store_write("a.example", "id2", 1700000001, SPAN_LITERAL("three\r\n"), &e), 0);
    assert_true(store_read("a.example", &got));
    assert_string_equal(got.id, "id2");
    assert_int_equal(got.fetched, 1700000001);
    assert_true(span_equal(buf_span(&got.text), SPAN_LITERAL("three\r\n")));
    buf_free(&got.text);
    store_remove("a.example");
    assert_false(store_read("a.example", &got));
}

static void all_that_is_kept_is_listed(void **state)
{
    (void)state;
    struct error e;
    char name[256];
    uint64_t asked;
    unsigned seen = 0;
    assert_false(store_next(name, &asked));
    assert_int_equal(store_write("a.example", "1", 1700000000, SPAN_LITERAL("x"), &e), 0);
    assert_int_equal(store_write("b.example", "1", 1700000000, SPAN_LITERAL("x"), &e), 0);
    store_mark("a.example", 1700000005);
    store_mark("b.example", 1700000006);
    store_mark("../x", 1);
    put(".tlsrpt.1.2", "x");
    put("no domain", "x");
    assert_int_equal(symlinkat("a.example", directory, "link.example"), 0);
    while (store_next(name, &asked)) {
        assert_true(strcmp(name, asked == 1700000005 ? "a.example" : "b.example") == 0);
        seen++;
    }
    assert_int_equal(seen, 2);
    static const char *const names[] = {"a.example", "b.example", "link.example", ".tlsrpt.1.2", "no domain"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlinkat(directory, names[i], 0);
}

static void names_are_no_paths(void **state)
{
    (void)state;
    struct stored got;
    struct error e;
    static const char *const bad[] = {"", ".", "..", "../x", "a/b", "/etc/passwd", ".new", "a..b", "x\ny"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(store_write(bad[i], "1", 1, SPAN_LITERAL(""), &e), -1);
        assert_false(store_read(bad[i], &got));
        store_remove(bad[i]);
    }
    assert_int_equal(symlinkat("/etc/passwd", directory, "link.example"), 0);
    assert_false(store_read("link.example", &got));
    assert_int_equal(mkfifoat(directory, "fifo.example", 0600), 0);
    assert_false(store_read("fifo.example", &got));
    store_remove("link.example");
    store_remove("fifo.example");
}

static void files_that_are_none_are_nothing(void **state)
{
    (void)state;
    struct stored got;
    static const char *const bad[] = {"",
                                      "Postino STS 1",
                                      "Postino STS 1\n",
                                      "Postino STS 2\nid: 1\nfetched: 1\n\n",
                                      "Postino STS 1\nid: \nfetched: 1\n\n",
                                      "Postino STS 1\nid: 123456789012345678901234567890123\nfetched: 1\n\n",
                                      "Postino STS 1\nid: 1\nfetched: 1\n",
                                      "Postino STS 1\nfetched: 1\nid: 1\n\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put("b.example", bad[i]);
        assert_false(store_read("b.example", &got));
    }
    store_remove("b.example");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_have_an_id),
        cmocka_unit_test(what_is_no_record),
        cmocka_unit_test(policies_are_read),
        cmocka_unit_test(policies_that_can_not_be),
        cmocka_unit_test(policies_are_bounded),
        cmocka_unit_test(what_was_stored_is_read),
        cmocka_unit_test(names_are_no_paths),
        cmocka_unit_test(all_that_is_kept_is_listed),
        cmocka_unit_test(files_that_are_none_are_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
