/* nearest: which name was meant by one that does not exist. */
#ifndef POSTINO_NEAREST_H
#define POSTINO_NEAREST_H

#include "conf/settings.h"

/* Appends the next step for the unknown `name` in `section` ("" is the top): the nearest name there; a section where it does exist; or the
 * manual. */
void nearest_hint(const char *section, const char *name, struct buf *out);

#endif
