#include "tests/load/books.h"
#include "tests/load/wire.h"

#include <stdlib.h>

static struct entry {
    uint8_t fate, arrived;
} * entries;
static uint32_t count, room;

uint32_t books_new(void)
{
    if (count == room) {
        room = room ? room * 2 : 65536;
        entries = realloc(entries, room * sizeof *entries);
        if (entries == NULL)
            die("out of memory");
    }
    entries[count] = (struct entry){0};
    return count++;
}

void books_fate(uint32_t message, enum fate fate)
{
    entries[message].fate = (uint8_t)fate;
}

void books_arrived(uint32_t message)
{
    if (message < count && entries[message].arrived < UINT8_MAX)
        entries[message].arrived++;
}

struct books_sums books_sums(void)
{
    struct books_sums s = {0};
    for (uint32_t i = 0; i < count; i++) {
        const struct entry *e = &entries[i];
        s.accepted += e->fate == FATE_ACCEPTED;
        s.refused += e->fate == FATE_REFUSED;
        s.unknown += e->fate == FATE_UNKNOWN;
        s.lost += e->fate == FATE_ACCEPTED && !e->arrived;
        s.twice += e->arrived > 1;
        s.unexpected += e->fate == FATE_REFUSED && e->arrived;
    }
    return s;
}
