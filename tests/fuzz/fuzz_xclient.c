/* Arguments of XCLIENT (first octet even) and XFORWARD (odd): what is taken is printable and of the form that addresses, names and ports have. */
#include "smtpd/xclient.h"

#include "common/address.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_address(const char *text)
{
    struct sockaddr_storage ss;
    socklen_t length;
    if (*text && !address_to_socket(span_of(text), 0, &ss, &length))
        abort();
}

static void check(const struct xattributes *x)
{
    for (size_t i = 0; i < XATTRIBUTES; i++) {
        const char *v = x->value[i];
        size_t n = strnlen(v, XVALUE_MOST + 1);
        if (n > XVALUE_MOST || (n && !xattributes_has(x, (enum xattribute)i)))
            abort();
        for (size_t k = 0; k < n; k++)
            if ((v[k] >= 0 && v[k] < ' ') || v[k] == 0x7f || (i != X_LOGIN && (v[k] <= ' ')))
                abort();
    }
    check_address(x->value[X_ADDR]);
    check_address(x->value[X_DESTADDR]);
    if (*x->value[X_NAME] && !address_is_domain(span_of(x->value[X_NAME]), false))
        abort();
    if (atoi(x->value[X_PORT]) > 65535 || atoi(x->value[X_DESTPORT]) > 65535)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct xattributes all;
    struct xattributes x;
    if (size < 1)
        return 0;
    char *copy = malloc(size); /* exact, so that one octet too far is seen */
    memcpy(copy, data + 1, size - 1);
    enum xverb verb = data[0] & 1 ? XFORWARD : XCLIENT;
    if (!xattributes_parse(verb, span_make(copy, size - 1), &x)) {
        check(&x);
        xattributes_merge(&all, &x);
        check(&all);
    }
    free(copy);
    return 0;
}
