/* Blocks begin at multiples of their size, so that a thing's address tells its block.
 *
 *   block: header | thing | thing | ...     free things of a block are a list; blocks with any are in pool.free */
#include "qmgr/pool.h"
#include "qmgr/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#ifndef POSTINO_SANITIZER

#define BLOCK ((size_t)1 << 20)

struct thing {
    struct thing *next;
};

struct pool_block {
    struct pool_block *next, *prev; /* of those with room */
    struct thing *free;
    size_t used;    /* things given out */
    size_t touched; /* things that were ever given out: the others are still zero, and no list is made of them */
};

static size_t things_of(const struct pool *p)
{
    return (BLOCK - sizeof(struct pool_block)) / p->size;
}

/* Twice the size is mapped, and what is too much given back. */
static struct pool_block *map_block(void)
{
    char *at = mmap(NULL, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    size_t before = (BLOCK - (uintptr_t)at % BLOCK) % BLOCK;
    if (before > 0)
        munmap(at, before);
    munmap(at + before + BLOCK, BLOCK - before);
    return (struct pool_block *)(void *)(at + before);
}

static void list_add(struct pool *p, struct pool_block *b)
{
    b->prev = NULL;
    b->next = p->free;
    if (b->next)
        b->next->prev = b;
    p->free = b;
}

static void list_remove(struct pool *p, struct pool_block *b)
{
    if (b->prev)
        b->prev->next = b->next;
    else
        p->free = b->next;
    if (b->next)
        b->next->prev = b->prev;
}

void *pool_new(struct pool *p)
{
    struct pool_block *b = p->free;
    if (!b) {
        if (!(b = map_block()))
            return NULL;
        list_add(p, b);
    }
    struct thing *t = b->free;
    if (t)
        b->free = t->next;
    else
        t = (struct thing *)(void *)((char *)b + sizeof *b + b->touched++ * p->size);
    if (++b->used == things_of(p))
        list_remove(p, b);
    memset(t, 0, p->size);
    return t;
}

/* The last block with room is kept, so that one thing that comes and goes does not map and unmap. */
void pool_free(struct pool *p, void *thing)
{
    struct thing *t = thing;
    struct pool_block *b = (struct pool_block *)(void *)((char *)thing - (uintptr_t)thing % BLOCK);
    t->next = b->free;
    b->free = t;
    if (b->used-- == things_of(p))
        list_add(p, b);
    if (b->used > 0 || (p->free == b && !b->next))
        return;
    list_remove(p, b);
    munmap(b, BLOCK);
}

#else /* the sanitizer watches each thing */

void *pool_new(struct pool *p)
{
    return calloc(1, p->size);
}

void pool_free(struct pool *p, void *thing)
{
    (void)p;
    free(thing);
}

#endif
