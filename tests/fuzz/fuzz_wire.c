/* Any octets as a DNS answer: what comes out is text of the alphabet that resolver/wire.h promises, and data within the packet. */
#include "resolver/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    const struct wire *wire;
    size_t records;
};

static void demand(int good)
{
    if (!good)
        abort();
}

/* Ends within WIRE_NAME, and is made of a-z, 0-9, '-', '_', dots between labels, and \DDD. */
static void check_name(const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *end = memchr(name, '\0', WIRE_NAME);
    demand(end != NULL);
    for (const char *p = name; p < end; p++) {
        if (*p == '\\') {
            demand(end - p > 3 && strspn(p + 1, "0123456789") >= 3);
            p += 3;
        } else {
            demand(strchr(plain, *p) || (*p == '.' && p > name && p + 1 < end && p[1] != '.'));
        }
    }
}

static void check_data(const struct wire *w, const struct wire_record *r)
{
    demand(r->data >= w->p && r->length <= w->n && (size_t)(r->data - w->p) <= w->n - r->length);
    if (w->asked_type == WIRE_TLSA)
        demand(r->length >= 3);
    if (w->asked_type != WIRE_TXT)
        return;
    struct buf text = BUF_EMPTY(UINT16_MAX);
    wire_text(r, &text);
    demand(!text.failed && text.len < r->length);
    buf_free(&text);
}

static void each(const struct wire_record *r, void *arg)
{
    struct seen *seen = arg;
    check_name(r->name);
    if (r->data != NULL)
        check_data(seen->wire, r);
    seen->records++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct wire wire;
    struct seen seen = {.wire = &wire};
    if (!wire_open(&wire, data, size))
        return 0;
    check_name(wire.asked);
    wire_answers(&wire, each, &seen);
    check_name(wire.canonical);
    demand(seen.records <= wire.answers && seen.records * 11 <= size);
    return 0;
}
