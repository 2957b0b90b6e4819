#include "common/error.h"

#include <stdarg.h>
#include <stdio.h>

int error_set(struct error *error, const char *fmt, ...)
{
    /* The old text may be among the arguments: a caller that says in whose name an error happened. */
    char text[sizeof error->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (error != NULL)
        snprintf(error->text, sizeof error->text, "%s", text);
    return -1;
}
