/* sign: the private operation of a TLS handshake, and of nothing else.
 *
 * What is signed must look as TLS makes it: a digest of a length that TLS has (ECDSA), the DigestInfo of such a digest or MD5 and SHA-1 in a row
 * (RSA, PKCS #1 v1.5; RFC 8017 9.2, RFC 5246 7.4.3, RFC 4346 7.4.3), or a PSS block whose salt is as long as its hash (RFC 8446 4.2.3, RFC 8017
 * 9.1.2). So a key undoes no encryption (a ciphertext is neither, but for once in 2^64 and less), and signs nothing of another form. What the
 * digest is of can't be seen here. */
#ifndef POSTINO_SIGN_H
#define POSTINO_SIGN_H

#include "common/buf.h"

#include <openssl/evp.h>
#include <stdint.h>

#define SIGN_INPUT_MOST 1024 /* RSA of 8192 bits */

/* NULL and the signature appended to `out`; or the reason why not. `form` is enum sign_form. */
const char *sign(EVP_PKEY *, uint16_t form, struct span input, struct buf *out);
/* The check alone. */
const char *sign_refusal(const EVP_PKEY *, uint16_t form, struct span input);

#endif
