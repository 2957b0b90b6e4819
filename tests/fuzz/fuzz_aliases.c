#include "common/mapsource.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static int each(const struct mapsource_entry *entry, void *arg, struct error *error)
{
    (void)arg;
    (void)error;
    struct span list = entry->value, to;
    enum alias_kind kind;
    must(entry->key.n > 0 && entry->value.n > 0 && entry->line > 0);
    while (alias_target_next(&list, &to, &kind))
        must(to.n == 0 || (to.p >= entry->value.p && to.p + to.n <= entry->value.p + entry->value.n));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error error;
    if (size == 0)
        return 0;
    mapsource_read(span_make(data + 1, size - 1), data[0] & 1 ? MAP_ALIASES : MAP_PLAIN, each, NULL, &error);
    return 0;
}
