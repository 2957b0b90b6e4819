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

bool local_outcome_take(struct local_outcome *o, uint16_t verdict, struct span status, struct span words)
{
    char code[sizeof o->status];
    if (verdict == VERDICT_DELIVERED) {
        local_delivered(o, "%.*s", SPAN_ARG(words));
        return true;
    }
    if (verdict != VERDICT_DEFERRED || status.n >= sizeof code || status_length(status) != status.n || status.n == 0 || words.n == 0)
        return false;
    (void)snprintf(code, sizeof code, "%.*s", SPAN_ARG(status));
    (void)local_deferred(o, code, "%.*s", SPAN_ARG(words));
    return true;
}
