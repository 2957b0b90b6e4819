#include "common/queueid.h"

static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

struct queueid_text queueid_format(uint64_t id)
{
    struct queueid_text out;
    for (size_t i = QUEUEID_TEXT; i > 0; i--, id >>= 5)
        out.text[i - 1] = digits[id & 31];
    out.text[QUEUEID_TEXT] = '\0';
    return out;
}

static int digit_value(char c)
{
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* Only what queueid_format() writes: one id has one name, also as a file. */
bool queueid_parse(struct span text, uint64_t *id)
{
    if (text.n != QUEUEID_TEXT)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < text.n; i++) {
        int digit = digit_value(text.p[i]);
        if (digit < 0)
            return false;
        value = value << 5 | (uint64_t)digit;
    }
    *id = value;
    return true;
}
