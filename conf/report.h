/* report: the errors and warnings about a configuration, all of them, as lines for a person.
 *
 *     FILE:LINE: cause; next step
 *
 * Lines are in the order in which they were found, until report_sort(). A warning never keeps a configuration from being used. */
#ifndef POSTINO_REPORT_H
#define POSTINO_REPORT_H

#include "common/buf.h"

#define REPORT_MOST 100 /* errors that are written out; of more only the number is told */

/* From line `from` of the whole text on, until the next one: line `line` and what follows of that file. */
struct report_piece {
    unsigned from, line;
    char *path;
};

struct report {
    struct buf errors;   /* lines, each with its \n */
    struct buf warnings; /* the same */
    size_t error_count;
    size_t warning_count;
    size_t given;                /* settings that the file gives a value */
    bool run_in_doubt;           /* there are errors, and directory.run was not read where the file, or what could not be included, may set it */
    const char *path;            /* of the file; the caller's, set by parse_file() */
    struct report_piece *pieces; /* of a text that was joined from several files; none: all is of `path` */
    size_t piece_count;
};

void report_free(struct report *); /* the lines; the struct is the caller's, all zero at first */

/* From line `from` on the text is another file's. false: no memory. report_unmap() forgets all of it: lines are those of `path` again. */
bool report_map(struct report *, unsigned from, const char *path, unsigned line);
void report_unmap(struct report *);
/* Appends "line 7", or "line 7 of FILE" where that is another file than `beside`'s. */
void report_add_line(const struct report *, unsigned line, unsigned beside, struct buf *out);

/* Lines about included files, then those about the file itself by their numbers, then those without one. */
void report_sort(struct report *);

/* A line of 0 is left out. */
__attribute__((format(printf, 3, 4))) void report_error(struct report *, unsigned line, const char *fmt, ...);
__attribute__((format(printf, 3, 4))) void report_warning(struct report *, unsigned line, const char *fmt, ...);

#endif
