/* What postino-creds says to next hosts: which mechanism is chosen, and each of them, SCRAM against GNU SASL's server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/secretfile.h"
#include "creds/exchange.h"
#include "creds/token_answer.h"
#include "creds/token_store.h"

#include <fcntl.h>
#include <gsasl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PASSWORDS (SASL_ALL & ~(unsigned)SASL_TOKEN)

static struct buf text = {0};

static unsigned chosen(unsigned offered, unsigned allowed, bool trusted, bool binding)
{
    buf_clear(&text);
    return exchange_choose(&(struct exchange_terms){.offered = offered, .allowed = allowed, .trusted = trusted, .binding = binding}, &text);
}

static void the_strongest_that_both_have_is_chosen(void **state)
{
    (void)state;
    assert_int_equal(chosen(SASL_ALL, PASSWORDS, true, true), SASL_SCRAM_SHA_256_PLUS);
    assert_int_equal(chosen(SASL_ALL, PASSWORDS, true, false), SASL_SCRAM_SHA_256);
    assert_int_equal(chosen(SASL_SCRAM_SHA_1_PLUS | SASL_SCRAM_SHA_256, PASSWORDS, true, true), SASL_SCRAM_SHA_1_PLUS);
    assert_int_equal(chosen(SASL_LOGIN | SASL_PLAIN | SASL_CRAM_MD5, PASSWORDS, true, false), SASL_CRAM_MD5);
    assert_int_equal(chosen(SASL_LOGIN | SASL_PLAIN, PASSWORDS, true, false), SASL_PLAIN);
    assert_int_equal(chosen(SASL_LOGIN, PASSWORDS, true, false), SASL_LOGIN);
    assert_int_equal(chosen(SASL_ALL, SASL_LOGIN | SASL_PLAIN, true, true), SASL_PLAIN);
}

static void to_a_stranger_goes_nothing(void **state)
{
    (void)state;
    assert_int_equal(chosen(SASL_ALL, PASSWORDS, false, true), 0);
    assert_int_equal(chosen(SASL_PLAIN | SASL_LOGIN | SASL_CRAM_MD5, PASSWORDS, false, true), 0);
    assert_string_equal(buf_text(&text), "nothing has proved that it is the right one, and so it is told nothing");
    assert_int_equal(chosen(SASL_OAUTHBEARER | SASL_XOAUTH2, SASL_TOKEN, false, true), 0);
}

static void a_host_without_a_mechanism_for_us_is_told_of(void **state)
{
    (void)state;
    assert_int_equal(chosen(0, PASSWORDS, true, true), 0);
    assert_string_equal(buf_text(&text), "it offers no AUTH that is known here");
    assert_int_equal(chosen(SASL_XOAUTH2, SASL_PLAIN, true, true), 0);
    assert_string_equal(buf_text(&text), "it offers XOAUTH2, and the login allows PLAIN");
    assert_int_equal(chosen(SASL_SCRAM_SHA_256_PLUS, SASL_SCRAM_SHA_256_PLUS, true, false), 0);
}

/* ---- mechanisms ------------------------------------------------------------------------------------------------------------------ */

static struct exchange *new_exchange(unsigned mechanism, const char *user, const char *secret, const struct scram_binding *b,
                                     struct scram_cache *cache)
{
    static const struct scram_binding none;
    static struct scram_cache empty;
    empty = (struct scram_cache){0};
    struct exchange *e = exchange_new(mechanism, user, secret, b ? b : &none, cache ? cache : &empty);
    assert_non_null(e);
    buf_clear(&text);
    return e;
}

static void plain(void **state)
{
    (void)state;
    struct exchange *e = new_exchange(SASL_PLAIN, "tim", "tanstaaftanstaaf", NULL, NULL);
    const char *why = "";
    assert_true(exchange_initial(e, &text));
    assert_true(span_equal(buf_span(&text), SPAN_LITERAL("\0tim\0tanstaaftanstaaf"))); /* RFC 4616 4 */
    assert_true(exchange_complete(e));
    assert_false(exchange_answer(e, SPAN_LITERAL("more?"), &text, &why));
    exchange_free(e);
}

