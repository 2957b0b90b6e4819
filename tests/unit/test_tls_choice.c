/* Which certificates a name of SNI gets. */
#include "smtpd/tls_internal.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static X509 *certificate(const char *cn, const char *names)
{
    static EVP_PKEY *key;
    X509 *x = X509_new();
    if (!key)
        key = EVP_EC_gen("P-256");
    X509_set_version(x, X509_VERSION_3);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
    X509_set_pubkey(x, key);
    if (names) {
        X509V3_CTX context;
        X509V3_set_ctx_nodb(&context);
        X509V3_set_ctx(&context, x, x, NULL, NULL, 0);
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, NID_subject_alt_name, names);
        assert_non_null(e);
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    return x;
}

static struct tls_chain chains[5];

static int make(void **state)
{
    (void)state;
    chains[0].own = certificate("mx.example", "DNS:mx.example,DNS:mx2.example");
    chains[1].own = certificate("other.example", "DNS:*.other.example,DNS:other.example");
    chains[2].own = certificate("mx.example", NULL); /* the common name counts when there are no other names */
    chains[3].own = certificate("mx.example", "DNS:a.other.example");
    chains[4].own = certificate("bad.example", "DNS:f*.part.example,IP:192.0.2.1");
    return 0;
}

static int away(void **state)
{
    (void)state;
    for (size_t i = 0; i < 5; i++)
        X509_free(chains[i].own);
    return 0;
}

static uint64_t choose(const char *name)
{
    return tls_choose(chains, 5, span_of(name));
}

static void names_and_wildcards(void **state)
{
    (void)state;
    assert_int_equal(choose("mx.example"), 1 | 4);
    assert_int_equal(choose("MX.Example"), 1 | 4);
    assert_int_equal(choose("mx.example."), 1 | 4);
    assert_int_equal(choose("mx2.example"), 1);
    assert_int_equal(choose("b.other.example"), 2);
    assert_int_equal(choose("a.other.example"), 2 | 8);
    assert_int_equal(choose("a.b.other.example"), 0);
    assert_int_equal(choose("other.example"), 2);
    assert_int_equal(choose("foo.part.example"), 0); /* partial wildcards are none */
}

/* CVE-2019-15846 and its kin: a backslash at the end, quotes, NUL, dots, octets that are no text. */
static void garbage_is_nobody_s_name(void **state)
{
    (void)state;
    static const char *const garbage[] = {"",          ".",           "..",          ".mx.example", ".example",    "mx.example\\",
                                          "\\",        "mx..example", "*",           "*.*",         "mx ex",       "\xff",
                                          "'\"`$(id)", "${run{x}}",   "[192.0.2.1]", "mx.example/", "mx.example.."};
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++)
        if (choose(garbage[i]) != 0)
            fail_msg("\"%s\" is somebody's name", garbage[i]);
    assert_int_equal(tls_choose(chains, 5, span_make("mx.example\0.evil.example", 24)), 0);
    assert_int_equal(tls_choose(chains, 5, span_make("mx.example\0", 11)), 0);
    char longest[300];
    memset(longest, 'a', sizeof longest);
    assert_int_equal(tls_choose(chains, 5, span_make(longest, sizeof longest)), 0);
}

static void without_a_name_the_first_and_its_likes(void **state)
{
    (void)state;
    assert_int_equal(tls_choose_default(chains, 5), 1 | 4);
    assert_int_equal(tls_choose_default(chains + 1, 4), 1 | 0);
    assert_int_equal(tls_choose_default(chains + 2, 3), 1);
    assert_int_equal(tls_choose_default(chains, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_wildcards),
        cmocka_unit_test(garbage_is_nobody_s_name),
        cmocka_unit_test(without_a_name_the_first_and_its_likes),
    };
    return cmocka_run_group_tests_name("tls_choice", tests, make, away);
}
