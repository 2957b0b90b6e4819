/* mapcheck: is this file a Berkeley DB hash or btree that can be read without harm?
 *
 * libdb trusts the offsets, lengths and page numbers that stand in a file; a damaged one makes it crash or run in circles. So every page is
 * looked at before libdb is: kind and version, that all offsets and lengths lie within their page, that every page that is pointed to is
 * there and of the right type, that chains end and trees get lower. Wrong data inside an item is found only by the page checksums that our
 * own builder writes. */
#ifndef POSTINO_MAPCHECK_H
#define POSTINO_MAPCHECK_H

#include "common/error.h"

#include <stdbool.h>

enum mapcheck_kind { MAPCHECK_HASH, MAPCHECK_BTREE };

#define MAPCHECK_FILE_MAX  ((long long)1 << 30) /* a larger file is refused */
#define MAPCHECK_VALUE_MAX ((unsigned)1 << 20)  /* octets of one key or value */

/* Reads the file behind `fd` from its beginning. 0: sound. -1: the error says what is wrong, without the file's name. */
int mapcheck(int fd, enum mapcheck_kind, struct error *);

#endif
