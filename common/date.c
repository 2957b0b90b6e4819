#include "common/date.h"

#include <stdio.h>
#include <time.h>

#define DAY 86400u

static bool is_leap(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned days_of_month(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29u : days[month - 1];
}

/* From the first of January 1970. */
static uint64_t days_before(unsigned year, unsigned month, unsigned day)
{
    uint64_t days = day - 1;
    for (unsigned y = 1970; y < year; y++)
        days += is_leap(y) ? 366 : 365;
    for (unsigned m = 1; m < month; m++)
        days += days_of_month(year, m);
    return days;
}

/* So many digits from `at` on. */
static bool digits(struct span s, size_t at, size_t count, unsigned *out)
{
    *out = 0;
    for (size_t i = at; i < at + count; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        *out = *out * 10 + (unsigned)(s.p[i] - '0');
    }
    return true;
}

/* "Z", or ".123Z"; `more`: it is past the full second. */
static bool ending(struct span s, bool *more)
{
    size_t i = 0;
    *more = false;
    if (s.n > 2 && s.p[0] == '.') {
        for (i = 1; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
            *more |= s.p[i] != '0';
        if (i == 1)
            return false;
    }
    return i + 1 == s.n && (s.p[i] == 'Z' || s.p[i] == 'z');
}

bool date_parse(struct span s, uint64_t *seconds)
{
    unsigned year, month, day, hour, minute, second;
    bool more;
    if (s.n < DATE_TEXT - 1 || s.p[4] != '-' || s.p[7] != '-' || (s.p[10] != 'T' && s.p[10] != 't') || s.p[13] != ':' || s.p[16] != ':' ||
        !ending(span_make(s.p + 19, s.n - 19), &more))
        return false;
    if (!digits(s, 0, 4, &year) || !digits(s, 5, 2, &month) || !digits(s, 8, 2, &day) || !digits(s, 11, 2, &hour) ||
        !digits(s, 14, 2, &minute) || !digits(s, 17, 2, &second))
        return false;
    if (year < 1970 || year > 2105 || month < 1 || month > 12 || day < 1 || day > days_of_month(year, month) || hour > 23 || minute > 59 ||
        second > 60 || (second == 60 && (hour != 23 || minute != 59)))
        return false;
    *seconds = days_before(year, month, day) * DAY + hour * 3600u + minute * 60u + second + more;
    return true;
}

void date_format(uint64_t seconds, char out[DATE_TEXT])
{
    uint64_t last = days_before(2106, 1, 1) * DAY - 1;
    time_t t = (time_t)(seconds < last ? seconds : last);
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, DATE_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm);
}
