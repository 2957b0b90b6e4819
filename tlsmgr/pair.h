/* pair: a certificate chain and its private key, as two PEM files have them. RSA and ECDSA (P-256, P-384, P-521). */
#ifndef POSTINO_PAIR_H
#define POSTINO_PAIR_H

#include "common/buf.h"
#include "common/error.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#define PAIR_KEY_NAME   32 /* SHA-256 of the SubjectPublicKeyInfo */
#define PAIR_FILE_MOST  ((size_t)256 << 10)
#define PAIR_CHAIN_MOST 10 /* certificates */

struct pair {
    EVP_PKEY *key;
    struct buf chain; /* DER, one behind the other, the host's own first */
    unsigned char key_name[PAIR_KEY_NAME];
    struct buf names; /* for the log: blank-separated */
    time_t ends;      /* when the first certificate of the chain to do so expires */
};

/* Which file was read: another one has another, and so has one that was written to. */
struct pair_files {
    struct timespec certificate_changed, key_changed;
    ino_t certificate_inode, key_inode;
    dev_t certificate_device, key_device;
};

/* -1: the error names the file, the cause and what to do. What was read is in *files either way, as far as it could be read. */
int pair_load(struct pair *, struct pair_files *, const char *certificate, const char *key, struct error *);
void pair_free(struct pair *); /* wipes the key */

/* Without reading them. Files that are not there, or can't be looked at, are zeros. */
void pair_look(struct pair_files *, const char *certificate, const char *key);
bool pair_files_equal(const struct pair_files *, const struct pair_files *);

#endif
