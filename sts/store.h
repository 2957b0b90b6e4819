/* store: policies that were fetched, on disk, so that a restart forgets none: who forgets can be told that there never was one (RFC 8461 10.2).
 *
 * A file a domain, with the domain's name (which is lower case and a domain name, so no path): a line "Postino STS 1", "id: X", "fetched: N"
 * (seconds since 1970), an empty line, and the policy as it came. Other files are others' (sts/days.h), and begin with a dot. What is in it is looked at as at a stranger's. */
#ifndef POSTINO_STS_STORE_H
#define POSTINO_STS_STORE_H

#include "common/error.h"
#include "sts/policy.h"

struct stored {
    char id[STS_ID];
    uint64_t fetched;
    struct buf text; /* the policy; the caller frees it */
};

/* `directory` is open for as long as the process lives. */
void store_setup(int directory);
bool store_read(const char *domain, struct stored *); /* false: there is none, or none that can be read */
/* Replaces what there was, on disk when it returns. -1: the old one is still there. */
int store_write(const char *domain, const char *id, uint64_t fetched, struct span text, struct error *);
void store_remove(const char *domain);

/* When the domain was last asked about is its file's time of change: who writes the file marks it again. */
void store_mark(const char *domain, uint64_t asked /* seconds since 1970 */);
/* The next of all domains that have a file, each once; false: there is none left. */
bool store_next(char domain[256], uint64_t *asked);

#endif
