/* map: a lookup table, from key to value. "hash:/path" and "btree:/path" are Berkeley DB files named /path.db, built by `postino map` or
 * newaliases.
 *
 * Built under a new name, synced and renamed, so a reader sees the old file or the new one, whole. A reader reopens when the file's inode
 * or time changed (looked at once a second at most). Keys are lower-case without a NUL (a file whose keys have a trailing NUL, as Postfix
 * and sendmail write them, is read as well). A file that is missing, damaged, or of another kind is an error of the lookup, never "not
 * found": mail waits for the admin, and is not refused. */
#ifndef POSTINO_MAP_H
#define POSTINO_MAP_H

#include "common/buf.h"
#include "common/error.h"

struct map;

enum map_result { MAP_FOUND, MAP_ABSENT, MAP_FAILED };

struct map *map_open(const char *spec, struct error *); /* NULL: the spec is not a map; the file may come later */
void map_free(struct map *);
enum map_result map_lookup(struct map *, struct span key, struct buf *value, struct error *);

/* Builders. The source of "hash:/etc/aliases" is /etc/aliases. Returns the number of entries, -1 on error (file, line, cause). `warnings`
 * gets lines for what is taken but will not work as written. Plain: "key whitespace value"; aliases: "name: value, value", continued by
 * leading blanks. */
enum map_form { MAP_PLAIN, MAP_ALIASES };
long map_build(const char *spec, enum map_form, struct buf *warnings, struct error *);

#endif
