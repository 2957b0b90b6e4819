/* secretfile: a file of the administrator's with one secret: one line, without NUL, of SECRETFILE_MOST octets at most.
 *
 * It belongs to root (or to the user who runs Postino) and nobody else may read it: a secret that others may read is not used. */
#ifndef POSTINO_SECRETFILE_H
#define POSTINO_SECRETFILE_H

#include "common/buf.h"
#include "common/error.h"

#define SECRETFILE_MOST ((size_t)8192)

/* Appends the line without its end, NUL-terminated (the NUL is not counted in len); `out` becomes secret. -1: the error says what is wrong and what to do. */
int secretfile_read(const char *path, struct buf *out, struct error *);

#endif
