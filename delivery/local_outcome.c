#include "delivery/local_outcome.h"

#include <stdio.h>

static void clean(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || (unsigned char)*text > 0x7e)
            *text = '?';
}

__attribute__((format(printf, 4, 0))) static void fill(struct local_outcome *o, enum verdict verdict, const char *status, const char *fmt,
                                                       va_list ap)
{
    o->verdict = verdict;
    (void)snprintf(o->status, sizeof o->status, "%s", status);
    (void)vsnprintf(o->words, sizeof o->words, fmt, ap);
    clean(o->words);
}

int local_deferred(struct local_outcome *o, const char *status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fill(o, VERDICT_DEFERRED, status, fmt, ap);
    va_end(ap);
    return -1;
}

int local_failed(struct local_outcome *o, const char *status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fill(o, VERDICT_FAILED, status, fmt, ap);
    va_end(ap);
    return -1;
}

void local_delivered(struct local_outcome *o, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fill(o, VERDICT_DELIVERED, "2.0.0", fmt, ap);
    va_end(ap);
}

size_t local_report_make(const struct local_outcome *o, char to[LOCAL_REPORT_MAX])
{
    int n = o->verdict == VERDICT_DELIVERED ? snprintf(to, LOCAL_REPORT_MAX, "D %s", o->words)
                                            : snprintf(to, LOCAL_REPORT_MAX, "T %s %s", o->status, o->words);
    return n > 0 && n < LOCAL_REPORT_MAX ? (size_t)n : 0;
}

/* "4." digits "." digits, each of one to three digits. Returns its length, 0 when it isn't one. */
static size_t status_length(struct span s)
{
    if (s.n < 5 || s.p[0] != '4' || s.p[1] != '.')
        return 0;
    size_t i = 2;
    for (int part = 0; part < 2; part++) {
        size_t from = i;
        while (i < s.n && i - from < 3 && s.p[i] >= '0' && s.p[i] <= '9')
            i++;
        if (i == from)
            return 0;
        if (part == 0 && (i >= s.n || s.p[i++] != '.'))
            return 0;
    }
    return i;
}

bool local_report_parse(struct span in, struct local_outcome *o)
{
    if (in.n < 3 || in.n > LOCAL_REPORT_MAX || in.p[1] != ' ' || memchr(in.p, 0, in.n))
        return false;
    struct span rest = {in.p + 2, in.n - 2};
    if (in.p[0] == 'D') {
        local_delivered(o, "%.*s", SPAN_ARG(rest));
        return true;
    }
    size_t n = in.p[0] == 'T' ? status_length(rest) : 0;
    if (n == 0 || n + 1 >= rest.n || rest.p[n] != ' ')
        return false;
    char status[sizeof o->status];
    (void)snprintf(status, sizeof status, "%.*s", (int)n, rest.p);
    (void)local_deferred(o, status, "%.*s", (int)(rest.n - n - 1), rest.p + n + 1);
    return true;
}
