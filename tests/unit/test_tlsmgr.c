/* postino-tlsmgr without its edges: what it signs and what it does not, how pairs are renewed, how ticket keys come and go, whose turn it is. */
#include "common/messages.h"
#include "tlsmgr/pairs.h"
#include "tlsmgr/requests.h"
#include "tlsmgr/sign.h"
#include "tlsmgr/tickets.h"

#include <openssl/err.h>
#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static EVP_PKEY *rsa, *ec;
static unsigned char digest[64] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde";

static int make_keys(void **state)
{
    (void)state;
    rsa = EVP_RSA_gen(2048);
    ec = EVP_EC_gen("P-256");
    return rsa && ec ? 0 : -1;
}

static int free_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    return 0;
}

/* ---- signatures ------------------------------------------------------------------------------------------------------------------ */

static struct span signed_by(EVP_PKEY *key, uint16_t form, struct span input, struct buf *out)
{
    buf_clear(out);
    assert_null(sign(key, form, input, out));
    assert_true(out->len > 0);
    return buf_span(out);
}

static bool verifies(EVP_PKEY *key, int padding, const EVP_MD *md, struct span signature, size_t n)
{
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(key, NULL);
    EVP_PKEY_verify_init(c);
    if (padding)
        EVP_PKEY_CTX_set_rsa_padding(c, padding);
    EVP_PKEY_CTX_set_signature_md(c, md);
    bool good = EVP_PKEY_verify(c, (const unsigned char *)signature.p, signature.n, digest, n) == 1;
    EVP_PKEY_CTX_free(c);
    return good;
}

static void an_ecdsa_digest_is_signed(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(0);
    struct span s = signed_by(ec, SIGN_ECDSA, span_make(digest, 32), &out);
    assert_true(verifies(ec, 0, EVP_sha256(), s, 32));
    buf_free(&out);
    static const size_t not_digests[] = {1, 16, 19, 31, 33, 63};
    for (size_t i = 0; i < 6; i++)
        assert_non_null(sign_refusal(ec, SIGN_ECDSA, span_make(digest, not_digests[i])));
}

static void a_pkcs1_digest_info_is_signed(void **state)
{
    (void)state;
    static const unsigned char sha256[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                           0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0,    4,    32};
    unsigned char info[sizeof sha256 + 33] = {0};
    memcpy(info, sha256, sizeof sha256);
    memcpy(info + sizeof sha256, digest, 32);
    struct buf out = BUF_EMPTY(0);
    struct span input = span_make(info, sizeof sha256 + 32);
    assert_true(verifies(rsa, RSA_PKCS1_PADDING, EVP_sha256(), signed_by(rsa, SIGN_RSA_PKCS1, input, &out), 32));
    buf_free(&out);
    assert_non_null(sign_refusal(rsa, SIGN_RSA_PKCS1, span_make(info, sizeof sha256 + 31)));
    assert_non_null(sign_refusal(rsa, SIGN_RSA_PKCS1, span_make(info, sizeof sha256 + 33)));
    info[14]++; /* another hash */
    assert_non_null(sign_refusal(rsa, SIGN_RSA_PKCS1, input));
    assert_non_null(sign_refusal(rsa, SIGN_RSA_PKCS1, span_make(digest, 32)));
}

static void pad(EVP_PKEY *key, const EVP_MD *md, int salt, unsigned char *block)
{
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(key, NULL);
    size_t n = 1024, m = 1024;
    unsigned char signature[1024];
    assert_int_equal(EVP_PKEY_sign_init(c), 1);
    EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PSS_PADDING);
    EVP_PKEY_CTX_set_signature_md(c, md);
    EVP_PKEY_CTX_set_rsa_pss_saltlen(c, salt);
    assert_int_equal(EVP_PKEY_sign(c, signature, &n, digest, (size_t)EVP_MD_get_size(md)), 1);
    EVP_PKEY_CTX_free(c);
    c = EVP_PKEY_CTX_new(key, NULL);
    EVP_PKEY_verify_recover_init(c);
    EVP_PKEY_CTX_set_rsa_padding(c, RSA_NO_PADDING);
    assert_int_equal(EVP_PKEY_verify_recover(c, block, &m, signature, n), 1);
    assert_int_equal(m, EVP_PKEY_get_size(key));
    EVP_PKEY_CTX_free(c);
}

static void a_pss_block_is_signed(void **state)
{
    (void)state;
    EVP_PKEY *odd = EVP_RSA_gen(1031);
    EVP_PKEY *keys[] = {rsa, odd};
    const EVP_MD *hashes[] = {EVP_sha256(), EVP_sha384()};
    for (size_t i = 0; i < 4; i++) {
        EVP_PKEY *key = keys[i / 2];
        const EVP_MD *md = hashes[i % 2];
        unsigned char block[1024];
        struct buf out = BUF_EMPTY(0);
        pad(key, md, RSA_PSS_SALTLEN_DIGEST, block);
        struct span s = signed_by(key, SIGN_RSA_PSS, span_make(block, (size_t)EVP_PKEY_get_size(key)), &out);
        assert_true(verifies(key, RSA_PKCS1_PSS_PADDING, md, s, (size_t)EVP_MD_get_size(md)));
        buf_free(&out);
    }
    EVP_PKEY_free(odd);
}