static void login(void **state)
{
    (void)state;
    struct exchange *e = new_exchange(SASL_LOGIN, "tim", "secret", NULL, NULL);
    const char *why = "";
    assert_false(exchange_initial(e, &text));
    assert_true(exchange_answer(e, SPAN_LITERAL("Username:"), &text, &why));
    assert_string_equal(buf_text(&text), "tim");
    assert_false(exchange_complete(e));
    buf_clear(&text);
    assert_true(exchange_answer(e, SPAN_LITERAL(""), &text, &why));
    assert_string_equal(buf_text(&text), "secret");
    assert_true(exchange_complete(e));
    assert_false(exchange_answer(e, SPAN_LITERAL("Password:"), &text, &why));
    exchange_free(e);
}

static void cram_md5(void **state)
{
    (void)state;
    struct exchange *e = new_exchange(SASL_CRAM_MD5, "tim", "tanstaaftanstaaf", NULL, NULL);
    const char *why = "";
    assert_false(exchange_initial(e, &text));
    assert_false(exchange_complete(e));
    assert_true(exchange_answer(e, SPAN_LITERAL("<1896.697170952@postoffice.reston.mci.net>"), &text, &why));
    assert_string_equal(buf_text(&text), "tim b913a602c7eda7a495b4e6e7334d3890"); /* RFC 2195 2 */
    assert_true(exchange_complete(e));
    assert_false(exchange_answer(e, SPAN_LITERAL("<again@x>"), &text, &why));
    exchange_free(e);
    e = new_exchange(SASL_CRAM_MD5, "tim", "x", NULL, NULL);
    assert_false(exchange_answer(e, SPAN_LITERAL(""), &text, &why));
    exchange_free(e);
}

static void tokens(void **state)
{
    (void)state;
    const char *why = "";
    struct exchange *e = new_exchange(SASL_OAUTHBEARER, "a,b=c@example.org", "vF9dft4qmT", NULL, NULL);
    assert_true(exchange_initial(e, &text));
    assert_string_equal(buf_text(&text), "n,a=a=2Cb=3Dc@example.org,\001auth=Bearer vF9dft4qmT\001\001");
    assert_true(exchange_complete(e));
    buf_clear(&text);
    assert_true(exchange_answer(e, SPAN_LITERAL("{\"status\":\"401\"}"), &text, &why));
    assert_string_equal(buf_text(&text), "\001"); /* RFC 7628 3.2.3 */
    assert_false(exchange_complete(e));
    assert_false(exchange_answer(e, SPAN_LITERAL("{}"), &text, &why));
    exchange_free(e);
    e = new_exchange(SASL_XOAUTH2, "me@example.org", "T", NULL, NULL);
    assert_true(exchange_initial(e, &text));
    assert_string_equal(buf_text(&text), "user=me@example.org\001auth=Bearer T\001\001");
    buf_clear(&text);
    assert_true(exchange_answer(e, SPAN_LITERAL("{}"), &text, &why));
    assert_int_equal(text.len, 0);
    exchange_free(e);
}

static void a_challenge_has_a_bound(void **state)
{
    (void)state;
    static char big[CHALLENGE_MOST + 1];
    memset(big, 'x', sizeof big);
    const char *why = "";
    struct exchange *e = new_exchange(SASL_CRAM_MD5, "tim", "x", NULL, NULL);
    assert_false(exchange_answer(e, span_make(big, sizeof big), &text, &why));
    assert_string_equal(why, "its challenge is too long");
    exchange_free(e);
}

/* ---- SCRAM ----------------------------------------------------------------------------------------------------------------------- */

static struct server {
    const char *password, *iterations, *unique, *exporter; /* the latter two in base64 */
} server;

