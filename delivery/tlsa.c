#include "delivery/tlsa.h"

#include <stdlib.h>

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool small_number(struct span word, uint8_t most, uint8_t *out)
{
    if (word.n != 1 || word.p[0] < '0' || word.p[0] > '0' + most)
        return false;
    *out = (uint8_t)(word.p[0] - '0');
    return true;
}

static bool hexadecimal(struct span text, struct tlsa *r)
{
    if (text.n % 2 || text.n / 2 > sizeof r->data)
        return false;
    r->length = text.n / 2;
    for (size_t i = 0; i < r->length; i++) {
        int high = nibble(text.p[2 * i]), low = nibble(text.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        r->data[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool length_good(const struct tlsa *r)
{
    return r->matching == 0 ? r->length > 0 : r->length == (r->matching == 1 ? 32 : 64);
}

static bool parse(struct span text, struct tlsa *r)
{
    while (text.n && *text.p == ' ')
        text = span_make(text.p + 1, text.n - 1);
    struct span usage = span_until(&text, ' '), selector = span_until(&text, ' '), matching = span_until(&text, ' ');
    return small_number(usage, 3, &r->usage) && r->usage >= 2 && small_number(selector, 1, &r->selector) &&
           small_number(matching, 2, &r->matching) && hexadecimal(text, r) && length_good(r);
}

bool tlsa_next(struct span *records, struct tlsa *r)
{
    while (records->n)
        if (parse(span_until(records, ','), r))
            return true;
    return false;
}

bool tlsa_usable(struct span records)
{
    static struct tlsa r;
    return tlsa_next(&records, &r);
}

bool tlsa_is_of_host_alone(struct span records)
{
    static struct tlsa r;
    while (tlsa_next(&records, &r))
        if (r.usage != 3)
            return false;
    return true;
}
