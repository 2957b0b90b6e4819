/* file: small files, read and replaced as a whole. */
#ifndef POSTINO_FILE_H
#define POSTINO_FILE_H

#include "common/buf.h"

/* Appends all that can be read. False: not to its end, or it is more than the buffer takes. */
bool file_read(int fd, struct buf *out);

/* The same with the file `name` in `directory`, if it is none of somebody else's making: no symbolic link is followed, and nothing is waited for. */
bool file_read_at(int directory, const char *name, struct buf *out);

/* `name` in `directory` has this text, on disk, or is as it was: it is written under the name `new` first, of which nothing stays. Owner alone (0600).
 * -1: errno. */
int file_replace(int directory, const char *name, const char *new, struct span text);

#endif
