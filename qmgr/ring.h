/* ring: circular lists of things that have `next` and `prev`. `ring` is the one whose turn it is, or NULL; an addition goes behind all
 * others. */
#ifndef POSTINO_RING_H
#define POSTINO_RING_H

#define RING_ADD_AS(ring, item, next, prev)                                                                                                \
    do {                                                                                                                                   \
        if (ring) {                                                                                                                        \
            (item)->next = (ring);                                                                                                         \
            (item)->prev = (ring)->prev;                                                                                                   \
            (ring)->prev->next = (item);                                                                                                   \
            (ring)->prev = (item);                                                                                                         \
        } else {                                                                                                                           \
            (ring) = (item)->next = (item)->prev = (item);                                                                                 \
        }                                                                                                                                  \
    } while (0)

#define RING_REMOVE_AS(ring, item, next, prev)                                                                                             \
    do {                                                                                                                                   \
        (item)->next->prev = (item)->prev;                                                                                                 \
        (item)->prev->next = (item)->next;                                                                                                 \
        if ((ring) == (item))                                                                                                              \
            (ring) = (item)->next == (item) ? NULL : (item)->next;                                                                         \
        (item)->next = (item)->prev = NULL;                                                                                                \
    } while (0)

#define RING_ADD(ring, item)    RING_ADD_AS(ring, item, next, prev)
#define RING_REMOVE(ring, item) RING_REMOVE_AS(ring, item, next, prev)

#endif
