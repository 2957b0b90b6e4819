/* The header parser of sendmail: any octets as a message; every span that comes back lies inside it, and the pieces make up the whole. */
#include "admin/headers.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool each(struct span address, void *arg, struct error *error)
{
    (void)error;
    if (address.n == 0 || memchr(address.p, '\n', address.n) || memchr(address.p, '\r', address.n))
        abort();
    ++*(size_t *)arg;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span message = {(const char *)data, size}, body, rest, header;
    struct header_field f;
    struct error error;
    size_t count = 0, octets = 0;
    header = headers_split(message, &body);
    if (size && (header.p < message.p || header.p + header.n > body.p || body.p + body.n != message.p + message.n))
        abort();
    rest = header;
    while (headers_next(&rest, &f)) {
        octets += f.whole.n;
        if (f.name.n == 0 || f.value.n >= f.whole.n)
            abort();
        (void)headers_addresses(f.value, each, &count, &error);
        struct buf phrase = BUF_EMPTY(1 << 20);
        headers_phrase(f.value, &phrase);
        buf_free(&phrase);
    }
    if (octets != header.n)
        abort();
    (void)headers_recipients(header, each, &count, &error);
    (void)headers_addresses(message, each, &count, &error);
    return 0;
}
