/* source: the text of postino.conf as libConfuse gets it: read from a file that only its owner can write, comments blanked out.
 *
 * libConfuse 3.3 counts a line too many after each comment, takes a comment inside a list for a syntax error, swallows characters that it
 * does not know, puts environment variables in place of ${NAME}, and lets the last section end without its brace. So comments are blanks
 * before it sees them (the newlines stay), and what it would bend silently is an error here. This looks at characters alone; names, values
 * and the grammar are the parser's. */
#ifndef POSTINO_SOURCE_H
#define POSTINO_SOURCE_H

#include "conf/report.h"

#define SOURCE_MOST ((size_t)8 << 20)

/* 0: `text` can be parsed. -1: it can't; the report says why. */
int source_read(const char *path, struct buf *text, struct report *);

/* The second half alone: blanks out comments in place. */
int source_clean(char *text, size_t n, struct report *);

#endif