static int on_property(Gsasl *library, Gsasl_session *session, Gsasl_property what)
{
    (void)library;
    const char *value = what == GSASL_PASSWORD          ? server.password
                        : what == GSASL_SCRAM_ITER      ? server.iterations
                        : what == GSASL_SCRAM_SALT      ? "QSXCR+Q6sek8bf92"
                        : what == GSASL_CB_TLS_UNIQUE   ? server.unique
                        : what == GSASL_CB_TLS_EXPORTER ? server.exporter
                                                        : NULL;
    return value ? gsasl_property_set(session, what, value) : GSASL_NO_CALLBACK;
}

enum came { FINISHED, SERVER_REFUSED, CLIENT_REFUSED };

/* The whole exchange between ours and GNU SASL's server. `bend`: the message of the server (from 1) in which one octet is changed. */
static enum came talk(struct exchange *e, unsigned mechanism, unsigned bend, const char **why)
{
    Gsasl *library;
    Gsasl_session *session;
    enum came came = FINISHED;
    assert_int_equal(gsasl_init(&library), GSASL_OK);
    gsasl_callback_set(library, on_property);
    assert_int_equal(gsasl_server_start(library, sasl_name(mechanism), &session), GSASL_OK);
    assert_true(exchange_initial(e, &text));
    for (unsigned i = 1;; i++) {
        char *out = NULL;
        size_t n = 0;
        int result = gsasl_step(session, text.data, text.len, &out, &n);
        if (result != GSASL_OK && result != GSASL_NEEDS_MORE) {
            came = SERVER_REFUSED;
            break;
        }
        assert_int_equal(exchange_complete(e), i == 3);
        if (i == 3)
            break;
        if (bend == i)
            out[n - 6] = (char)(out[n - 6] ^ 1);
        buf_clear(&text);
        if (!exchange_answer(e, span_make(out, n), &text, why)) {
            gsasl_free(out);
            came = CLIENT_REFUSED;
            break;
        }
        gsasl_free(out);
        if (i == 2) { /* the library's server is done; ours has to say nothing */
            assert_int_equal(text.len, 0);
            assert_true(exchange_complete(e));
            break;
        }
    }
    gsasl_finish(session);
    gsasl_done(library);
    return came;
}

static enum came scram(unsigned mechanism, const char *secret, const struct scram_binding *b, unsigned bend, struct scram_cache *cache)
{
    const char *why = "";
    struct exchange *e = new_exchange(mechanism, "us,er=x", secret, b, cache);
    enum came came = talk(e, mechanism, bend, &why);
    exchange_free(e);
    return came;
}

static void scram_with_gnu_sasl(void **state)
{
    (void)state;
    server = (struct server){.password = "p\xc3\xa4ss", .iterations = "4096"};
    assert_int_equal(scram(SASL_SCRAM_SHA_1, "p\xc3\xa4ss", NULL, 0, NULL), FINISHED);
    assert_int_equal(scram(SASL_SCRAM_SHA_256, "p\xc3\xa4ss", NULL, 0, NULL), FINISHED);
    assert_int_equal(scram(SASL_SCRAM_SHA_256, "wrong", NULL, 0, NULL), SERVER_REFUSED);
}

static void a_host_that_does_not_know_the_secret_is_found_out(void **state)
{
    (void)state;
    server = (struct server){.password = "secret", .iterations = "4096"};
    assert_int_equal(scram(SASL_SCRAM_SHA_256, "secret", NULL, 2, NULL), CLIENT_REFUSED);
}

