/* books: which messages a good client was told 250 for, and which came to the sink, and how often. */
#ifndef POSTINO_LOAD_BOOKS_H
#define POSTINO_LOAD_BOOKS_H

#include <stddef.h>
#include <stdint.h>

enum fate { FATE_NONE, FATE_ACCEPTED, FATE_REFUSED, FATE_UNKNOWN /* the connection broke before the answer */ };

uint32_t books_new(void); /* the number of a new message */
void books_fate(uint32_t message, enum fate);
void books_arrived(uint32_t message);

struct books_sums {
    uint32_t accepted, refused, unknown;
    uint32_t lost;       /* accepted, and not at the sink */
    uint32_t twice;      /* at the sink more than once */
    uint32_t unexpected; /* refused, and at the sink all the same */
};
struct books_sums books_sums(void);

#endif
