/* anchor: the root's keys, kept up to date (RFC 5011) in a directory of postino-dns' own.
 *
 *     root.key      libunbound's: the keys and how far each is on its way (new, valid, missing, revoked). It rewrites the file, by a rename, whenever it has
 *                   looked at the root's keys.
 *     packaged.key  dns { trust_anchor } as it was when root.key began. When that file has become another one (a new package, the administrator),
 *                   root.key begins anew from it.
 *
 * A root.key in which there is no key, or that libunbound does not take, begins anew as well: no fault of a file may end in "nothing is validated". */
#ifndef POSTINO_ANCHOR_H
#define POSTINO_ANCHOR_H

#include "common/error.h"

#include <limits.h>
#include <stdbool.h>

struct ub_ctx;

#define ANCHOR_OCTETS ((size_t)64 << 10) /* of each file, at most */

/* Sees to it that root.key is there and that the directory can be written to, and says where it is. `refused`: libunbound does not take it.
 * -1: it can't be had, use the packaged file. */
int anchor_keep(const char *directory, const char *packaged, bool refused, char path[PATH_MAX], struct error *);

/* For who may not write: the keys that are valid in root.key go into a context. False: there is none to be read. */
bool anchor_use_kept(struct ub_ctx *, const char *directory);
bool anchor_is_kept(const char *directory); /* whether it would */

#endif
