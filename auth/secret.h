/* secret: what is kept of a password for SCRAM-SHA-256 (RFC 5802 3, RFC 7677), and names and passwords made comparable (SASLprep, RFC 4013).
 *
 * The text form is the one that Dovecot and GNU SASL write: {SCRAM-SHA-256}iterations,salt,StoredKey,ServerKey, the last three in base64.
 * Who has it can't log in with it, but can try passwords, and can pretend to be this server. */
#ifndef POSTINO_AUTH_SECRET_H
#define POSTINO_AUTH_SECRET_H

#include "common/buf.h"
#include "common/error.h"

#define SECRET_PREFIX          "{SCRAM-SHA-256}"
#define SECRET_KEY             32      /* octets of a key */
#define SECRET_SALT_MOST       64      /* octets of a salt */
#define SECRET_ITERATIONS_MOST 1000000 /* a second of work for PLAIN */
#define NAME_MOST              255
#define PASSWORD_MOST          1024

struct secret {
    uint32_t iterations;
    struct span salt, stored, server; /* base64, in the text that was parsed */
};

bool secret_parse(struct span text, struct secret *); /* false: not of this form, or a number or length that can't be */
bool secret_matches(const struct secret *, struct span password);
/* Appends the text form, with a new salt. -1: the password is empty, too long, or has characters that SASLprep forbids. */
int secret_make(struct span password, uint32_t iterations, struct buf *out, struct error *);

/* Appends the SASLprep form, NUL-terminated (the NUL is not counted in len). False: nothing that a name or password can be, which has NUL or
 * control characters, is empty, longer than `most`, or is not UTF-8. */
bool secret_prepare(struct span raw, size_t most, struct buf *out);
void secret_wipe(struct buf *);

#endif
