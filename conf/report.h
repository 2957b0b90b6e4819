/* report: the errors and warnings about a configuration, all of them, as lines for a person.
 *
 *     FILE:LINE: cause; next step
 *
 * Lines are in the order in which they were found. A warning never keeps a configuration from being used. */
#ifndef POSTINO_REPORT_H
#define POSTINO_REPORT_H

#include "common/buf.h"

#define REPORT_MOST 100 /* errors that are written out; of more only the number is told */

struct report {
    struct buf errors;   /* lines, each with its \n */
    struct buf warnings; /* the same */
    size_t error_count;
    size_t warning_count;
    size_t given;     /* settings that the file gives a value */
    const char *path; /* of the file; the caller's, set by parse_file() */
};

void report_free(struct report *); /* the lines; the struct is the caller's, all zero at first */

/* A line of 0 is left out. */
__attribute__((format(printf, 3, 4))) void report_error(struct report *, unsigned line, const char *fmt, ...);
__attribute__((format(printf, 3, 4))) void report_warning(struct report *, unsigned line, const char *fmt, ...);

#endif
