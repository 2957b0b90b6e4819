#include "common/idn.h"

#include "common/address.h"

#include <idn2.h>
#include <stdio.h>
#include <stdlib.h>
#include <uninorm.h>
#include <unistr.h>

#define NAME_MOST 256

static bool to_alabels(const char *text, char to[NAME_MOST])
{
    char *ascii = NULL;
    bool good = idn2_to_ascii_8z(text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == IDN2_OK && strlen(ascii) < NAME_MOST;
    if (good)
        snprintf(to, NAME_MOST, "%s", ascii);
    idn2_free(ascii);
    return good;
}

bool idn_ascii(struct span name, struct buf *out)
{
    char text[NAME_MOST], ascii[NAME_MOST];
    if (name.n == 0 || name.n >= sizeof text || !address_is_domain(name, true))
        return false;
    snprintf(text, sizeof text, "%.*s", SPAN_ARG(name));
    if (span_is_ascii(name))
        snprintf(ascii, sizeof ascii, "%s", text);
    else if (!to_alabels(text, ascii))
        return false;
    for (char *p = ascii; *p != '\0'; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p | 0x20);
    if (!address_is_domain(span_of(ascii), false))
        return false;
    buf_add_text(out, ascii);
    return !out->failed;
}

void idn_unicode(struct span ascii, struct buf *out)
{
    char text[NAME_MOST], *unicode = NULL;
    bool any = ascii.n > 0 && ascii.n < sizeof text && memmem(ascii.p, ascii.n, "xn--", 4);
    if (any)
        snprintf(text, sizeof text, "%.*s", SPAN_ARG(ascii));
    if (any && idn2_to_unicode_8z8z(text, &unicode, 0) == IDN2_OK && address_is_domain(span_of(unicode), true))
        buf_add_text(out, unicode);
    else
        buf_add_span(out, ascii);
    idn2_free(unicode);
}

void idn_nfc(struct span text, struct buf *out)
{
    size_t n = 0;
    const uint8_t *octets = (const uint8_t *)text.p;
    bool any = !span_is_ascii(text) && !u8_check(octets, text.n);
    uint8_t *made = any ? u8_normalize(UNINORM_NFC, octets, text.n, NULL, &n) : NULL;
    buf_add_span(out, made ? span_make(made, n) : text);
    free(made);
}
