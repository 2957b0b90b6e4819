/* include: postino.conf with the files that it names, as one text.
 *
 *     include "shaping.conf"
 *
 * stands in a line of its own, outside of sections. The file's text comes in its place, cleaned as the other (source.h); a name that does not begin
 * with / is looked for beside postino.conf. Who can write such a file can write the configuration, so the same is asked of its owner and
 * mode. An included file includes none. */
#ifndef POSTINO_INCLUDE_H
#define POSTINO_INCLUDE_H

#include "conf/report.h"

#define INCLUDE_MOST 32 /* files */

/* 0: `text` can be parsed. -1: it can't; the report says why. From then on the report knows which line of the text is which line of which file;
 * report_unmap() ends that. */
int include_read(const char *path, struct buf *text, struct report *);

#endif
