/* Parameters of MAIL about when and how soon. */
#include "common/date.h"
#include "smtpd/parameters.h"

#define DIGITS_MOST 9

/* Up to nine digits. */
static bool number(struct span s, uint32_t *out)
{
    if (s.n == 0 || s.n > DIGITS_MOST)
        return false;
    *out = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        *out = *out * 10 + (uint32_t)(s.p[i] - '0');
    }
    return true;
}

/* RFC 4865 4: at least 1, without zeros in front. */
bool parameter_hold_for(struct span value, struct command *c)
{
    return number(value, &c->times.hold_for) && value.p[0] != '0';
}

bool parameter_hold_until(struct span value, struct command *c)
{
    return date_parse(value, &c->times.hold_until) && c->times.hold_until > 0;
}

static bool take_mode(struct span s, uint16_t *out)
{
    if (s.n == 0 || s.n > 2 || (s.n == 2 && (s.p[1] | 0x20) != 't'))
        return false;
    char mode = (char)(s.p[0] | 0x20);
    *out = (uint16_t)((mode == 'r' ? BY_RETURN : BY_NOTIFY) | (s.n == 2 ? BY_TRACE : 0));
    return mode == 'r' || mode == 'n';
}

/* RFC 2852 4: who wants mail returned needs time that is left. */
bool parameter_by(struct span value, struct command *c)
{
    const char *semicolon = value.n ? memchr(value.p, ';', value.n) : NULL;
    uint32_t seconds;
    if (!semicolon || !take_mode(span_make(semicolon + 1, value.n - (size_t)(semicolon - value.p) - 1), &c->times.by_mode))
        return false;
    struct span time = span_make(value.p, (size_t)(semicolon - value.p));
    bool sign = time.n && (time.p[0] == '-' || time.p[0] == '+');
    bool negative = sign && time.p[0] == '-';
    if (!number(sign ? span_make(time.p + 1, time.n - 1) : time, &seconds))
        return false;
    c->times.by_time = negative ? -(int32_t)seconds : (int32_t)seconds;
    return c->times.by_time > 0 || c->times.by_mode & BY_NOTIFY;
}

/* RFC 6710 4: "-9" to "9". */
bool parameter_mt_priority(struct span value, struct command *c)
{
    bool negative = value.n == 2 && value.p[0] == '-';
    if (value.n != (negative ? 2u : 1u))
        return false;
    char digit = value.p[value.n - 1];
    if (digit < (negative ? '1' : '0') || digit > '9')
        return false;
    c->times.mt_priority = (uint16_t)(MT_PRIORITY_ZERO + (negative ? '0' - digit : digit - '0'));
    return true;
}
