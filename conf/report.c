#include "conf/report.h"

#include <stdio.h>

void report_free(struct report *r)
{
    buf_free(&r->errors);
    buf_free(&r->warnings);
}

/* Values from the file stand in the text; a control character among them must not reach a terminal. */
static void add_line(struct report *r, struct buf *out, unsigned line, const char *fmt, va_list ap)
{
    char text[1024];
    if (vsnprintf(text, sizeof text, fmt, ap) < 0)
        return;
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    if (line)
        buf_printf(out, "%s:%u: %s\n", r->path, line, text);
    else
        buf_printf(out, "%s: %s\n", r->path, text);
}

void report_error(struct report *r, unsigned line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (++r->error_count <= REPORT_MOST)
        add_line(r, &r->errors, line, fmt, ap);
    va_end(ap);
}

void report_warning(struct report *r, unsigned line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (++r->warning_count <= REPORT_MOST)
        add_line(r, &r->warnings, line, fmt, ap);
    va_end(ap);
}