static void channels_are_bound(void **state)
{
    (void)state;
    struct scram_binding b = {.exporter = SPAN_LITERAL("0123456789abcdef0123456789abcdef"), .host_binds = true};
    server = (struct server){.password = "secret", .iterations = "4096", .exporter = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="};
    assert_int_equal(scram(SASL_SCRAM_SHA_256_PLUS, "secret", &b, 0, NULL), FINISHED);
    server.exporter = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWQ="; /* another session: somebody is in between */
    assert_int_equal(scram(SASL_SCRAM_SHA_256_PLUS, "secret", &b, 0, NULL), SERVER_REFUSED);
    b = (struct scram_binding){.unique = SPAN_LITERAL("0123456789ab"), .host_binds = true};
    server = (struct server){.password = "secret", .iterations = "4096", .unique = "MDEyMzQ1Njc4OWFi"};
    assert_int_equal(scram(SASL_SCRAM_SHA_1_PLUS, "secret", &b, 0, NULL), FINISHED);
}

/* RFC 5802 6: "y" is said where we could bind and the host does not offer it; the first letter of our first message. */
static void a_host_whose_binding_was_taken_away_can_see_it(void **state)
{
    (void)state;
    struct scram_binding b = {.exporter = SPAN_LITERAL("0123456789abcdef0123456789abcdef")};
    struct exchange *e = new_exchange(SASL_SCRAM_SHA_256, "u", "p", &b, NULL);
    assert_true(exchange_initial(e, &text));
    assert_int_equal(text.data[0], 'y');
    exchange_free(e);
    b.host_binds = true;
    e = new_exchange(SASL_SCRAM_SHA_256, "u", "p", &b, NULL);
    assert_true(exchange_initial(e, &text));
    assert_int_equal(text.data[0], 'n');
    exchange_free(e);
}

static void salted_passwords_are_kept(void **state)
{
    (void)state;
    struct scram_cache cache = {0};
    server = (struct server){.password = "secret", .iterations = "4096"};
    assert_int_equal(scram(SASL_SCRAM_SHA_256, "secret", NULL, 0, &cache), FINISHED);
    assert_string_equal(cache.salt, "QSXCR+Q6sek8bf92");
    assert_int_equal(cache.iterations, 4096);
    assert_int_equal(scram(SASL_SCRAM_SHA_256, "is not needed now", NULL, 0, &cache), FINISHED);
    server.iterations = "5000";
    assert_int_equal(scram(SASL_SCRAM_SHA_256, "is not needed now", NULL, 0, &cache), SERVER_REFUSED);
    assert_int_equal(scram(SASL_SCRAM_SHA_1, "secret", NULL, 0, &cache), FINISHED);
    assert_int_equal(cache.iterations, 5000);
}

static bool first_fits(const char *challenge)
{
    struct scram_first first;
    const char *why;
    return scram_first_parse(span_of(challenge), &first, &why);
}

static void the_work_that_a_host_may_ask_for_is_bounded(void **state)
{
    (void)state;
    assert_true(first_fits("r=abc,s=QSXCR+Q6sek8bf92,i=4096"));
    assert_true(first_fits("r=abc,s=QSXCR+Q6sek8bf92,i=1000000,ext=1"));
    static const char *const bad[] = {"",
                                      "r=abc",
                                      "r=abc,s=QQ==,i=",
                                      "r=abc,s=QQ==,i=1",
                                      "r=abc,s=QQ==,i=4095",
                                      "r=abc,s=QQ==,i=1000001",
                                      "r=abc,s=QQ==,i=4294971392",
                                      "r=abc,s=QQ==,i=-4096",
                                      "r=abc,s=,i=4096",
                                      "s=QQ==,r=abc,i=4096",
                                      "m=x,r=abc,s=QQ==,i=4096",
                                      "e=other-error"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(first_fits(bad[i]));
    struct scram_first first;
    const char *why;
    assert_false(scram_first_parse(SPAN_LITERAL("r=a\0b,s=QQ==,i=4096"), &first, &why));
    assert_false(scram_first_parse(span_make(NULL, 0), &first, &why));
}

/* ---- tokens ---------------------------------------------------------------------------------------------------------------------- */

static void what_a_token_server_says(void **state)
{
    (void)state;
    struct token_answer a;
    assert_true(token_answer_parse(
        SPAN_LITERAL("{\"access_token\":\"ya29.a\\/b\\u0041\", \"expires_in\":3599,\n\"scope\":\"x y\",\"token_type\":\"bearer\","
                     "\"refresh_token\":\"1//r\",\"more\":[{\"access_token\":\"no\"},null,-1.5e3,\"]\"]} "),
        &a));
    assert_string_equal(buf_text(&a.access), "ya29.a/bA");
    assert_string_equal(buf_text(&a.refresh), "1//r");
    assert_int_equal(a.expires_in, 3599);
    assert_true(a.bearer);
    assert_int_equal(a.error.len, 0);
    token_answer_free(&a);
    assert_true(token_answer_parse(SPAN_LITERAL("{\"error\":\"invalid_grant\",\"error_description\":\"Token has been revoked.\"}"), &a));
    assert_string_equal(buf_text(&a.error), "invalid_grant");
    assert_int_equal(a.expires_in, UINT64_MAX);
    token_answer_free(&a);
    assert_true(token_answer_parse(SPAN_LITERAL("{\"access_token\":\"x\",\"expires_in\":\"60\",\"token_type\":\"mac\"}"), &a));
    assert_int_equal(a.expires_in, 60);
    assert_false(a.bearer);
    token_answer_free(&a);
}

static void what_no_token_server_says(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "[]",
                                      "\"x\"",
                                      "{",
                                      "{}x",
                                      "{\"access_token\":}",
                                      "{\"access_token\":1}",
                                      "{\"access_token\":\"a b\"}",
                                      "{\"access_token\":\"a\\u0001\"}",
                                      "{\"access_token\":\"a\\u00e4\"}",
                                      "{\"access_token\":\"a\\n\"}",
                                      "{\"access_token\":\"a",
                                      "{\"access_token\":\"a\\",
                                      "{\"access_token\":\"a\\u12",
                                      "{\"access_token\":\"a\",\"access_token\":\"b\"}",
                                      "{\"error\":\"<script>\"}",
                                      "{\"x\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
                                      "{\"x\" 1}",
                                      "<html>"};
    struct token_answer a;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (token_answer_parse(span_of(bad[i]), &a))
            fail_msg("%s", bad[i]);
        token_answer_free(&a);
    }
}

