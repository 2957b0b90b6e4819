/* pairs: all certificates of the configuration with their keys, in its order, and how they are renewed.
 *
 *   loaded <--- look every few seconds: other files? --- same at the next look ---> read them ---> they fit: taken up
 *      ^                                                                               |
 *      +------------------- they don't: said once in the log, the former go on <-------+
 *
 * The key that a renewal replaced still signs for KEPT_MS: handshakes that began with the former certificate end with it. */
#ifndef POSTINO_PAIRS_H
#define POSTINO_PAIRS_H

#include "conf/settings.h"
#include "tlsmgr/pair.h"

struct pairs;

/* Loads all. One that can't be is an error in the log, and is looked for again. */
struct pairs *pairs_open(const struct settings *);
void pairs_free(struct pairs *);

/* Looks whether the files are others. True: something was taken up. */
bool pairs_look(struct pairs *, uint64_t now_ms);
/* Says in the log which end soon; once a day is enough. */
void pairs_warn(const struct pairs *, time_t now);

size_t pairs_count(const struct pairs *);
/* NULL: it could not be loaded. *file is the certificate's. */
const struct pair *pairs_nth(const struct pairs *, size_t i, const char **file);
EVP_PKEY *pairs_key(const struct pairs *, struct span key_name); /* NULL: none has that name */

#endif
