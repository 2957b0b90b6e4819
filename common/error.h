/* error: what failed, on what, why, and what to do next, as one line for a person.
 * A function that can fail for an outside reason returns a status and fills one of these. */
#ifndef POSTINO_ERROR_H
#define POSTINO_ERROR_H

struct error {
    char text[512];
};

/* Sets the text; always returns -1, so that `return error_set(...)` reads well. */
__attribute__((format(printf, 2, 3))) int error_set(struct error *, const char *fmt, ...);

#endif