static void a_life_that_can_t_be_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"-1", "1e18", "99999999999999999999", "null", "\"\"", "3600.5"};
    struct token_answer a;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        buf_clear(&text);
        buf_printf(&text, "{\"access_token\":\"x\",\"expires_in\":%s}", bad[i]);
        if (!token_answer_parse(buf_span(&text), &a) || a.expires_in != UINT64_MAX)
            fail_msg("%s", bad[i]);
        token_answer_free(&a);
    }
}

static void newest_tokens_are_kept(void **state)
{
    (void)state;
    char path[] = "/tmp/test_creds_XXXXXX";
    struct error e;
    struct buf out = {0};
    assert_non_null(mkdtemp(path));
    assert_int_equal(token_store_open("/nowhere", &e), -1);
    assert_false(token_store_is_open());
    assert_int_equal(token_store_open(path, &e), 0);
    token_store_read("a", SPAN_LITERAL("first"), &out);
    assert_int_equal(out.len, 0);
    assert_int_equal(token_store_write("a", SPAN_LITERAL("first"), SPAN_LITERAL("second"), &e), 0);
    assert_int_equal(token_store_write("..", SPAN_LITERAL("first"), SPAN_LITERAL("other"), &e), 0);
    token_store_read("a", SPAN_LITERAL("first"), &out);
    assert_string_equal(buf_text(&out), "second");
    buf_clear(&out);
    token_store_read("a", SPAN_LITERAL("another first"), &out); /* the administrator has a new one */
    assert_int_equal(out.len, 0);
    buf_clear(&text);
    buf_printf(&text, "%s/a.token", path);
    FILE *f = fopen(buf_text(&text), "ae");
    fputs("\nX", f);
    fclose(f);
    token_store_read("a", SPAN_LITERAL("first"), &out); /* no token has a line end */
    assert_int_equal(out.len, 0);
    unlink(buf_text(&text));
    buf_clear(&text);
    buf_printf(&text, "%s/...token", path);
    assert_int_equal(unlink(buf_text(&text)), 0);
    assert_int_equal(rmdir(path), 0);
    buf_free(&out);
}

