/* Any bytes as a frame of any edge and side: refused, or decoded into something that encodes to the very same bytes. */
#include "common/messages.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (enum side side = SIDE_CLIENT; side <= SIDE_SERVER; side++) {
        struct message m;
        struct error error;
        size_t used = 0;
        bool wants_fd = false;
        if (message_decode(span_make(data, size), ~0u, side, &m, &used, &wants_fd, &error) != 1)
            continue;
        struct buf again = BUF_EMPTY(0);
        m.fd = wants_fd ? 0 : -1;
        if (used > size || !message_encode(&again, &m) || !span_equal(buf_span(&again), span_make(data, used)))
            abort();
        buf_free(&again);
    }
    return 0;
}
