/* mapsource: the text that a map is built from. Pure: no files.
 *
 * Plain form, as postmap(1) reads it: "key whitespace value". Aliases form, as aliases(5): "name: target, target". In both a line that
 * begins with a blank continues the one before, and lines that are empty or begin with # are left out, also between a line and its
 * continuation.
 *
 * The targets of an alias are a list that is split at commas outside of quotes; alias_target_next() is used by the builder to check and by
 * route to expand. */
#ifndef POSTINO_MAPSOURCE_H
#define POSTINO_MAPSOURCE_H

#include "common/map.h"

struct mapsource_entry {
    struct span key;   /* lower case, quotes taken off (aliases) */
    struct span value; /* continuation lines joined by one blank */
    unsigned line;     /* where it begins, from 1 */
};

/* Called for each entry, in order; spans are valid during the call. -1 (error filled, without file name) ends the walk. */
typedef int mapsource_fn(const struct mapsource_entry *, void *arg, struct error *);

/* 0, or -1 with "line N: what is wrong; what to write". */
int mapsource_read(struct span text, enum map_form, mapsource_fn *, void *arg, struct error *);

enum alias_kind {
    ALIAS_NAME,    /* a local name, or name@domain */
    ALIAS_LITERAL, /* \name: that user, without a further look at the aliases */
    ALIAS_COMMAND, /* |command */
    ALIAS_FILE,    /* /file */
    ALIAS_INCLUDE, /* :include:/file */
    ALIAS_BROKEN,  /* a quote that does not end, or nothing that could be a target */
};

/* Takes the next target off the front of `list`; false at its end. `to` points into the list, without quotes around the whole, without `\`
 * (LITERAL), `|` (COMMAND) and ":include:"; of "Words <name@domain>" it is what stands in the brackets. Empty items (", ,") are passed
 * over. */
bool alias_target_next(struct span *list, struct span *to, enum alias_kind *);

#endif
