#include "tlsmgr/pair.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#define RSA_BITS_LEAST 1024
#define RSA_BITS_MOST  8192

static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text ? text : "not in PEM form";
}

/* ---- files ----------------------------------------------------------------------------------------------------------------------- */

static void note(const struct stat *st, struct timespec *changed, ino_t *inode, dev_t *device)
{
    *changed = st->st_ctim;
    *inode = st->st_ino;
    *device = st->st_dev;
}

void pair_look(struct pair_files *files, const char *certificate, const char *key)
{
    struct stat st;
    *files = (struct pair_files){0};
    if (stat(certificate, &st) == 0)
        note(&st, &files->certificate_changed, &files->certificate_inode, &files->certificate_device);
    if (stat(key, &st) == 0)
        note(&st, &files->key_changed, &files->key_inode, &files->key_device);
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool pair_files_equal(const struct pair_files *a, const struct pair_files *b)
{
    return same_time(a->certificate_changed, b->certificate_changed) && same_time(a->key_changed, b->key_changed) &&
           a->certificate_inode == b->certificate_inode && a->key_inode == b->key_inode && a->certificate_device == b->certificate_device &&
           a->key_device == b->key_device;
}

static int read_all(int fd, const char *path, struct buf *out, struct error *error)
{
    char piece[4096];
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) > 0)
        buf_add(out, piece, (size_t)n);
    OPENSSL_cleanse(piece, sizeof piece);
    if (n < 0)
        return error_set(error, "%s can't be read: %s", path, strerror(errno));
    return out->failed
               ? error_set(error, "%s has more than %zu octets; name a file with one certificate chain or key", path, PAIR_FILE_MOST)
               : 0;
}

/* The whole room is made at once, so that no part of a key is left in memory that was outgrown. */
static int read_file(const char *path, struct stat *st, struct buf *out, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), result = -1;
    *st = (struct stat){0};
    if (fd < 0 && errno == EACCES)
        return error_set(
            error, "%s can't be read: it is not for postino-tlsmgr, or no longer where it was at the start; run postino reload", path);
    if (fd < 0)
        return error_set(error, "%s can't be read: %s; put it there, or correct the path in tls { }", path, strerror(errno));
    if (fstat(fd, st) != 0 || !S_ISREG(st->st_mode))
        error_set(error, "%s is not a file; name a PEM file", path);
    else if (!buf_reserve(out, (size_t)st->st_size + 1))
        error_set(error, "%s is too large; name a file with one certificate chain or key", path);
    else
        result = read_all(fd, path, out, error);
    close(fd);
    return result;
}

static void wipe(struct buf *text)
{
    if (text->data)
        OPENSSL_cleanse(text->data, text->cap);
    buf_free(text);
}

/* ---- certificates ---------------------------------------------------------------------------------------------------------------- */

static void add_names(X509 *certificate, struct buf *out)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
        if (name->type == GEN_DNS)
            buf_printf(out, "%s%.*s", out->len ? " " : "", ASN1_STRING_length(name->d.dNSName),
                       (const char *)ASN1_STRING_get0_data(name->d.dNSName));
    }
    GENERAL_NAMES_free(all);
}

static void note_end(X509 *certificate, time_t *ends)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) != 1)
        return;
    time_t end = timegm(&tm);
    if (*ends == 0 || end < *ends)
        *ends = end;
}

static bool take_certificate(struct pair *pair, X509 *certificate)
{
    unsigned char *der = NULL;
    int n = i2d_X509(certificate, &der);
    if (n <= 0)
        return false;
    buf_add(&pair->chain, der, (size_t)n);
    OPENSSL_free(der);
    note_end(certificate, &pair->ends);
    return !pair->chain.failed;
}

/* SHA-256 of the key's SubjectPublicKeyInfo: what smtpd asks for it by. */
static bool name_key(struct pair *pair, X509 *own)
{
    unsigned char *der = NULL;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(own), &der);
    bool good = n > 0 && EVP_Digest(der, (size_t)n, pair->key_name, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    return good;
}

