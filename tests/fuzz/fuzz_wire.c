#include "resolver/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void each(const struct wire_record *record, void *arg)
{
    (void)arg;
    if (memchr(record->name, '\0', sizeof record->name) == NULL)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire wire;
    if (wire_open(&wire, data, size))
        wire_answers(&wire, each, NULL);
    return 0;
}
