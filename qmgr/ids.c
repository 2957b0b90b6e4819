/* Each piece is put in order by itself, and the least of their firsts is the next. */
#include "qmgr/ids.h"
#include "qmgr/memory.h"
#include "qmgr/queue.h"

#define PIECE 16384 /* ids, about */

struct piece {
    uint64_t *ids;
    size_t count, room, at;
};

struct ids {
    size_t walked; /* of the spool */
    struct piece *pieces;
    size_t count;
    uint64_t last;
};

struct ids *ids_new(void)
{
    return memory_new(1, sizeof(struct ids));
}

void ids_free(struct ids *all)
{
    for (size_t i = 0; all && i < all->count; i++)
        free(all->pieces[i].ids);
    if (all)
        free(all->pieces);
    free(all);
}

static void add(uint64_t id, void *arg)
{
    struct piece *p = arg;
    if (p->count == p->room) {
        p->room = p->room ? p->room * 2 : PIECE;
        p->ids = memory_must(reallocarray(p->ids, p->room, sizeof *p->ids));
    }
    p->ids[p->count++] = id;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

bool ids_gather(struct ids *all)
{
    struct piece p = {0};
    bool more = spool_walk(queue.spool, &all->walked, PIECE, add, &p);
    if (p.count == 0)
        return more;
    qsort(p.ids, p.count, sizeof *p.ids, by_number);
    all->pieces = memory_must(reallocarray(all->pieces, all->count + 1, sizeof *all->pieces));
    all->pieces[all->count++] = p;
    return more;
}

static struct piece *least(const struct ids *all)
{
    struct piece *found = NULL;
    for (struct piece *p = all->pieces; p < all->pieces + all->count; p++) {
        if (p->at < p->count && (!found || p->ids[p->at] < found->ids[found->at]))
            found = p;
    }
    return found;
}

bool ids_next(struct ids *all, uint64_t *id)
{
    struct piece *p;
    while ((p = least(all))) {
        *id = p->ids[p->at++];
        if (*id != all->last)
            break; /* the table has grown: one may be there twice */
    }
    if (p)
        all->last = *id;
    return p != NULL;
}
