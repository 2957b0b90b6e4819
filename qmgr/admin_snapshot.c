/* Snapshots: what was in the queue when a listing began, so that its pages fit together. To take one is a turn of its own in a large queue, so
 * that clients share the newest one: who is no administrator takes one that is up to two seconds old. */
#include "qmgr/admin.h"
#include "qmgr/memory.h"

#define SHARED_FOR 2000000 /* microseconds */

struct snapshot *snapshot_get(struct snapshot **newest, void (*fill)(struct snapshot *), bool fresh)
{
    uint64_t now = queue_now_us();
    struct snapshot *s = *newest;
    if (!s || fresh || now - s->taken > SHARED_FOR) {
        s = memory_new(1, sizeof *s);
        *s = (struct snapshot){.newest = newest, .taken = now, .sites = BUF_EMPTY(0)};
        fill(s);
        *newest = s;
    }
    s->users++;
    return s;
}

void snapshot_leave(struct snapshot **whose)
{
    struct snapshot *s = *whose;
    *whose = NULL;
    if (!s || --s->users > 0)
        return;
    if (*s->newest == s)
        *s->newest = NULL;
    buf_free(&s->sites);
    free(s->ids);
    free(s);
}
