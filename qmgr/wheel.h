/* wheel: things that are due at a time, in seconds; a hierarchical timing wheel. Adding, removing and expiring cost the same however many
 * there are.
 *
 * Seven levels of 64 slots. An item lies on the level of the highest base-64 digit in which its time differs from now; when that digit of
 * now comes to its slot, it falls to a lower level, at last to the list of what has expired. Nothing expires early or late. */
#ifndef POSTINO_WHEEL_H
#define POSTINO_WHEEL_H

#include <stddef.h>
#include <stdint.h>

#define WHEEL_LEVELS 7
#define WHEEL_SLOTS  64

/* In the thing that is due; also good as a link in a list of its owner's while it is not in a wheel. */
struct wheel_item {
    struct wheel_item *next, *prev;
    uint64_t due;
};

struct wheel {
    uint64_t now;
    size_t count;
    uint64_t used[WHEEL_LEVELS]; /* a bit a slot */
    struct wheel_item slots[WHEEL_LEVELS][WHEEL_SLOTS];
    struct wheel_item expired;
};

void wheel_init(struct wheel *, uint64_t now);
void wheel_add(struct wheel *, struct wheel_item *, uint64_t due); /* in the past: expires with the next call */
void wheel_remove(struct wheel *, struct wheel_item *);
struct wheel_item *wheel_expired(struct wheel *, uint64_t now); /* takes out one that is due by now; NULL: none. `now` never goes back */
uint64_t wheel_next(const struct wheel *);                      /* nothing expires before this time; 0: the wheel is empty */

/* Circular lists of items, with a head that is no item. */
void wheel_list_init(struct wheel_item *head);
void wheel_list_add(struct wheel_item *head, struct wheel_item *); /* at the end */
void wheel_list_remove(struct wheel_item *);

#endif
