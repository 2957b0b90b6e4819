/* siphash: SipHash-2-4 (Aumasson, Bernstein), for tables whose keys strangers choose: nobody who does not know the key can make two of
 * them meet. */
#ifndef POSTINO_SIPHASH_H
#define POSTINO_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t k[2];
};

void siphash_key_new(struct siphash_key *);                           /* random; the process ends where there is no randomness */
uint64_t siphash(const struct siphash_key *, const void *, size_t n); /* never 0 */

#endif
