/* AUTH PLAIN responses and base64. */
#include "smtpd/login.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void base64_is_strict(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; /* NULL: refused */
    } table[] = {
        {"", ""},           {"Zg==", "f"},      {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"Zm9vYmE=", "fooba"}, {"+/+/", "\xfb\xff\xbf"},
        {"Zg=", NULL},      {"Zg", NULL},       {"Zh==", NULL}, {"Zm9=", NULL},  {"Zm 9", NULL},        {"====", NULL},
        {"Z===", NULL},     {"Zg==Zg==", NULL}, {"Z=g=", NULL}, {"Zm9v=", NULL}, {"-_-_", NULL},        {"Zm9v\r\n", NULL},
        {"Zm9v====", NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct buf out = {0};
        bool ok = base64_decode(span_of(table[i].in), &out);
        if (ok != (table[i].out != NULL))
            fail_msg("%s: %d", table[i].in, ok);
        if (ok)
            assert_true(span_equal(buf_span(&out), span_of(table[i].out)));
        buf_free(&out);
    }
}

static void encode(struct span in, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < in.n; i += 3) {
        uint32_t bits = 0;
        for (size_t j = 0; j < 3; j++)
            bits = bits << 8 | (i + j < in.n ? (unsigned char)in.p[i + j] : 0u);
        for (size_t j = 0; j < 4; j++)
            *out++ = i + j <= in.n ? digits[bits >> (18 - 6 * j) & 63] : '=';
    }
    *out = '\0';
}

static void plain_is_taken_apart(void **state)
{
    (void)state;
#define RAW(text) SPAN_LITERAL(text)
    const struct {
        struct span raw;
        enum login_result result;
        const char *user, *password;
    } table[] = {
        {RAW("\0ann\0secret"), LOGIN_OK, "ann", "secret"},
        {RAW("ann\0ann\0secret"), LOGIN_OK, "ann", "secret"},
        {RAW("\0ann@example.org\0 a:b "), LOGIN_OK, "ann@example.org", " a:b "},
        {RAW("bob\0ann\0secret"), LOGIN_OTHER_IDENTITY, NULL, NULL},
        {RAW("\0ann\0"), LOGIN_MALFORMED, NULL, NULL},
        {RAW("\0\0secret"), LOGIN_MALFORMED, NULL, NULL},
        {RAW("ann\0secret"), LOGIN_MALFORMED, NULL, NULL},
        {RAW("\0ann\0sec\0ret"), LOGIN_MALFORMED, NULL, NULL},
        {RAW("\0a\nb\0secret"), LOGIN_MALFORMED, NULL, NULL},
        {RAW("secret"), LOGIN_MALFORMED, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char text[256];
        struct buf secret = {0};
        struct span user, password;
        encode(table[i].raw, text);
        enum login_result result = login_decode_plain(span_of(text), &secret, &user, &password);
        if (result != table[i].result)
            fail_msg("row %zu: %d", i, result);
        if (result == LOGIN_OK) {
            assert_true(span_equal(user, span_of(table[i].user)));
            assert_true(span_equal(password, span_of(table[i].password)));
        }
        login_wipe(&secret);
        assert_null(secret.data);
    }
}

static void other_responses(void **state)
{
    (void)state;
    struct buf secret = {0};
    struct span user, password;
    assert_int_equal(login_decode_plain(span_of("*"), &secret, &user, &password), LOGIN_CANCELLED);
    assert_int_equal(login_decode_plain(span_of("="), &secret, &user, &password), LOGIN_MALFORMED);
    assert_int_equal(login_decode_plain(span_of(""), &secret, &user, &password), LOGIN_MALFORMED);
    assert_int_equal(login_decode_plain(span_of("!"), &secret, &user, &password), LOGIN_NOT_BASE64);
    login_wipe(&secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_is_strict),
        cmocka_unit_test(plain_is_taken_apart),
        cmocka_unit_test(other_responses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
