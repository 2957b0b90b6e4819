/* What a SOCKS proxy says, in two pieces: it may end the conversation well or badly, and never uses more than there is. */
#include "delivery/socks.h"

#include <netinet/in.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(25)};
    struct socks s;
    struct buf out = BUF_EMPTY(100);
    size_t at = 0, used, cut = size ? data[0] % size : 0;
    socks_begin(&s, &out);
    for (int piece = 0; piece < 2 && (s.state == SOCKS_METHOD || s.state == SOCKS_REPLY); piece++) {
        size_t end = piece ? size : cut;
        socks_feed(&s, span_make((const char *)data + at, end - at), (const struct sockaddr *)&to, &used, &out);
        if (used > end - at || out.failed || (s.state == SOCKS_FAILED) != (s.why != NULL))
            abort();
        at += used;
    }
    buf_free(&out);
    return 0;
}