/* ---- secrets --------------------------------------------------------------------------------------------------------------------- */

static int read_file(const char *content, size_t n, mode_t mode, struct buf *out, struct error *error)
{
    char path[] = "/tmp/test_creds_XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, content, n), (ssize_t)n);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    int result = secretfile_read(path, out, error);
    unlink(path);
    return result;
}

static void a_secret_is_one_line_of_a_closed_file(void **state)
{
    (void)state;
    struct error e;
    struct buf out;
    static char big[SECRETFILE_MOST + 3];
    memset(big, 'x', sizeof big);
    assert_int_equal(read_file("secret\n", 7, 0600, &out, &e), 0);
    assert_string_equal(out.data, "secret");
    assert_true(out.secret);
    buf_free(&out);
    assert_int_equal(read_file(" a b\r\n", 6, 0400, &out, &e), 0);
    assert_string_equal(out.data, " a b");
    buf_free(&out);
    assert_int_equal(read_file(big, SECRETFILE_MOST, 0600, &out, &e), 0);
    buf_free(&out);
    assert_int_equal(read_file(big, SECRETFILE_MOST + 1, 0600, &out, &e), -1);
    assert_non_null(strstr(e.text, "is longer than 8192 octets"));
    assert_int_equal(read_file(big, SECRETFILE_MOST + 3, 0600, &out, &e), -1);
    assert_non_null(strstr(e.text, "is longer than 8192 octets"));
    memcpy(big + SECRETFILE_MOST, "\r\n", 2);
    assert_int_equal(read_file(big, SECRETFILE_MOST + 2, 0600, &out, &e), 0);
    assert_int_equal(out.len, SECRETFILE_MOST);
    buf_free(&out);
    assert_int_equal(read_file(big, SECRETFILE_MOST + 3, 0600, &out, &e), -1);
    assert_int_equal(read_file("secret\n", 7, 0604, &out, &e), -1);
    assert_non_null(strstr(e.text, "is open to other users (mode 0604); run chmod 600"));
    assert_int_equal(read_file("secret\n", 7, 0640, &out, &e), -1);
    assert_int_equal(read_file("", 0, 0600, &out, &e), -1);
    assert_int_equal(read_file("\n", 1, 0600, &out, &e), -1);
    assert_int_equal(read_file("a\nb\n", 4, 0600, &out, &e), -1);
    assert_int_equal(read_file("a\0b", 3, 0600, &out, &e), -1);
    assert_int_equal(secretfile_read("/tmp", &out, &e), -1);
    assert_int_equal(secretfile_read("/nowhere/secret", &out, &e), -1);
    assert_non_null(strstr(e.text, "secret file /nowhere/secret can't be read: No such file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_strongest_that_both_have_is_chosen),
        cmocka_unit_test(to_a_stranger_goes_nothing),
        cmocka_unit_test(a_host_without_a_mechanism_for_us_is_told_of),
        cmocka_unit_test(plain),
        cmocka_unit_test(login),
        cmocka_unit_test(cram_md5),
        cmocka_unit_test(tokens),
        cmocka_unit_test(a_challenge_has_a_bound),
        cmocka_unit_test(scram_with_gnu_sasl),
        cmocka_unit_test(a_host_that_does_not_know_the_secret_is_found_out),
        cmocka_unit_test(channels_are_bound),
        cmocka_unit_test(a_host_whose_binding_was_taken_away_can_see_it),
        cmocka_unit_test(salted_passwords_are_kept),
        cmocka_unit_test(the_work_that_a_host_may_ask_for_is_bounded),
        cmocka_unit_test(what_a_token_server_says),
        cmocka_unit_test(what_no_token_server_says),
        cmocka_unit_test(a_life_that_can_t_be_is_none),
        cmocka_unit_test(newest_tokens_are_kept),
        cmocka_unit_test(a_secret_is_one_line_of_a_closed_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
