/* cidrmap: a table from networks to words, "cidr:/path": a text file of lines "192.0.2.0/24 words", as cidr_table(5) reads it. The first
 * line that contains the address counts. Comments, and lines continued by a leading blank, as in other map sources.
 *
 * The file is read as it is, without a build step; it is read again when it has changed (looked at once a second at most). A file that is
 * missing or wrong is an error of the lookup, never "not found". */
#ifndef POSTINO_CIDRMAP_H
#define POSTINO_CIDRMAP_H

#include "common/map.h"

#include <sys/socket.h>

struct cidrmap;

struct cidrmap *cidrmap_open(const char *path); /* NULL: no memory. The file may come later. */
void cidrmap_free(struct cidrmap *);
/* `value` is valid until the next lookup. FAILED: the error names file, line, cause and next step. */
enum map_result cidrmap_lookup(struct cidrmap *, const struct sockaddr *, struct span *value, struct error *);

#endif