/* A ciphertext that somebody recorded, a block of another padding, of another salt, and one with any bit changed. */
static void what_is_no_tls_signature_is_refused(void **state)
{
    (void)state;
    unsigned char block[1024], cipher[256];
    size_t n = sizeof cipher;
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(rsa, NULL);
    EVP_PKEY_encrypt_init(c);
    assert_int_equal(EVP_PKEY_encrypt(c, cipher, &n, digest, 48), 1);
    EVP_PKEY_CTX_free(c);
    assert_non_null(sign_refusal(rsa, SIGN_RSA_PSS, span_make(cipher, n)));
    pad(rsa, EVP_sha256(), 20, block);
    assert_non_null(sign_refusal(rsa, SIGN_RSA_PSS, span_make(block, 256)));
    pad(rsa, EVP_sha256(), RSA_PSS_SALTLEN_DIGEST, block);
    for (size_t bit = 0; bit < 2048; bit++) {
        block[bit / 8] ^= (unsigned char)(1u << bit % 8);
        const char *refused = sign_refusal(rsa, SIGN_RSA_PSS, span_make(block, 256));
        /* Of the masked salt any bits will do. */
        if (!refused && (bit / 8 < 256 - 1 - 32 - 32 || bit / 8 >= 256 - 1 - 32))
            fail_msg("with bit %zu changed it is signed", bit);
        block[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    assert_null(sign_refusal(rsa, SIGN_RSA_PSS, span_make(block, 256)));
    assert_non_null(sign_refusal(rsa, SIGN_RSA_PSS, span_make(block, 255)));
    assert_non_null(sign_refusal(ec, SIGN_RSA_PSS, span_make(block, 256)));
    assert_non_null(sign_refusal(rsa, SIGN_ECDSA, span_make(digest, 32)));
    assert_non_null(sign_refusal(ec, SIGN_RSA_PKCS1, span_make(digest, 36)));
    for (uint16_t form = 0; form < 10; form++)
        assert_non_null(sign_refusal(rsa, form == SIGN_RSA_PKCS1 || form == SIGN_RSA_PSS ? 0 : form, span_make(block, 256)));
}

/* ---- requests -------------------------------------------------------------------------------------------------------------------- */

static void requests_are_bounded_and_keep_their_order(void **state)
{
    (void)state;
    struct requests all;
    requests_init(&all);
    struct message_sign good = {.key = span_make(digest, 32), .form = SIGN_ECDSA, .input = span_make(digest, 32)};
    struct message_sign bad[] = {good, good, good};
    bad[0].key.n = 31;
    bad[1].input.n = 0;
    bad[2].input = span_make(digest, SIGN_INPUT_MOST + 1);
    for (size_t i = 0; i < 3; i++)
        assert_non_null(requests_add(&all, 1, &bad[i]));
    for (uint32_t i = 1; i <= REQUESTS_MOST; i++)
        assert_null(requests_add(&all, i, &good));
    assert_non_null(requests_add(&all, 1000, &good));
    for (uint32_t i = 1; i <= 3; i++) {
        struct request *r = requests_take(&all);
        assert_int_equal(r->id, i);
        assert_true(span_equal(request_key(r), good.key) && span_equal(request_input(r), good.input));
        free(r);
    }
    requests_free(&all);
    assert_null(requests_take(&all));
}

/* ---- tickets --------------------------------------------------------------------------------------------------------------------- */

static void ticket_keys_rotate_and_are_forgotten(void **state)
{
    (void)state;
    struct tickets t = {.period = 1000};
    assert_true(tickets_turn(&t, 5000));
    assert_int_equal(t.count, 1);
    struct ticket first = t.keys[0];
    assert_false(tickets_turn(&t, 5999));
    assert_int_equal(tickets_due(&t), 6000);
    assert_true(tickets_turn(&t, 6000));
    assert_int_equal(t.count, 2);
    assert_memory_not_equal(t.keys[0].name, first.name, sizeof first.name);
    assert_memory_not_equal(t.keys[0].cipher, first.cipher, sizeof first.cipher);
    assert_memory_equal(&t.keys[1], &first, sizeof first);
    assert_int_equal(first.accepts, 7000);
    assert_true(tickets_turn(&t, 7000));
    assert_int_equal(t.count, 2);
    for (size_t i = 0; i + sizeof first.cipher <= sizeof t; i++) /* nowhere */
        assert_memory_not_equal((const char *)&t + i, first.cipher, sizeof first.cipher);
    assert_true(tickets_turn(&t, 100000)); /* the machine slept */
    assert_int_equal(t.count, 1);
}

/* ---- pairs ----------------------------------------------------------------------------------------------------------------------- */

static char dir[] = "/tmp/postino-pairs.XXXXXX";

__attribute__((format(printf, 1, 2))) static void run(const char *fmt, ...)
{
    char command[2000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    assert_int_equal(system(command), 0);
}

static int make_files(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    run("cd %s && for n in 1 2; do openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days $n -subj /CN=n$n.example "
        "-addext subjectAltName=DNS:n$n.example,DNS:*.n$n.example -keyout $n.key -out $n.crt 2>/dev/null; done; ln -s 1.crt live.crt; ln "
        "-s "
        "1.key live.key; openssl genpkey -algorithm ed25519 -out ed.key; openssl ec -aes128 -passout pass:x -in 1.key -out locked.key "
        "2>/dev/null",
        dir);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    run("rm -r %s", dir);
    return 0;
}

static struct pairs *open_live(void)
{
    static char certificate[100], key[100];
    static char *certificates[] = {certificate}, *keys[] = {key};
    static struct settings settings;
    snprintf(certificate, sizeof certificate, "%s/live.crt", dir);
    snprintf(key, sizeof key, "%s/live.key", dir);
    settings.tls_certificate = (struct strings){1, certificates};
    settings.tls_key = (struct strings){1, keys};
    return pairs_open(&settings);
}

static void certbot_renews(void **state)
{
    (void)state;
    const char *file;
    run("cd %s && ln -sfn 1.crt live.crt && ln -sfn 1.key live.key", dir);
    struct pairs *p = open_live();
    struct pair before = *pairs_nth(p, 0, &file);
    struct span name = span_make(before.key_name, PAIR_KEY_NAME);
    EVP_PKEY *key = pairs_key(p, name);
    assert_non_null(key);
    assert_string_equal(buf_text(&before.names), "n1.example *.n1.example");
    assert_false(pairs_look(p, 0));

    run("cd %s && ln -sfn 2.crt live.crt", dir); /* the key is not there yet */
    assert_false(pairs_look(p, 1000));
    assert_false(pairs_look(p, 2000)); /* still, but they don't fit */
    assert_ptr_equal(pairs_key(p, name), key);
    run("cd %s && ln -sfn 2.key live.key", dir);
    assert_false(pairs_look(p, 3000)); /* perhaps somebody is still writing */
    assert_true(pairs_look(p, 4000));
    const struct pair *after = pairs_nth(p, 0, &file);
    assert_memory_not_equal(after->key_name, before.key_name, PAIR_KEY_NAME);
    assert_ptr_equal(pairs_key(p, name), key); /* handshakes that began with it */
    assert_false(pairs_look(p, 63000));
    assert_ptr_equal(pairs_key(p, name), key);
    assert_false(pairs_look(p, 64000));
    assert_null(pairs_key(p, name));
    pairs_free(p);
}

static void half_a_file_is_not_taken_up(void **state)
{
    (void)state;
    const char *file;
    run("cd %s && ln -sfn 1.crt live.crt && ln -sfn 1.key live.key", dir);
    struct pairs *p = open_live();
    run("cd %s && head -c 300 2.crt >half.crt && ln -sfn half.crt live.crt && ln -sfn 2.key live.key", dir);
    for (uint64_t t = 0; t < 5; t++)
        assert_false(pairs_look(p, t));
    assert_non_null(pairs_nth(p, 0, &file));
    run("cd %s && cat 2.crt >half.crt", dir); /* the same file, written to */
    assert_false(pairs_look(p, 5));
    assert_true(pairs_look(p, 6));
    run("cd %s && rm live.key", dir);
    for (uint64_t t = 7; t < 10; t++)
        assert_false(pairs_look(p, t));
    assert_non_null(pairs_nth(p, 0, &file));
    pairs_free(p);
}

static void what_can_t_be_used_is_told_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *certificate, *key, *words;
    } wrong[] = {
        {"1.crt", "2.key", "2.key is not the key of the certificate"},        {"1.crt", "ed.key", "ed.key: this kind of key can't be used"},
        {"1.crt", "locked.key", "locked.key: the private key can't be used"}, {"1.crt", "none.key", "none.key can't be read"},
        {"1.key", "1.key", "1.key: the certificate can't be used"},           {".", "1.key", ". is not a file"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char certificate[100], key[100];
        struct pair pair;
        struct pair_files files;
        struct error error;
        snprintf(certificate, sizeof certificate, "%s/%s", dir, wrong[i].certificate);
        snprintf(key, sizeof key, "%s/%s", dir, wrong[i].key);
        assert_int_equal(pair_load(&pair, &files, certificate, key, &error), -1);
        if (!strstr(error.text, wrong[i].words))
            fail_msg("\"%s\" does not say \"%s\"", error.text, wrong[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ecdsa_digest_is_signed),
        cmocka_unit_test(a_pkcs1_digest_info_is_signed),
        cmocka_unit_test(a_pss_block_is_signed),
        cmocka_unit_test(what_is_no_tls_signature_is_refused),
        cmocka_unit_test(requests_are_bounded_and_keep_their_order),
        cmocka_unit_test(ticket_keys_rotate_and_are_forgotten),
        cmocka_unit_test_setup_teardown(certbot_renews, make_files, NULL),
        cmocka_unit_test(half_a_file_is_not_taken_up),
        cmocka_unit_test_setup_teardown(what_can_t_be_used_is_told_by_name, NULL, remove_files),
    };
    return cmocka_run_group_tests_name("tlsmgr", tests, make_keys, free_keys);
}
