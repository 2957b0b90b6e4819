/* PROXY headers: what is taken lies in the input, has a family with an address, and is taken the same when it comes octet by octet. */
#include "smtpd/proxy.h"

#include "common/address.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct proxy *p, size_t size)
{
    struct buf text = BUF_EMPTY(64);
    if (p->length == 0 || p->length > size || p->length > PROXY_V2_MOST)
        abort();
    if (p->client.ss_family == AF_INET || p->client.ss_family == AF_INET6)
        address_of_socket((const struct sockaddr *)&p->client, &text);
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy p, begun;
    char *copy = malloc(size ? size : 1); /* exact, so that one octet too far is seen */
    memcpy(copy, data, size);
    enum proxy_result result = proxy_parse(span_make(copy, size), &p);
    if (result == PROXY_CLIENT && p.client.ss_family != AF_INET && p.client.ss_family != AF_INET6)
        abort();
    if (result == PROXY_CLIENT || result == PROXY_NOBODY) {
        check(&p, size);
        for (size_t n = 0; n < p.length; n++)
            if (proxy_parse(span_make(copy, n), &begun) != PROXY_MORE)
                abort();
    } else if (result == PROXY_REFUSED && !p.why) {
        abort();
    } else if (result == PROXY_MORE && size >= PROXY_V2_MOST) {
        abort();
    }
    free(copy);
    return 0;
}
