#include "qmgr/wheel.h"

#include <stdbool.h>

#define DIGIT    6
#define DUE_MOST (((uint64_t)1 << (DIGIT * WHEEL_LEVELS)) - 1)

void wheel_list_init(struct wheel_item *head)
{
    head->next = head->prev = head;
}

void wheel_list_add(struct wheel_item *head, struct wheel_item *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}

void wheel_list_remove(struct wheel_item *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    item->next = item->prev = NULL;
}

void wheel_init(struct wheel *w, uint64_t now)
{
    *w = (struct wheel){.now = now};
    for (size_t level = 0; level < WHEEL_LEVELS; level++) {
        for (size_t slot = 0; slot < WHEEL_SLOTS; slot++)
            wheel_list_init(&w->slots[level][slot]);
    }
    wheel_list_init(&w->expired);
}

static void place(struct wheel *w, struct wheel_item *item)
{
    if (item->due <= w->now) {
        wheel_list_add(&w->expired, item);
        return;
    }
    uint64_t due = item->due < DUE_MOST ? item->due : DUE_MOST;
    unsigned level = (63 - (unsigned)__builtin_clzll(due ^ w->now)) / DIGIT;
    unsigned slot = (unsigned)(due >> (level * DIGIT)) & (WHEEL_SLOTS - 1);
    wheel_list_add(&w->slots[level][slot], item);
    w->used[level] |= (uint64_t)1 << slot;
}

void wheel_add(struct wheel *w, struct wheel_item *item, uint64_t due)
{
    item->due = due;
    w->count++;
    place(w, item);
}

void wheel_remove(struct wheel *w, struct wheel_item *item)
{
    struct wheel_item *head = item->next == item->prev ? item->next : NULL;
    wheel_list_remove(item);
    w->count--;
    /* The last of its slot: clear the slot's bit. */
    if (head && head != &w->expired && head->next == head) {
        size_t index = (size_t)(head - &w->slots[0][0]);
        w->used[index / WHEEL_SLOTS] &= ~((uint64_t)1 << (index % WHEEL_SLOTS));
    }
}

static void empty_slot(struct wheel *w, unsigned level, unsigned slot)
{
    struct wheel_item *head = &w->slots[level][slot];
    w->used[level] &= ~((uint64_t)1 << slot);
    struct wheel_item *item = head->next;
    wheel_list_init(head);
    for (struct wheel_item *next; item != head; item = next) {
        next = item->next;
        place(w, item);
    }
}

static void advance(struct wheel *w, uint64_t now)
{
    uint64_t old = w->now;
    w->now = now;
    for (unsigned level = WHEEL_LEVELS; level-- > 0;) {
        uint64_t from = old >> (level * DIGIT), steps = (now >> (level * DIGIT)) - from;
        if (steps > WHEEL_SLOTS)
            steps = WHEEL_SLOTS;
        for (uint64_t i = 1; i <= steps && w->used[level]; i++) {
            unsigned slot = (unsigned)(from + i) & (WHEEL_SLOTS - 1);
            if (w->used[level] >> slot & 1)
                empty_slot(w, level, slot);
        }
    }
}

struct wheel_item *wheel_expired(struct wheel *w, uint64_t now)
{
    if (now > w->now)
        advance(w, now);
    struct wheel_item *item = w->expired.next;
    if (item == &w->expired)
        return NULL;
    wheel_list_remove(item);
    w->count--;
    return item;
}

/* The lowest level with anything in it has the soonest; on higher levels only the slot's first second is known. */
uint64_t wheel_next(const struct wheel *w)
{
    if (w->expired.next != &w->expired)
        return w->now;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        if (w->used[level]) {
            uint64_t slot = (uint64_t)__builtin_ctzll(w->used[level]);
            uint64_t above = w->now >> (level * DIGIT) & ~(uint64_t)(WHEEL_SLOTS - 1);
            return (above | slot) << (level * DIGIT);
        }
    }
    return 0;
}
