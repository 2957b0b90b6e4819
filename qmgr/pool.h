/* pool: many things of one size, without malloc's octets around each. What is empty goes back to the system, MiB by MiB. One thread. */
#ifndef POSTINO_POOL_H
#define POSTINO_POOL_H

#include <stddef.h>

struct pool_block;

struct pool {
    size_t size;             /* octets of a thing; a multiple of 8 */
    struct pool_block *free; /* blocks with room */
};
#define POOL_OF(type) ((struct pool){.size = sizeof(type)})

void *pool_new(struct pool *); /* zeroed; NULL: no memory */
void pool_free(struct pool *, void *);

#endif