static int take_chain(struct pair *pair, BIO *bio, X509 **own, const char *path, struct error *error)
{
    *own = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
    if (!*own || !take_certificate(pair, *own) || !name_key(pair, *own))
        return error_set(error, "%s: the certificate can't be used: %s; it must be a PEM file, the host's certificate first", path,
                         reason());
    add_names(*own, &pair->names);
    X509 *next;
    for (int i = 1; i < PAIR_CHAIN_MOST && (next = PEM_read_bio_X509(bio, NULL, NULL, NULL)); i++) {
        bool good = take_certificate(pair, next);
        X509_free(next);
        if (!good)
            return error_set(error, "%s: a certificate of the chain can't be used", path);
    }
    ERR_clear_error(); /* the end of the file */
    return 0;
}

static int load_chain(struct pair *pair, struct pair_files *files, X509 **own, const char *path, struct error *error)
{
    struct buf text = BUF_EMPTY(PAIR_FILE_MOST);
    struct stat st;
    int result = read_file(path, &st, &text, error);
    note(&st, &files->certificate_changed, &files->certificate_inode, &files->certificate_device);
    if (result == 0) {
        BIO *bio = BIO_new_mem_buf(text.data, (int)text.len);
        result = bio ? take_chain(pair, bio, own, path, error) : error_set(error, "out of memory");
        BIO_free(bio);
    }
    buf_free(&text);
    return result;
}

/* ---- key ------------------------------------------------------------------------------------------------------------------------- */

static int no_password(char *buffer, int size, int writing, void *arg)
{
    (void)buffer, (void)size, (void)writing, (void)arg;
    return -1;
}

static bool good_curve(const EVP_PKEY *key)
{
    int bits = EVP_PKEY_get_bits(key);
    return bits == 256 || bits == 384 || bits == 521;
}

static int check_kind(const EVP_PKEY *key, const char *path, struct error *error)
{
    int bits = EVP_PKEY_get_bits(key);
    if (EVP_PKEY_is_a(key, "RSA") ? bits >= RSA_BITS_LEAST && bits <= RSA_BITS_MOST : EVP_PKEY_is_a(key, "EC") && good_curve(key))
        return 0;
    return error_set(error, "%s: this kind of key can't be used here; make one that is ECDSA (P-256, P-384, P-521) or RSA (%d to %d bits)",
                     path, RSA_BITS_LEAST, RSA_BITS_MOST);
}

static int load_key(struct pair *pair, struct pair_files *files, const char *path, struct error *error)
{
    struct buf text = BUF_EMPTY(PAIR_FILE_MOST);
    struct stat st;
    int result = read_file(path, &st, &text, error);
    note(&st, &files->key_changed, &files->key_inode, &files->key_device);
    BIO *bio = result == 0 ? BIO_new_mem_buf(text.data, (int)text.len) : NULL;
    pair->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    if (result == 0 && !pair->key)
        result = error_set(error, "%s: the private key can't be used: %s; it must be a PEM file without a passphrase", path, reason());
    BIO_free(bio);
    wipe(&text);
    return result == 0 ? check_kind(pair->key, path, error) : -1;
}

/* ---- both ------------------------------------------------------------------------------------------------------------------------ */

int pair_load(struct pair *pair, struct pair_files *files, const char *certificate, const char *key, struct error *error)
{
    X509 *own = NULL;
    *pair = (struct pair){.chain = BUF_EMPTY(PAIR_FILE_MOST), .names = BUF_EMPTY(4096)};
    *files = (struct pair_files){0};
    ERR_clear_error();
    int result = load_chain(pair, files, &own, certificate, error);
    if (result == 0)
        result = load_key(pair, files, key, error);
    if (result == 0 && X509_check_private_key(own, pair->key) != 1)
        result = error_set(error, "%s is not the key of the certificate %s; is one of them not renewed yet?", key, certificate);
    X509_free(own);
    ERR_clear_error();
    if (result != 0)
        pair_free(pair);
    return result;
}

void pair_free(struct pair *pair)
{
    EVP_PKEY_free(pair->key);
    buf_free(&pair->chain);
    buf_free(&pair->names);
    pair->key = NULL;
}
