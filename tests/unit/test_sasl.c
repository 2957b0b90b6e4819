/* What SASL clients say, taken apart; secrets of passwords; names made comparable. */
#include "auth/response.h"
#include "auth/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define RAW(text) SPAN_LITERAL(text)

static void plain_is_taken_apart(void **state)
{
    (void)state;
    const struct {
        struct span raw;
        const char *identity, *user, *password; /* NULL: refused */
    } table[] = {
        {RAW("\0ann\0secret"), "", "ann", "secret"},
        {RAW("ann\0ann\0secret"), "ann", "ann", "secret"},
        {RAW("\0ann@example.org\0 a:b "), "", "ann@example.org", " a:b "},
        {RAW("\0ann\0"), NULL, NULL, NULL},
        {RAW("\0\0secret"), NULL, NULL, NULL},
        {RAW("ann\0secret"), NULL, NULL, NULL},
        {RAW("\0ann\0sec\0ret"), NULL, NULL, NULL},
        {RAW("secret"), NULL, NULL, NULL},
        {RAW(""), NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct span identity, user, password;
        bool ok = response_plain(table[i].raw, &identity, &user, &password);
        if (ok != (table[i].user != NULL))
            fail_msg("row %zu: %d", i, ok);
        if (!ok)
            continue;
        assert_true(span_equal(identity, span_of(table[i].identity)));
        assert_true(span_equal(user, span_of(table[i].user)));
        assert_true(span_equal(password, span_of(table[i].password)));
    }
}

static void gs2_headers(void **state)
{
    (void)state;
    const struct {
        const char *in;
        char flag; /* 0: refused */
        const char *binding, *identity, *rest;
    } table[] = {
        {"n,,n=ann,r=x", 'n', "", "", "n=ann,r=x"},
        {"y,a=bob,n=ann,r=x", 'y', "", "bob", "n=ann,r=x"},
        {"p=tls-exporter,,n=ann,r=x", 'p', "tls-exporter", "", "n=ann,r=x"},
        {"p=,,n=a,r=x", 0, "", "", ""},
        {"p,,n=a,r=x", 0, "", "", ""},
        {"q,,n=a", 0, "", "", ""},
        {"nn,,n=a", 0, "", "", ""},
        {"n,n=a,r=x", 0, "", "", ""},
        {"n,a=,r=x", 0, "", "", ""},
        {"n,", 0, "", "", ""},
        {"", 0, "", "", ""},
        {",,", 0, "", "", ""},
        {"n", 0, "", "", ""},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct response_gs2 gs2;
        bool ok = response_gs2(span_of(table[i].in), &gs2);
        if (ok != (table[i].flag != 0))
            fail_msg("%s: %d", table[i].in, ok);
        if (!ok)
            continue;
        assert_int_equal(gs2.flag, table[i].flag);
        assert_true(span_equal(gs2.binding, span_of(table[i].binding)));
        assert_true(span_equal(gs2.identity, span_of(table[i].identity)));
        assert_true(span_equal(gs2.rest, span_of(table[i].rest)));
    }
}

static void expect_scram_user(const char *in, const char *user)
{
    struct buf out = BUF_EMPTY(20);
    bool ok = response_scram_user(span_of(in), &out);
    if (ok != (user != NULL) || (ok && !span_equal(buf_span(&out), span_of(user))))
        fail_msg("%s: %d %.*s", in, ok, SPAN_ARG(buf_span(&out)));
    buf_free(&out);
}

static void names_in_scram(void **state)
{
    (void)state;
    expect_scram_user("n=ann,r=x", "ann");
    expect_scram_user("n=a=2Cb=3Dc,r=x", "a,b=c");
    expect_scram_user("n=a=2cb,r=x", NULL);
    expect_scram_user("n=a=,r=x", NULL);
    expect_scram_user("n=a=2,r=x", NULL);
    expect_scram_user("n=,r=x", NULL);
    expect_scram_user("m=x,n=a,r=x", NULL);
    expect_scram_user("n=ann", NULL);
    expect_scram_user("n=a name that is longer than may be,r=x", NULL);
}

static void names_in_xoauth2(void **state)
{
    (void)state;
    struct span user;
    assert_true(response_xoauth2_user(span_of("user=ann@example.org\1auth=Bearer x\1\1"), &user));
    assert_true(span_equal(user, span_of("ann@example.org")));
    assert_false(response_xoauth2_user(span_of("user=\1auth=Bearer x\1\1"), &user));
    assert_false(response_xoauth2_user(span_of("user=ann"), &user));
    assert_false(response_xoauth2_user(span_of(""), &user));
}

static void expect_prepared(const char *in, const char *out)
{
    struct buf prepared = BUF_EMPTY(64);
    bool ok = secret_prepare(span_of(in), 20, &prepared);
    if (ok != (out != NULL) || (ok && !span_equal(buf_span(&prepared), span_of(out))))
        fail_msg("%s: %d", in, ok);
    secret_wipe(&prepared);
}

static void names_are_prepared(void **state)
{
    (void)state;
    expect_prepared("ann", "ann");
    expect_prepared("Ann", "Ann");
    expect_prepared("bo\xcc\x88"
                    "b",
                    "b\xc3\xb6"
                    "b");
    expect_prepared("I\xc2\xadX", "IX"); /* RFC 4013 3: a soft hyphen is nothing */
    expect_prepared("\xe2\x85\xa8", "IX");
    expect_prepared("\xc2\xad", NULL);
    expect_prepared("", NULL);
    expect_prepared("a\nb", NULL);
    expect_prepared("a\x7f", NULL);
    expect_prepared("\xff", NULL);
    expect_prepared("\xc3", NULL);
    expect_prepared("\xd8\xa7"
                    "1",
                    NULL); /* RFC 4013 3: right to left that ends with a digit */
    expect_prepared("one name too many chars", NULL);
}

/* The example of RFC 7677 3. */
#define SALT   "W22ZaJ0SNY7soEsUEjb6gQ=="
#define STORED "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
#define SERVER "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static void secrets(void **state)
{
    (void)state;
    struct secret secret;
    static const char good[] = "{SCRAM-SHA-256}4096," SALT "," STORED "," SERVER;
    assert_true(secret_parse(span_of(good), &secret));
    assert_int_equal(secret.iterations, 4096);
    assert_true(secret_matches(&secret, span_of("pencil")));
    assert_false(secret_matches(&secret, span_of("pencil2")));
    assert_false(secret_matches(&secret, span_of("")));
    static const char *const bad[] = {
        "{SCRAM-SHA-256}0," SALT "," STORED "," SERVER,
        "{SCRAM-SHA-256}4294967297," SALT "," STORED "," SERVER,
        "{SCRAM-SHA-256}-1," SALT "," STORED "," SERVER,
        "{SCRAM-SHA-256}1000001," SALT "," STORED "," SERVER,
        "{SCRAM-SHA-1}4096," SALT "," STORED "," SERVER,
        "{SCRAM-SHA-256}4096,," STORED "," SERVER,
        "{SCRAM-SHA-256}4096," SALT "," STORED,
        "{SCRAM-SHA-256}4096," SALT "," STORED "," SERVER ",x",
        "{SCRAM-SHA-256}4096," SALT "," SALT "," SERVER,
        "{SCRAM-SHA-256}4096,!!!," STORED "," SERVER,
        "{SCRAM-SHA-256}4096," STORED STORED "," STORED "," SERVER,
        "{SCRAM-SHA-256}",
        "",
        "$6$x$y",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (secret_parse(span_of(bad[i]), &secret))
            fail_msg("%s", bad[i]);
}

static void a_secret_that_was_made_matches(void **state)
{
    (void)state;
    struct buf a = BUF_EMPTY(512), b = BUF_EMPTY(512);
    struct secret secret;
    struct error error;
    assert_int_equal(secret_make(span_of("correct horse"), 4096, &a, &error), 0);
    assert_int_equal(secret_make(span_of("correct horse"), 4096, &b, &error), 0);
    assert_false(span_equal(buf_span(&a), buf_span(&b)));
    assert_true(secret_parse(buf_span(&a), &secret));
    assert_true(secret_matches(&secret, span_of("correct horse")));
    assert_int_equal(secret_make(span_of(""), 4096, &b, &error), -1);
    secret_wipe(&a);
    secret_wipe(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_is_taken_apart),
        cmocka_unit_test(gs2_headers),
        cmocka_unit_test(names_in_scram),
        cmocka_unit_test(names_in_xoauth2),
        cmocka_unit_test(names_are_prepared),
        cmocka_unit_test(secrets),
        cmocka_unit_test(a_secret_that_was_made_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
